// A world for tests: real Temporal, real git repositories, real builds, workers as processes that can be killed.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../src/dev/ports.js';
import { temporalBinary } from '../../src/dev/temporal-binary.js';
import {
  startTemporalServer,
  type TemporalServer,
  type TemporalServerOptions,
} from '../../src/dev/temporal-server.js';
import type { Problem } from '../../src/domain/errors.js';
import type { OutcomeStatus } from '../../src/domain/release.js';
import type { PresentedRelease } from '../../src/gateway/present.js';
import { createGateway, type Gateway, type GatewayOptions } from '../../src/gateway/server.js';
import { ReleaseService } from '../../src/releases/service.js';
import { createLogger } from '../../src/telemetry/log.js';
import { type TemporalClient, temporalClient } from '../../src/temporal/connect.js';
import { registerSearchAttributes } from '../../src/temporal/register.js';
import { cacheDirectory } from '../../src/worker/config.js';

const CLI = fileURLToPath(new URL('../../bin/throughline.js', import.meta.url));
const INSTANT_WORKER = fileURLToPath(new URL('instant-worker.mjs', import.meta.url));

export function temporaryDirectory(name: string): string {
  return mkdtempSync(join(tmpdir(), `throughline-test-${name}-`));
}

export function git(directory: string, ...parameters: string[]): string {
  return execFileSync('git', ['-c', 'user.name=Test', '-c', 'user.email=test@localhost', ...parameters], {
    cwd: directory,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

export function writeFiles(directory: string, files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), text);
  }
}

/** A repository with one commit of these files. */
export function repository(directory: string, files: Readonly<Record<string, string>>): string {
  mkdirSync(directory, { recursive: true });
  git(directory, 'init', '--quiet', '--initial-branch=main');
  writeFiles(directory, files);
  git(directory, 'add', '--all');
  git(directory, 'commit', '--quiet', '--message', 'Begin');
  return `file://${directory}`;
}

/** A bare remote with one commit of these files. */
export function remote(directory: string, files: Readonly<Record<string, string>>): string {
  repository(`${directory}-work`, files);
  git(dirname(directory), 'clone', '--quiet', '--bare', `${directory}-work`, directory);
  rmSync(`${directory}-work`, { recursive: true });
  return `file://${directory}`;
}

export const MANIFEST = `# kept as it is
apiVersion: apps/v1
kind: Deployment
metadata: { name: tiny }
spec:
  template:
    metadata:
      annotations:
        team: ml # ours
    spec:
      containers:
        - name: inference
          image: registry.example/ml/tiny:none
`;

/** Writes a model and its result, and a line for every run of the program; each a moment apart, so that kills find it. */
export const TRAIN = `set -e
echo "$RELEASE_ID $TRACEPARENT $$" >> "$RUNS"
i=0; while [ $i -lt \${TICKS:-3} ]; do i=$((i+1)); echo "epoch $i"; sleep 0.1; done
echo "weights of $RELEASE_ID" > "$MODEL_OUTPUT/weights.bin"
echo "{\\"model\\":{\\"id\\":\\"tiny-1\\"},\\"metrics\\":{\\"accuracy\\":\${ACCURACY:-0.97}},\\"dataset\\":{\\"digest\\":\\"sha256:d\\"}}" > "$RESULT_FILE"
echo "MODEL_ID=tiny-1"
`;

export interface ModelOptions {
  readonly gitops: string;
  readonly runs: string;
  readonly name?: string;
  readonly train?: string;
  readonly job?: string;
  readonly plan?: (text: string) => string;
  readonly backoffLimit?: number;
  readonly parameters?: Readonly<Record<string, string | number>>;
  readonly files?: Readonly<Record<string, string>>;
}

