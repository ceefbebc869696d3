// The JobRunner of a Kubernetes cluster. The Job is the state: its name is derived, so that a second attempt finds the
// first one's (I2), and a finalizer of ours keeps it, and the pods that hold its result, until that is in history.
import { ThroughlineError } from '../../../domain/errors.js';
import type { TrainedModel } from '../../../domain/release.js';
import { ApiError, type KubernetesApi, resourcePath } from '../../../kubernetes/api.js';
import type { Job, KubernetesEvent, Pod } from '../../../kubernetes/objects.js';
import { patiently } from '../../../kubernetes/patience.js';
import { type JobManifest, trainingContainer } from '../../../plan/index.js';
import { podObservations } from '../../../telemetry/observations.js';
import { manifestOf } from '../../source/manifest.js';
import type {
  CompletedJob,
  JobPlacement,
  JobRunner,
  LogPage,
  Memory,
  PodRecord,
  RunOptions,
  TrainingJob,
} from '../runner.js';
import { JobEndings } from './ending.js';
import { checkOurs, failureOf, refusal, removed } from './failures.js';
import { readPodLog, tailOf } from './log.js';
import { kubernetesJob, type ManifestOptions, splitJobName } from './manifest.js';
import { trainedModel } from './result.js';
import { newest, recordOf, stateOf } from './state.js';
import { LOOK_MS, type NamespaceWatch, type TrainingWatches } from './watches.js';

export interface KubernetesRunnerOptions {
  /** Where Jobs go whose manifest names no namespace. */
  readonly namespace: string;
  readonly workloadTelemetry: Readonly<Record<string, string>>;
  /** How the sidecar is made; the repository is the release's own. */
  readonly handover: Omit<NonNullable<ManifestOptions['handover']>, 'repository'> | undefined;
  /** Seconds that a pod may be unable to start: no node takes it, or its image cannot be pulled. */
  readonly podStartSeconds: number;
  /** Where mirrors of git repositories lie. */
  readonly gitCache: string;
}

interface EndedJob {
  readonly object: Job;
  readonly watch: NamespaceWatch;
  readonly notes: Notes;
}

/** What attempts remember of the Job: that it was there, and what became of pods that are gone by now. */
interface Remembered {
  readonly uid?: string | undefined;
  readonly pods?: readonly PodRecord[];
  readonly stuck?: Stuck | undefined;
}

/** What was seen to be stuck, and when first: a slow pull, or hours of training before, do not count. */
interface Stuck {
  readonly on: string;
  readonly since: string;
}

/** Kubernetes, pkg/controller/job: MaxJobPodFailureBackOff. It also counts pods that its failure policy ignores. */
const MAX_BACK_OFF_SECONDS = 600;

/** A Job without a pod for so long has a reason, which an event tells. Milliseconds. */
const EVENT_AFTER_MS = 5_000;

export class KubernetesJobRunner implements JobRunner {
  private readonly endings: JobEndings;

  constructor(
    private readonly api: KubernetesApi,
    private readonly watches: TrainingWatches,
    private readonly options: KubernetesRunnerOptions,
  ) {
    this.endings = new JobEndings(api, watches);
  }

  /** The API server itself judges the manifest, quotas and policies included, without creating anything. */
  async check(manifest: JobManifest): Promise<JobPlacement> {
    const { namespace: wanted } = (manifest.metadata ?? {}) as { namespace?: string };
    const namespace = wanted ?? this.options.namespace;
    const job = this.objectOf(placeholder(manifest, `${namespace}/throughline-check`));
    try {
      await this.api.create(`${resourcePath('batch/v1', namespace, 'jobs')}?dryRun=All`, job);
    } catch (error) {
      throw refusal(error, manifest, namespace);
    }
    return { namespace };
  }

  async run(job: TrainingJob, options: RunOptions & Memory): Promise<TrainedModel> {
    const ended = await this.ended(job, options);
    const readLog = await this.succeeded(job, ended, options.signal);
    const { object, watch, notes } = ended;
    return trainedModel({
      job,
      object,
      pods: watch.pods.of(splitJobName(job.name).name),
      container: trainingContainer(job.manifest).name,
      records: notes.records,
      readLog: (pod) => readLog(pod, 1024 * 1024),
    });
  }

