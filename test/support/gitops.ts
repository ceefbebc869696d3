// A GitOps repository of many applications, what releases ask of it, and somebody else who pushes to it all the while.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DeploymentChange } from '../../src/activities/index.js';
import type { CommitSha, Digest, ReleaseId } from '../../src/domain/ids.js';
import { git } from './world.js';

const RIVAL = fileURLToPath(new URL('rival.mjs', import.meta.url));

/** Manifest of an application, as people write them. */
export const manifestOf = (app: string) => `# ${app}: owned by the ml team
apiVersion: apps/v1
kind: Deployment
metadata:
  name: ${app}
  labels: { app: ${app} }
spec:
  replicas: 2
  selector: { matchLabels: { app: ${app} } }
  template:
    metadata:
      labels: { app: ${app} }
      annotations:
        team: ml # asked for by finance
    spec:
      containers:
        - name: inference
          image: registry.example/ml/${app}:none
          ports: [{ containerPort: 8080 }]
          resources:
            limits: { memory: 512Mi }
`;

export const pathOf = (app: string) =>
  `apps/team-${Number(app.replace(/\D/g, '')) % 100}/${app}/deployment.yaml`;

/** A bare repository of so many files, one application each; made by one process, as a work tree of them would take long. */
export function applications(directory: string, files: number): string {
  mkdirSync(directory, { recursive: true });
  git(directory, 'init', '--quiet', '--bare', '--initial-branch=main', '.');
  const texts = Array.from({ length: files }, (_, index) => {
    const text = manifestOf(`app-${index}`);
    return `M 100644 inline ${pathOf(`app-${index}`)}\ndata ${Buffer.byteLength(text)}\n${text}\n`;
  });
  const commit = `commit refs/heads/main\ncommitter Test <test@localhost> 1767225600 +0000\ndata 5\nBegin\n${texts.join('')}\ndone\n`;
  execFileSync('git', ['fast-import', '--quiet', '--done'], { cwd: directory, input: commit });
  return `file://${directory}`;
}

/** What a release of an application asks for. */
export function deploymentOf(
  repository: string,
  app: string,
  release: string,
  more: Partial<DeploymentChange> = {},
): DeploymentChange {
  const digest = `sha256:${Buffer.from(release).toString('hex').padEnd(64, '0').slice(0, 64)}` as Digest;
  const at = '2026-01-01T00:00:00.000Z';
  return {
    release: release as ReleaseId,
    model: app,
    environment: 'production',
    repository,
    branch: 'main',
    manifest: pathOf(app),
    container: 'inference',
    image: `registry.example/ml/${app}:${release}@${digest}`,
    imageDigest: digest,
    modelId: `${app}-${release}`,
    sourceCommit: '0'.repeat(40) as CommitSha,
    dataset: { name: 'numbers', version: 'v1' },
    traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`,
    requestedAt: at,
    committedAt: at,
    ...more,
  };
}

/** Somebody who pushes a commit every so often, by git's own commands; what got through is known. */
export class Rival {
  readonly done: string[] = [];
  private rest = '';

  private constructor(
    private readonly child: ChildProcess,
    private readonly ended: Promise<void>,
  ) {}

  static async start(directory: string, repository: string, everyMs: number): Promise<Rival> {
    mkdirSync(directory, { recursive: true });
    const child = spawn(process.execPath, [RIVAL, repository, join(directory, 'work'), String(everyMs)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const rival = new Rival(child, new Promise((resolve) => child.once('exit', () => resolve())));
    await new Promise<void>((resolve) => {
      child.stdout?.setEncoding('utf8').on('data', (text: string) => {
        const lines = (rival.rest + text).split('\n');
        rival.rest = lines.pop() ?? '';
        rival.done.push(...lines);
        resolve();
      });
    });
    return rival;
  }

  /** Lets it finish the push that is under way. */
  async stop(): Promise<void> {
    this.child.kill('SIGTERM');
    await this.ended;
  }
}

/** What a careful stage in bash does: clone, patch, commit, push; and where somebody was faster, the same upon theirs. */
export const NAIVE = `set -euo pipefail
git clone --quiet --depth 1 "$REPOSITORY" "$WORK"
cd "$WORK"
while true; do
  sed -i "s#image: registry.example/ml/$APP:.*#image: registry.example/ml/$APP:$RELEASE#" "$MANIFEST"
  git -c user.name=Stage -c user.email=stage@localhost commit --quiet --all --message "Deploy $APP

Release-Id: $RELEASE"
  if git push --quiet origin HEAD:main 2> /dev/null; then break; fi
  git fetch --quiet --depth 1 origin main
  git reset --quiet --hard FETCH_HEAD
done
`;

/** Release ids of a branch's commits, the newest first. */
export function releasesOn(bare: string, branch = 'main'): string[] {
  return git(bare, 'log', '--format=%(trailers:key=Release-Id,valueonly,separator=)', branch)
    .split('\n')
    .filter(Boolean);
}

/** Files that are below a directory at the tip. */
export function filesBelow(bare: string, directory: string): string[] {
  return git(bare, 'ls-tree', '-r', '--name-only', 'main', '--', `${directory}/`).split('\n').filter(Boolean);
}

export function fileOf(bare: string, path: string, revision = 'main'): string {
  return git(bare, 'show', `${revision}:${path}`);
}