/** The files of a small model repository whose training is a shell script and whose image holds only the model. */
export function modelFiles(options: ModelOptions): Record<string, string> {
  const plan = `apiVersion: throughline.dev/v1alpha1
kind: ReleasePlan
metadata: { name: ${options.name ?? 'tiny'} }
train:
  job: training/job.yaml
  dataset: { name: numbers, version: v1 }
  parameters: ${JSON.stringify({ TICKS: 3, ACCURACY: 0.97, ...options.parameters })}
  timeout: 5m
evaluate:
  accept:
    - { metric: accuracy, atLeast: 0.95 }
build:
  context: inference
  image: registry.example/ml/tiny
deploy:
  - environment: production
    repository: ${options.gitops}
    manifest: k8s/deployment.yaml
    container: inference
`;
  const job = `apiVersion: batch/v1
kind: Job
spec:
  backoffLimit: ${options.backoffLimit ?? 0}
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 2
      containers:
        - name: trainer
          image: registry.example/ml/trainer:1
          command: [sh, train.sh]
          env: [{ name: RUNS, value: ${JSON.stringify(options.runs)} }]
`;
  return {
    'throughline.yaml': options.plan?.(plan) ?? plan,
    'training/job.yaml': options.job ?? job,
    'training/train.sh': options.train ?? TRAIN,
    'inference/Dockerfile':
      'FROM scratch\nARG MODEL_ID\nCOPY --from=model /model /model\nENV MODEL_ID=$MODEL_ID\n',
    ...options.files,
  };
}

/** An answer of `POST /v1/releases`: one half of it or the other. */
export interface TriggerAnswer {
  readonly id: string;
  readonly statusUrl: string;
  readonly traceId: string;
  readonly traceparent: string;
  readonly created: boolean;
  readonly error: Problem;
}

export class World {
  readonly directory: string;
  readonly data: string;
  readonly runs: string;
  private readonly workers = new Set<ChildProcess>();
  private temporal!: TemporalServer;
  private temporalOptions!: TemporalServerOptions;
  private api!: Gateway;
  client!: TemporalClient;
  releases!: ReleaseService;
  url!: string;

  private constructor(name: string) {
    this.directory = temporaryDirectory(name);
    this.data = join(this.directory, 'data');
    this.runs = join(this.directory, 'runs');
    mkdirSync(this.data);
    writeFileSync(this.runs, '');
  }

  static async start(name: string): Promise<World> {
    const world = new World(name);
    const binary = await temporalBinary(cacheDirectory(), () => {});
    world.temporalOptions = {
      binary,
      data: world.directory,
      port: await freePort(0),
      uiPort: await freePort(0),
    };
    world.temporal = await startTemporalServer(world.temporalOptions);
    world.client = temporalClient({ address: world.temporal.address, namespace: 'default' });
    await world.client.connection.ensureConnected();
    await registerSearchAttributes(world.client.connection, 'default');
    world.releases = new ReleaseService({ ...world.client, taskQueue: 'throughline' });
    world.api = await world.gateway();
    world.url = await world.api.listen({ host: '127.0.0.1', port: 0 });
    return world;
  }

  /** Another gateway, which does not listen yet. */
  gateway(options: Partial<GatewayOptions> = {}): Promise<Gateway> {
    const log = createLogger('test', 'silent');
    return createGateway({ releases: this.releases, log, publicUrl: undefined, ...options });
  }

  get temporalAddress(): string {
    return this.temporal.address;
  }

  environment(env: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
    return {
      ...process.env,
      THROUGHLINE_DATA: this.data,
      THROUGHLINE_HEARTBEAT_TIMEOUT: '2',
      THROUGHLINE_JOB_BACKOFF: '0',
      TEMPORAL_ADDRESS: this.temporal.address,
      // Of its own: a build looks through all images that are there, and one of buildah's is kept for each step.
      THROUGHLINE_BUILDAH_STORAGE: join(this.directory, 'buildah'),
      THROUGHLINE_BUILD_CONTEXTS: '',
      ...env,
    };
  }

  /** A worker in a process of its own. Ready when this returns. */
  worker(env: Readonly<Record<string, string>> = {}): Promise<ChildProcess> {
    return this.process(process.execPath, [CLI, 'worker'], env);
  }

  /** A worker whose training and builds take no time. */
  instantWorker(env: Readonly<Record<string, string>> = {}): Promise<ChildProcess> {
    return this.process(process.execPath, [INSTANT_WORKER], env);
  }

  /** A gateway in a process of its own. Answers when this returns. */
  gatewayProcess(port: number, env: Readonly<Record<string, string>> = {}): Promise<ChildProcess> {
    const parameters = [CLI, 'gateway', '--listen', `127.0.0.1:${port}`];
    return this.process(process.execPath, parameters, env, 'gateway started');
  }

  /** What every process that was started has logged. */
  logs(): string {
    return readdirSync(this.directory)
      .filter((name) => name.endsWith('.log'))
      .map((name) => readFileSync(join(this.directory, name), 'utf8'))
      .join('\n');
  }

