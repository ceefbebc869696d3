// The demo's two repositories, made out of examples/digits: the model's, and the GitOps remote.
import { execFile } from 'node:child_process';
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const EXAMPLE = fileURLToPath(new URL('../../examples/digits/', import.meta.url));

export interface DemoRepositories {
  readonly model: string;
  readonly gitops: string;
  readonly modelUrl: string;
  readonly gitopsUrl: string;
}

export async function makeRepositories(
  directory: string,
  options: { accuracy: number | undefined; collector: string },
): Promise<DemoRepositories> {
  const model = join(directory, 'digits');
  const work = join(directory, 'gitops-work');
  const gitops = join(directory, 'gitops.git');
  const gitopsUrl = `file://${gitops}`;
  await cp(EXAMPLE, model, {
    recursive: true,
    filter: (path) => !/(?:__pycache__|\.pytest_cache)$/.test(path),
  });
  await rm(join(model, 'gitops'), { recursive: true });
  await edit(join(model, 'throughline.yaml'), (text) =>
    text
      .replace('https://git.example/ml/gitops.git', gitopsUrl)
      .replace('atLeast: 0.95', `atLeast: ${options.accuracy ?? 0.95}`),
  );
  await commitAll(model, 'Classify digits');

  await mkdir(work, { recursive: true });
  await cp(join(EXAMPLE, 'gitops'), work, { recursive: true });
  // The example names its cluster's collector; here it is the demo's own.
  await edit(join(work, 'k8s', 'deployment.yaml'), (text) =>
    text.replace('http://otel-collector.observability:4317', options.collector),
  );
  await commitAll(work, 'Describe the digits service');
  await git(directory, 'clone', '--quiet', '--bare', work, gitops);
  await rm(work, { recursive: true });
  return { model, gitops, modelUrl: `file://${model}`, gitopsUrl };
}

/** Text of a file at a commit of a repository. */
export async function fileAt(repository: string, commit: string, path: string): Promise<string> {
  return (await git(repository, 'show', `${commit}:${path}`)).stdout;
}

export async function commitCount(repository: string): Promise<number> {
  return Number((await git(repository, 'rev-list', '--count', 'main')).stdout);
}

async function commitAll(directory: string, message: string): Promise<void> {
  await git(directory, 'init', '--quiet', '--initial-branch=main');
  await git(directory, 'add', '--all');
  await git(
    directory,
    '-c',
    'user.name=Demo',
    '-c',
    'user.email=demo@localhost',
    'commit',
    '--quiet',
    '--message',
    message,
  );
}

async function edit(path: string, change: (text: string) => string): Promise<void> {
  await writeFile(path, change(await readFile(path, 'utf8')));
}

function git(directory: string, ...parameters: string[]) {
  return run('git', parameters, { cwd: directory, maxBuffer: 16 * 1024 * 1024 });
}
