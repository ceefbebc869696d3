// A world for tests on the local cluster: real Jobs, BuildKit and Argo CD, with the worker's own account. Runs in the
// cluster's network (`npm run test:cluster` sees to that).
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { type ClusterState, clusterEnvironment, readClusterState } from '../../src/demo/cluster-world.js';
import type { PresentedRelease } from '../../src/gateway/present.js';
import { ApiError, KubernetesApi, resourcePath } from '../../src/kubernetes/api.js';
import type { Job, KubernetesObject, Pod } from '../../src/kubernetes/objects.js';
import { VERSION } from '../../src/version.js';
import { git, remote, World } from './world.js';

const HISTORIES = fileURLToPath(new URL('../histories', import.meta.url));

export interface ClusterModelOptions {
  /** Seconds that the training takes. */
  readonly seconds?: number;
  /** Lines of shell that run before the training. */
  readonly before?: string;
  readonly job?: (manifest: Record<string, unknown>) => Record<string, unknown>;
  readonly image?: string;
  readonly command?: readonly string[];
  /** What the served container runs. */
  readonly serve?: readonly string[];
  /** Of the Application, instead of the model's own. */
  readonly source?: Readonly<Record<string, string>>;
  /** Deploys nowhere, so that there is no Application either. */
  readonly undeployed?: boolean;
  readonly dockerfile?: string;
  readonly syncTimeout?: string;
  /** Of the deployment: whether the release takes it back. */
  readonly rollback?: 'automatic';
  readonly verify?: readonly object[];
  /** What the Job of a check runs. */
  readonly check?: string;
  readonly timeout?: string;
}

export interface ClusterModel {
  readonly name: string;
  readonly url: string;
  readonly gitops: string;
  readonly gitopsUrl: string;
}

/** Trains for a while, and answers as the contract says. */
const train = (seconds: number, before: string) => `set -e
trap 'exit 143' TERM
${before}
i=0; while [ $i -lt ${seconds} ]; do i=$((i+1)); echo "epoch $i"; sleep 1; done
echo "weights of $RELEASE_ID" > "$MODEL_OUTPUT/weights.bin"
printf '{"model":{"id":"tiny-1"},"metrics":{"accuracy":0.97},"dataset":{"digest":"sha256:d"}}' > "$RESULT_FILE"`;

/** As Jaeger's query API has it. Times are microseconds. */
export interface JaegerSpan {
  readonly traceID: string;
  readonly spanID: string;
  readonly operationName: string;
  readonly processID: string;
  readonly service: string;
  readonly startTime: number;
  readonly duration: number;
  readonly references: readonly { readonly refType: string; readonly spanID: string }[];
  readonly tags: readonly { readonly key: string; readonly value: unknown }[];
  readonly warnings?: readonly string[] | null;
}

export class ClusterWorld {
  private readonly cleanUp: (() => Promise<unknown>)[] = [];

  private constructor(
    readonly world: World,
    readonly state: ClusterState,
    /** As the cluster's administrator. */
    readonly api: KubernetesApi,
    private readonly directory: string,
    /** A small image with a shell that every node has. */
    readonly image: string,
  ) {}

  static async start(name: string): Promise<ClusterWorld> {
    const path = process.env.THROUGHLINE_CLUSTER_STATE;
    if (!path) throw new Error('run this by `npm run test:cluster`');
    const state = await readClusterState(path);
    const api = await KubernetesApi.fromEnvironment(state.kubernetes.kubeconfig);
    const directory = join(state.git.directory, `test-${randomBytes(4).toString('hex')}`);
    mkdirSync(directory);
    const image = `${state.registry.address}/throughline/buildkit:1`;
    return new ClusterWorld(await World.start(name), state, api, directory, image);
  }

  /** A worker with the account, the rights and the settings that it has on the cluster. */
  worker(env: Readonly<Record<string, string>> = {}) {
    const own = clusterEnvironment(this.state) as Record<string, string>;
    const contexts = `${own.THROUGHLINE_BUILD_CONTEXTS} base=docker-image://${this.image}`;
    return this.world.worker({
      ...own,
      THROUGHLINE_BUILD_CONTEXTS: contexts,
      THROUGHLINE_POD_START_TIMEOUT: '15',
      ...env,
    });
  }