  /** Something that says "worker started" when it is ready, or what it is told to wait for. */
  async process(
    program: string,
    parameters: readonly string[],
    env: Readonly<Record<string, string>> = {},
    ready = 'worker started',
  ): Promise<ChildProcess> {
    const log = join(this.directory, `process-${randomUUID()}.log`);
    const file = openSync(log, 'a');
    const child = spawn(program, [...parameters], {
      env: this.environment(env),
      stdio: ['ignore', file, file],
    });
    closeSync(file);
    this.workers.add(child);
    for (let waited = 0; waited < 30_000; waited += 50) {
      if (readFileSync(log, 'utf8').includes(ready)) return child;
      if (child.exitCode !== null) break;
      await sleep(50);
    }
    throw new Error(`${parameters.join(' ')} does not start: ${readFileSync(log, 'utf8')}`);
  }

  /** Ends the server, and starts it again on its data and its port. */
  async restartTemporal(): Promise<void> {
    await this.temporal.stop();
    this.temporal = await startTemporalServer(this.temporalOptions);
  }

  async kill(worker: ChildProcess, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.workers.delete(worker);
    if (worker.exitCode !== null || worker.signalCode !== null) return;
    const exited = new Promise((resolve) => worker.once('exit', resolve));
    worker.kill(signal);
    await exited;
  }

  async killAll(): Promise<void> {
    for (const worker of [...this.workers]) await this.kill(worker);
  }

  /** A model repository and its GitOps remote. */
  model(
    name: string,
    options: Partial<ModelOptions> = {},
  ): { url: string; directory: string; gitops: string } {
    const gitops = join(this.directory, `${name}-gitops.git`);
    const gitopsUrl =
      options.gitops ?? remote(gitops, { 'k8s/deployment.yaml': MANIFEST, 'README.md': 'others\n' });
    const directory = join(this.directory, name);
    const label = name.toLowerCase().replace(/[^a-z0-9]+/g, '-');
    const url = repository(
      directory,
      modelFiles({ gitops: gitopsUrl, runs: this.runs, name: label, ...options }),
    );
    return { url, directory, gitops: gitopsUrl.replace('file://', '') };
  }

  async trigger(
    body: Record<string, unknown>,
    headers: Record<string, string> = {},
  ): Promise<{ status: number; body: TriggerAnswer }> {
    const response = await fetch(`${this.url}/v1/releases`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
    return { status: response.status, body: (await response.json()) as TriggerAnswer };
  }

  async get(id: string): Promise<PresentedRelease> {
    return (await (await fetch(`${this.url}/v1/releases/${id}`)).json()) as PresentedRelease;
  }

  async ended(id: string, seconds = 90): Promise<PresentedRelease> {
    return this.until(id, (record) => record.outcome !== undefined, seconds);
  }

  async until(
    id: string,
    condition: (record: PresentedRelease) => boolean,
    seconds = 60,
  ): Promise<PresentedRelease> {
    const deadline = Date.now() + seconds * 1000;
    for (;;) {
      const record = await this.get(id);
      if (condition(record)) return record;
      if (Date.now() > deadline) throw new Error(`${id} is still at: ${record.status} ${record.progress}`);
      await sleep(100);
    }
  }

  /** Releases and follows to the end, which must be this one. */
  async release(
    url: string,
    expected: OutcomeStatus,
    body: Record<string, unknown> = {},
  ): Promise<PresentedRelease> {
    const { body: started } = await this.trigger({ repository: url, ...body });
    const record = await this.ended(started.id);
    if (record.status !== expected) {
      throw new Error(`expected ${expected}, got ${record.status}: ${JSON.stringify(record.outcome)}`);
    }
    return record;
  }

  /** Runs of training programs so far: release, traceparent, process. */
  trainingRuns(): { release: string; traceparent: string; pid: number }[] {
    return readFileSync(this.runs, 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => {
        const [release = '', traceparent = '', pid = ''] = line.split(' ');
        return { release, traceparent, pid: Number(pid) };
      });
  }

  async stop(): Promise<void> {
    for (const worker of [...this.workers]) await this.kill(worker, 'SIGTERM');
    await this.api?.close();
    await this.client?.connection.close();
    await this.temporal?.stop();
    unmountBelow(this.directory);
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 10 });
  }
}

/** What buildah leaves mounted in its storage, the storage itself among it. */
function unmountBelow(directory: string): void {
  const points = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((point) => point.startsWith(`${directory}/`));
  for (const point of points.reverse()) execFileSync('umount', ['--lazy', point], { stdio: 'ignore' });
}