  async complete(job: TrainingJob, options: RunOptions & Memory): Promise<CompletedJob> {
    const ended = await this.ended(job, options);
    await this.succeeded(job, ended, options.signal);
    return { attempts: Math.max(1, ended.notes.records.length) };
  }

  /** Makes the Job or adopts it, and waits for its end. */
  private async ended(
    job: TrainingJob,
    { signal, report, remembered, remember, observe }: RunOptions & Memory,
  ): Promise<EndedJob> {
    const { namespace, name } = splitJobName(job.name);
    const watch = this.watches.in(namespace);
    report(`looking for Job ${job.name}`);
    await patiently('watch Jobs', () => watch.synced(signal), signal, report);
    const memory = (remembered ?? {}) as Remembered;
    let found = watch.jobs.of(name)[0];
    if (!found) {
      if (memory.uid) throw removed(job.name);
      report(`creating Job ${job.name}`);
      found = await this.create(job, signal, report);
    }
    checkOurs(found, job);
    const notes = new Notes(found, memory, remember, (pods) => observe(...podObservations(pods, namespace)));
    const object = await this.follow(job, found, watch, notes, { signal, report });
    return { object, watch, notes };
  }

  /** I2: where it is there already, an earlier attempt made it. */
  private async create(job: TrainingJob, signal: AbortSignal, report: (doing: string) => void): Promise<Job> {
    const { namespace, name } = splitJobName(job.name);
    const manifest = await manifestOf(job, this.options.gitCache, signal);
    const object = this.objectOf(job, manifest);
    return patiently(
      `create Job ${job.name}`,
      async () => {
        try {
          return await this.api.create<Job>(resourcePath('batch/v1', namespace, 'jobs'), object, signal);
        } catch (error) {
          if (!(error instanceof ApiError)) throw error;
          if (error.code !== 409) throw refusal(error, job.manifest, namespace);
          return this.api.get<Job>(resourcePath('batch/v1', namespace, 'jobs', name), {}, signal);
        }
      },
      signal,
      report,
    );
  }

  /** Waits until the Job has ended. Gives its last state. */
  private async follow(
    job: TrainingJob,
    created: Job,
    watch: NamespaceWatch,
    notes: Notes,
    { signal, report }: RunOptions,
  ): Promise<Job> {
    const { name } = splitJobName(job.name);
    const container = trainingContainer(job.manifest).name;
    let seen = false;
    for (;;) {
      const marks = watch.marks(name);
      const listed = watch.jobs.of(name)[0];
      if (!listed && seen && !watch.away) throw removed(job.name);
      seen ||= listed !== undefined;
      const object = listed ?? created;
      const pods = watch.pods.of(name);
      notes.take(pods, container);
      await this.endings.releaseEnded(pods, signal);

      const state = stateOf(object, pods, notes.records);
      if (state.state !== 'waiting') return object;
      if (object.metadata.deletionTimestamp) {
        if (pods.some((pod) => pod.status?.phase === 'Succeeded')) return object; // deleted before the controller counted
        throw removed(job.name);
      }
      const stuckSince = state.stuckSince ?? notes.stuckSince(state.stuckOn);
      const reason = await this.reasonOf(job.name, stuckSince, pods, signal);
      const doing = reason ? `${state.doing}: ${reason}` : state.doing;
      report(watch.away ? `waiting for the Kubernetes API (${watch.away}); last seen: ${doing}` : doing);
      const patience = this.options.podStartSeconds + (state.backsOff ? MAX_BACK_OFF_SECONDS : 0);
      if (stuckSince && secondsSince(stuckSince) > patience) {
        throw new ThroughlineError('TL_POD_UNSTARTABLE', `No pod of Job ${job.name} could start`, {
          expected: `a running pod within ${patience} s`,
          found: doing,
        });
      }
      await watch.change(name, signal, LOOK_MS, marks);
    }
  }

  /** Why a Job has no pod: a quota, a webhook, a missing service account. The controller says it in an event. */
  private async reasonOf(
    job: string,
    since: string | undefined,
    pods: readonly Pod[],
    signal: AbortSignal,
  ): Promise<string | undefined> {
    if (!since || pods.length > 0 || secondsSince(since) * 1000 < EVENT_AFTER_MS) return undefined;
    const { namespace, name } = splitJobName(job);
    try {
      const events = await this.api.get<{ items: KubernetesEvent[] }>(
        resourcePath('v1', namespace, 'events'),
        { fieldSelector: `involvedObject.kind=Job,involvedObject.name=${name},type=Warning`, limit: 50 },
        signal,
      );
      return events.items.at(-1)?.message;
    } catch {
      return undefined; // it is only a hint
    }
  }

