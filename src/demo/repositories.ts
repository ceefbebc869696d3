// The demo's two repositories, made out of examples/digits: the model's, and the GitOps remote.
import { execFile } from 'node:child_process';
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const EXAMPLE = fileURLToPath(new URL('../../examples/digits/', import.meta.url));

export interface DemoRepositories {
  /** Directories of this machine. */
  readonly model: string;
  readonly gitops: string;
  /** As the release and Argo CD reach them. */
  readonly modelUrl: string;
  readonly gitopsUrl: string;
}

export interface RepositoryOptions {
  readonly accuracy: number | undefined;
  /** The collector that the inference service sends to. */
  readonly collector: string;
  /** Registry and path that images are named by. */
  readonly registry: string;
  /** Where the repositories are served from: URL of a name; as files where absent. */
  readonly urlOf?: (name: string) => string;
}

/** The two repositories below a directory: `digits.git` and `gitops.git`. */
export async function makeRepositories(
  directory: string,
  options: RepositoryOptions,
): Promise<DemoRepositories> {
  const urlOf = options.urlOf ?? ((name) => `file://${join(directory, name)}`);
  const [modelUrl, gitopsUrl] = [urlOf('digits.git'), urlOf('gitops.git')];
  const own = (text: string) => text.replaceAll('registry.example', options.registry);
  const model = await bare(directory, 'digits.git', 'Classify digits', async (work) => {
    await cp(EXAMPLE, work, {
      recursive: true,
      filter: (path) => !/(?:__pycache__|\.pytest_cache)$/.test(path),
    });
    await rm(join(work, 'gitops'), { recursive: true });
    await edit(join(work, 'training', 'job.yaml'), own);
    await edit(join(work, 'throughline.yaml'), (text) =>
      own(text)
        .replace('https://git.example/ml/gitops.git', gitopsUrl)
        .replace('atLeast: 0.95', `atLeast: ${options.accuracy ?? 0.95}`),
    );
  });
  const gitops = await bare(directory, 'gitops.git', 'Describe the digits service', async (work) => {
    await cp(join(EXAMPLE, 'gitops'), work, { recursive: true });
    // The example names its cluster's collector; here it is the demo's own.
    await edit(join(work, 'k8s', 'deployment.yaml'), (text) =>
      own(text).replace('http://otel-collector.observability:4317', options.collector),
    );
  });
  return { model, gitops, modelUrl, gitopsUrl };
}

async function bare(
  directory: string,
  name: string,
  message: string,
  fill: (work: string) => Promise<void>,
): Promise<string> {
  const target = join(directory, name);
  const work = `${target}.work`;
  await mkdir(work, { recursive: true });
  await fill(work);
  await commitAll(work, message);
  await git(directory, 'clone', '--quiet', '--bare', work, target);
  await rm(work, { recursive: true });
  return target;
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