  /** A model repository, its GitOps remote and its Application. */
  async model(options: ClusterModelOptions = {}): Promise<ClusterModel> {
    const name = `tiny-${randomBytes(3).toString('hex')}`;
    const base = `${this.state.git.url}/${this.directory.split('/').at(-1)}`;
    const { argocd, serving } = this.state.namespaces;
    const manifest = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name },
      spec: {
        replicas: 1,
        selector: { matchLabels: { app: name } },
        template: {
          metadata: { labels: { app: name } },
          spec: {
            terminationGracePeriodSeconds: 0,
            containers: [
              {
                name: 'inference',
                image: this.image,
                command: options.serve ?? ['sleep', '100000'],
                // As a service has one; a program of a test's own is not probed.
                ...(options.serve ? {} : { readinessProbe: { exec: { command: ['sh', '-c', 'exit 0'] } } }),
              },
            ],
          },
        },
      },
    };
    remote(join(this.directory, `${name}-gitops.git`), {
      'k8s/deployment.yaml': JSON.stringify(manifest, null, 2),
    });
    const gitopsUrl = `${base}/${name}-gitops.git`;
    const job = {
      apiVersion: 'batch/v1',
      kind: 'Job',
      spec: {
        backoffLimit: 2,
        template: {
          spec: {
            restartPolicy: 'Never',
            terminationGracePeriodSeconds: 1,
            containers: [
              {
                name: 'trainer',
                image: options.image ?? this.image,
                command: options.command ?? ['sh', '-c', train(options.seconds ?? 2, options.before ?? '')],
              },
            ],
          },
        },
      },
    };
    const plan = {
      apiVersion: 'throughline.dev/v1alpha1',
      kind: 'ReleasePlan',
      metadata: { name },
      train: {
        job: 'training/job.yaml',
        dataset: { name: 'numbers', version: 'v1' },
        timeout: options.timeout ?? '5m',
      },
      evaluate: { accept: [{ metric: 'accuracy', atLeast: 0.95 }] },
      build: { context: 'inference', image: `${this.state.registry.address}/test/${name}` },
      deploy: options.undeployed
        ? []
        : [
            {
              environment: 'production',
              repository: gitopsUrl,
              manifest: 'k8s/deployment.yaml',
              container: 'inference',
              ...(options.rollback ? { rollback: options.rollback } : {}),
              ...(options.verify ? { verify: options.verify } : {}),
              argocd: { application: name, namespace: argocd, timeout: options.syncTimeout ?? '2m' },
            },
          ],
    };
    remote(join(this.directory, `${name}.git`), {
      'throughline.yaml': JSON.stringify(plan, null, 2),
      'training/job.yaml': JSON.stringify(options.job?.(job) ?? job, null, 2),
      'checks/job.yaml': JSON.stringify({
        ...job,
        spec: {
          backoffLimit: 0,
          template: {
            spec: {
              restartPolicy: 'Never',
              containers: [
                { name: 'check', image: this.image, command: ['sh', '-c', options.check ?? 'exit 0'] },
              ],
            },
          },
        },
      }),
      'inference/Dockerfile':
        options.dockerfile ??
        'FROM base\nARG MODEL_ID\nCOPY --from=model /model /model\nENV MODEL_ID=$MODEL_ID\nENTRYPOINT ["sleep", "100000"]\n',
    });
    if (options.undeployed) return { name, url: `${base}/${name}.git`, gitops: '', gitopsUrl };
    await this.create('argoproj.io/v1alpha1', argocd, 'applications', {
      apiVersion: 'argoproj.io/v1alpha1',
      kind: 'Application',
      metadata: { name, finalizers: ['resources-finalizer.argocd.argoproj.io'] },
      spec: {
        project: 'default',
        source: { repoURL: gitopsUrl, targetRevision: 'main', path: 'k8s', ...options.source },
        destination: { server: 'https://kubernetes.default.svc', namespace: serving },
        syncPolicy: { automated: { prune: true, selfHeal: true } },
      },
    });
    return {
      name,
      url: `${base}/${name}.git`,
      gitops: join(this.directory, `${name}-gitops.git`),
      gitopsUrl,
    };
  }

  /** Creates an object, and removes it when the test's world ends. */
  async create(
    apiVersion: string,
    namespace: string,
    plural: string,
    object: Pick<KubernetesObject, 'metadata'> & Record<string, unknown>,
  ): Promise<void> {
    await this.api.create(resourcePath(apiVersion, namespace, plural), object);
    this.cleanUp.push(() => this.removeForGood(apiVersion, namespace, plural, object.metadata.name));
  }

  async remove(apiVersion: string, namespace: string, plural: string, name: string): Promise<void> {
    await this.api.delete(resourcePath(apiVersion, namespace, plural, name), {}).catch((error) => {
      if (!(error instanceof ApiError) || error.code !== 404) throw error;
    });
  }

  /** Removes an object, with whatever its finalizers see to; without them where that takes too long. */
  private async removeForGood(
    apiVersion: string,
    namespace: string,
    plural: string,
    name: string,
  ): Promise<void> {
    await this.remove(apiVersion, namespace, plural, name);
    const path = resourcePath(apiVersion, namespace, plural, name);
    const gone = () =>
      this.api.get(path).then(
        () => false,
        () => true,
      );
    await this.eventually(`the end of ${name}`, gone, 20).catch(() =>
      this.api.merge(path, { metadata: { finalizers: null } }).catch(() => undefined),
    );
  }

  async trigger(model: ClusterModel, body: Record<string, unknown> = {}): Promise<string> {
    const answer = await this.world.trigger({ repository: model.url, ...body });
    if (answer.status !== 202) throw new Error(JSON.stringify(answer.body));
    return answer.body.id;
  }

  /** The Jobs of a release. */
  async jobs(release: string): Promise<Job[]> {
    return this.list<Job>('batch/v1', 'jobs', release);
  }

  /** The pods of a release's Jobs. */
  async pods(release: string): Promise<Pod[]> {
    return this.list<Pod>('v1', 'pods', release);
  }

  private async list<T extends KubernetesObject>(
    apiVersion: string,
    plural: string,
    release: string,
  ): Promise<T[]> {
    const { items } = await this.api.get<{ items: T[] }>(
      resourcePath(apiVersion, this.state.namespaces.training, plural),
      { labelSelector: `throughline.dev/release=${release}` },
    );
    return items;
  }

  /** Through the eviction API, as a drain does it. */
  async evict({ metadata: { name, namespace = '' } }: Pod): Promise<void> {
    await this.api.create(`${resourcePath('v1', namespace, 'pods', name)}/eviction`, {
      apiVersion: 'policy/v1',
      kind: 'Eviction',
      metadata: { name, namespace },
    });
  }

  /** The one pod that trains, when it does. */
  async trainingPod(release: string, not: readonly string[] = []): Promise<Pod> {
    return this.eventually('a pod that trains', async () =>
      (await this.pods(release)).find(
        ({ metadata, status }) =>
          status?.phase === 'Running' &&
          !metadata.deletionTimestamp &&
          !not.includes(metadata.name) &&
          status.containerStatuses?.every(({ state }) => state?.running),
      ),
    );
  }

  async eventually<T>(what: string, look: () => Promise<T | undefined | false>, seconds = 60): Promise<T> {
    const deadline = Date.now() + seconds * 1000;
    for (;;) {
      const found = await look();
      if (found) return found;
      if (Date.now() > deadline) throw new Error(`${what}: not within ${seconds} s`);
      await sleep(100);
    }
  }

  ended(release: string, seconds = 150): Promise<PresentedRelease> {
    return this.world.ended(release, seconds);
  }

  /** The trace of a release that has ended, once it has been delivered and BuildKit has sent what it had. */
  async jaegerTrace({ traceId, model }: PresentedRelease): Promise<JaegerSpan[]> {
    let before = -1;
    return this.eventually('the whole trace in Jaeger', async () => {
      const response = await fetch(`${this.state.jaeger.queryInside}/api/traces/${traceId}`);
      const { data } = (await response.json()) as {
        data?: { spans: JaegerSpan[]; processes: Record<string, { serviceName: string }> }[] | null;
      };
      const spans = (data ?? []).flatMap(({ spans, processes }) =>
        spans.map((span) => ({ ...span, service: processes[span.processID]?.serviceName ?? '' })),
      );
      const quiet =
        spans.length === before && spans.some(({ operationName }) => operationName === `RUN ${model}`);
      before = spans.length;
      if (!quiet) await sleep(6_000); // BuildKit sends every five seconds (OTEL_BSP_SCHEDULE_DELAY)
      return quiet && spans.sort((a, b) => a.startTime - b.startTime);
    });
  }

  /** Keeps the history of a release among those that are replayed. */
  async record(release: string, name: string): Promise<void> {
    const handle = this.world.client.client.workflow.getHandle(release);
    await handle.result(); // its last word comes a moment before its end
    const history = await handle.fetchHistory();
    const text = `${JSON.stringify({ ...JSON.parse(historyToJSON(history)), workflowId: release }, null, 1)}\n`;
    writeFileSync(join(HISTORIES, VERSION, `${name}.json`), text);
  }

  /** The GitOps commits of a release. */
  commits(model: ClusterModel, release: string): string[] {
    return git(model.gitops, 'log', '--format=%H', '--fixed-strings', `--grep=Release-Id: ${release}`, 'main')
      .split('\n')
      .filter(Boolean);
  }

  /** Kills a component of the cluster (SIGKILL). Gives a function that starts it again as it was. */
  kill(component: string): () => void {
    const pidFile = join(dirname(this.state.file), 'run', `${component}.pid`);
    const pid = Number(readFileSync(pidFile, 'utf8'));
    const entries = (file: string) =>
      readFileSync(`/proc/${pid}/${file}`, 'utf8').split('\0').filter(Boolean);
    const [program = '', ...parameters] = entries('cmdline');
    const env = Object.fromEntries(
      entries('environ').map((entry) => [
        entry.slice(0, entry.indexOf('=')),
        entry.slice(entry.indexOf('=') + 1),
      ]),
    );
    process.kill(pid, 'SIGKILL');
    let again = false;
    const start = () => {
      if (again) return;
      again = true;
      const log = openSync(join(this.state.logs, `${component}.log`), 'a');
      const child = spawn(program, parameters, { env, detached: true, stdio: ['ignore', log, log] });
      child.unref();
      writeFileSync(pidFile, String(child.pid));
    };
    this.cleanUp.push(async () => start());
    return start;
  }

  async stop(): Promise<void> {
    for (let next = this.cleanUp.pop(); next; next = this.cleanUp.pop()) await next();
    await this.world.stop();
    await this.api.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** The parent context that a pod’s program was handed. */
export function contextOf(pod: Pod): string | undefined {
  const containers = pod.spec?.containers as { env?: { name: string; value?: string }[] }[] | undefined;
  return containers?.[0]?.env?.find(({ name }) => name === 'TRACEPARENT')?.value;
}