  /** Throws how the Job ended where it did not succeed; otherwise gives what reads its pods' logs. */
  private async succeeded(
    job: TrainingJob,
    { object, watch, notes }: EndedJob,
    signal: AbortSignal,
  ): Promise<(pod: Pod, bytes: number) => Promise<string>> {
    const { namespace, name } = splitJobName(job.name);
    const container = trainingContainer(job.manifest).name;
    const pods = watch.pods.of(name);
    const readLog = (pod: Pod, bytes: number) =>
      tailOf(this.api, namespace, pod.metadata.name, container, bytes, signal);
    const state = stateOf(object, pods);
    if (state.state === 'failed') {
      const last = newest(pods.filter(({ status }) => status?.phase === 'Failed')) ?? newest(pods);
      throw failureOf(job, state, last, last ? await readLog(last, 4096).catch(() => '') : '', notes.records);
    }
    return readLog;
  }

  log(job: string, from: string | undefined, bytes: number): Promise<LogPage> {
    const { namespace, name } = splitJobName(job);
    return readPodLog(this.api, namespace, name, from, bytes);
  }

  settle(job: string, options: RunOptions): Promise<void> {
    return this.endings.settle(job, options);
  }

  stop(job: string, options: RunOptions): Promise<void> {
    return this.endings.stop(job, options);
  }

  private objectOf(job: TrainingJob, manifest?: JobManifest) {
    const { handover, workloadTelemetry } = this.options;
    const repository = job.modelRepository ?? 'registry.invalid/model';
    return kubernetesJob(
      job,
      { workloadTelemetry, handover: handover && { ...handover, repository } },
      manifest,
    );
  }
}

/** What is kept of the pods, in memory and from attempt to attempt. */
class Notes {
  private readonly pods = new Map<string, PodRecord>();
  private stuck: Stuck | undefined;

  constructor(
    private readonly job: Job,
    remembered: Remembered,
    private readonly remember: (value: Remembered) => void,
    private readonly observe: (pods: readonly PodRecord[]) => void,
  ) {
    for (const pod of remembered.pods ?? []) this.pods.set(pod.uid, pod);
    this.stuck = remembered.stuck;
    this.save();
  }

  get records(): PodRecord[] {
    return [...this.pods.values()].sort((a, b) => (a.createdAt ?? '').localeCompare(b.createdAt ?? ''));
  }

  /** When this was first seen to be stuck, by whichever attempt; undefined where nothing is. */
  stuckSince(on: string | undefined): string | undefined {
    if (this.stuck?.on !== on) {
      this.stuck = on === undefined ? undefined : { on, since: new Date().toISOString() };
      this.save();
    }
    return this.stuck?.since;
  }

  take(pods: readonly Pod[], container: string): void {
    let changed = false;
    for (const pod of pods) {
      const record = recordOf(pod, container);
      const before = this.pods.get(record.uid);
      // How a pod began to end stays: a deleted pod says "deleted" first and "evicted" with its last words.
      if (JSON.stringify(before) === JSON.stringify(record)) continue;
      this.pods.set(record.uid, record);
      changed = true;
    }
    if (changed) this.save();
  }

  private save(): void {
    this.remember({ uid: this.job.metadata.uid, pods: this.records, stuck: this.stuck });
    this.observe(this.records);
  }
}

const secondsSince = (time: string) => (Date.now() - Date.parse(time)) / 1000;

/** A Job that is only looked at: of the shape of the real one. */
function placeholder(manifest: JobManifest, name: string): TrainingJob {
  const zeros = '0'.repeat(40) as TrainingJob['commit'];
  return {
    name,
    release: 'rel-aaaaaaaaaaaaaaaaaaaa' as TrainingJob['release'],
    model: 'check',
    repository: '',
    commit: zeros,
    manifest,
    context: '.',
    dataset: { name: 'check', version: 'check' },
    parameters: {},
    timeout: 60,
    trace: { traceparent: `00-${'1'.repeat(32)}-${'1'.repeat(16)}-01` },
  };
}
