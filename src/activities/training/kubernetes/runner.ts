// The JobRunner of a Kubernetes cluster. The Job is the state: its name is derived, so that a second attempt finds the
// first one's (I2), and a finalizer of ours keeps it, and the pods that hold its result, until that is in history.
import { ThroughlineError } from '../../../domain/errors.js';
import type { TrainedModel } from '../../../domain/release.js';
import { ApiError, asProblem, type KubernetesApi, resourcePath } from '../../../kubernetes/api.js';
import type { Job, KubernetesEvent, KubernetesObject, Pod } from '../../../kubernetes/objects.js';
import { type JobManifest, trainingContainer } from '../../../plan/index.js';
import type {
  JobPlacement,
  JobRunner,
  LogPage,
  Memory,
  PodRecord,
  RunOptions,
  TrainingJob,
} from '../runner.js';
import { readPodLog, tailOf } from './log.js';
import {
  CONFIGURATION_ANNOTATION,
  configurationOf,
  GRACE_ANNOTATION,
  kubernetesJob,
  type ManifestOptions,
  RELEASE_LABEL,
  RESULT_FINALIZER,
  splitJobName,
} from './manifest.js';
import { patiently } from './patience.js';
import { trainedModel } from './result.js';
import { endOf, failedContainer, newest, recordOf, stateOf } from './state.js';
import type { NamespaceWatch, TrainingWatches } from './watches.js';

export interface KubernetesRunnerOptions {
  /** Where Jobs go whose manifest names no namespace. */
  readonly namespace: string;
  readonly workloadTelemetry: Readonly<Record<string, string>>;
  /** How the sidecar is made; the repository is the release's own. */
  readonly handover: Omit<NonNullable<ManifestOptions['handover']>, 'repository'> | undefined;
  /** Seconds that a pod may be unable to start: no node takes it, or its image cannot be pulled. */
  readonly podStartSeconds: number;
}

/** What attempts remember of the Job: that it was there, and what became of pods that are gone by now. */
interface Remembered {
  readonly uid?: string | undefined;
  readonly pods?: readonly PodRecord[];
}

/** How often a wait looks at the clock though nothing has changed. Milliseconds. */
const LOOK_MS = 5_000;
/** A Job without a pod for so long has a reason, which an event tells. Milliseconds. */
const EVENT_AFTER_MS = 5_000;

export class KubernetesJobRunner implements JobRunner {
  constructor(
    private readonly api: KubernetesApi,
    private readonly watches: TrainingWatches,
    private readonly options: KubernetesRunnerOptions,
  ) {}

  /** The API server itself judges the manifest, quotas and policies included, without creating anything. */
  async check(manifest: JobManifest): Promise<JobPlacement> {
    const { namespace: wanted } = (manifest.metadata ?? {}) as { namespace?: string };
    const namespace = wanted ?? this.options.namespace;
    const job = this.manifestOf(placeholder(manifest, `${namespace}/throughline-check`));
    try {
      await this.api.create(`${resourcePath('batch/v1', namespace, 'jobs')}?dryRun=All`, job);
    } catch (error) {
      throw refusal(error, manifest, namespace);
    }
    return { namespace };
  }

  async run(
    job: TrainingJob,
    { signal, report, remembered, remember }: RunOptions & Memory,
  ): Promise<TrainedModel> {
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
    const notes = new Notes(found, memory, remember);
    const ended = await this.follow(job, found, watch, notes, { signal, report });
    return this.collect(job, ended, watch, notes, signal);
  }

  /** I2: where it is there already, an earlier attempt made it. */
  private async create(job: TrainingJob, signal: AbortSignal, report: (doing: string) => void): Promise<Job> {
    const { namespace, name } = splitJobName(job.name);
    return patiently(
      `create Job ${job.name}`,
      async () => {
        try {
          return await this.api.create<Job>(
            resourcePath('batch/v1', namespace, 'jobs'),
            this.manifestOf(job),
            signal,
          );
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
      const listed = watch.jobs.of(name)[0];
      if (!listed && seen && !watch.away) throw removed(job.name);
      seen ||= listed !== undefined;
      const object = listed ?? created;
      const pods = watch.pods.of(name);
      notes.take(pods, container);
      await this.releaseEnded(pods, signal);

      const state = stateOf(object, pods);
      if (state.state !== 'waiting') return object;
      if (object.metadata.deletionTimestamp) {
        if (pods.some((pod) => pod.status?.phase === 'Succeeded')) return object; // deleted before the controller counted
        throw removed(job.name);
      }
      const reason = await this.reasonOf(job.name, state.stuckSince, pods, signal);
      const doing = reason ? `${state.doing}: ${reason}` : state.doing;
      report(watch.away ? `waiting for the Kubernetes API (${watch.away}); last seen: ${doing}` : doing);
      if (state.stuckSince && secondsSince(state.stuckSince) > this.options.podStartSeconds) {
        throw new ThroughlineError('TL_POD_UNSTARTABLE', `No pod of Job ${job.name} could start`, {
          expected: `a running pod within ${this.options.podStartSeconds} s`,
          found: doing,
        });
      }
      const marks = marksOf(watch, name);
      await watch.change(name, signal, LOOK_MS, () => marksOf(watch, name) !== marks);
    }
  }

  /** Pods that failed or were taken away are let go of at once: whoever drains a node waits for that. */
  private async releaseEnded(pods: readonly Pod[], signal: AbortSignal): Promise<void> {
    for (const pod of pods.filter(
      (one) => one.status?.phase === 'Failed' && one.metadata.deletionTimestamp,
    )) {
      await this.release('v1', 'pods', pod, signal).catch(() => undefined); // the next look tries again
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

  private async collect(
    job: TrainingJob,
    object: Job,
    watch: NamespaceWatch,
    notes: Notes,
    signal: AbortSignal,
  ): Promise<TrainedModel> {
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
    return trainedModel({
      job,
      object,
      pods,
      container,
      records: notes.records,
      readLog: (pod) => readLog(pod, 1024 * 1024),
    });
  }

  async settle(job: string, { signal, report }: RunOptions): Promise<void> {
    const { namespace, name } = splitJobName(job);
    report(`letting go of Job ${job}`);
    const watch = this.watches.in(namespace);
    await patiently('watch Jobs', () => watch.synced(signal), signal, report);
    await patiently(
      `let go of Job ${job}`,
      async () => {
        // The pods first: while the Job stands, they are found.
        for (const pod of watch.pods.of(name)) await this.release('v1', 'pods', pod, signal);
        const object = watch.jobs.of(name)[0];
        if (object) await this.release('batch/v1', 'jobs', object, signal);
      },
      signal,
      report,
    );
  }

  async stop(job: string, { signal, report }: RunOptions): Promise<void> {
    const { namespace, name } = splitJobName(job);
    const watch = this.watches.in(namespace);
    report(`stopping Job ${job}`);
    await patiently('watch Jobs', () => watch.synced(signal), signal, report);
    const path = resourcePath('batch/v1', namespace, 'jobs', name);
    await patiently(
      `stop Job ${job}`,
      async () => {
        // Asked for, not looked up: an attempt may have made it a moment ago.
        const object = await this.api.get<Job>(path, {}, signal).catch(unlessMissing);
        if (object && object.metadata.labels?.[RELEASE_LABEL] !== releaseOf(name)) return; // not ours to stop
        if (object && !finished(object)) {
          // Without its pods, which are ended below: whoever deletes a pod first decides how long it is given.
          await this.api.delete(path, { propagationPolicy: 'Orphan' }, signal).catch(unlessMissing);
        }
        await this.endPods(watch, name, finished(object), signal);
        if (object) await this.release('batch/v1', 'jobs', object, signal);
      },
      signal,
      report,
    );
    await this.waitUntilStopped(job, watch, { signal, report });
  }

  /** All pods are let go of; those of a Job that has not finished are deleted, and nobody else would. */
  private async endPods(
    watch: NamespaceWatch,
    name: string,
    keep: boolean,
    signal: AbortSignal,
  ): Promise<void> {
    for (const pod of watch.pods.of(name)) {
      if (pod.metadata.labels?.[RELEASE_LABEL] !== releaseOf(name)) continue;
      if (!keep && !pod.metadata.deletionTimestamp) await this.end(pod, signal);
      await this.release('v1', 'pods', pod, signal);
    }
  }

  /** With the grace period that the manifest gives, not with the longer one that the hand-over needs. */
  private async end(pod: Pod, signal: AbortSignal): Promise<void> {
    const { namespace = '', name } = pod.metadata;
    const gracePeriodSeconds = graceOf(pod);
    await this.api
      .delete(resourcePath('v1', namespace, 'pods', name), { gracePeriodSeconds }, signal)
      .catch(unlessMissing);
  }

  /** I6: until no pod of it runs. Pods that a controller still makes are ended too. */
  private async waitUntilStopped(
    job: string,
    watch: NamespaceWatch,
    { signal, report }: RunOptions,
  ): Promise<void> {
    const { name } = splitJobName(job);
    for (;;) {
      const object = watch.jobs.of(name)[0];
      if (object && object.metadata.labels?.[RELEASE_LABEL] !== releaseOf(name)) return;
      const keep = finished(object);
      const left = watch.pods.of(name).filter((pod) => !keep || !hasEnded(pod));
      if (left.length === 0 && (!object || keep)) return;
      report(`waiting for ${left.length} pods of Job ${job} to end`);
      await this.endPods(watch, name, keep, signal).catch(() => undefined); // the next look tries again
      const marks = marksOf(watch, name);
      await watch.change(name, signal, LOOK_MS, () => marksOf(watch, name) !== marks);
    }
  }

  log(job: string, from: string | undefined, bytes: number): Promise<LogPage> {
    const { namespace, name } = splitJobName(job);
    return readPodLog(this.api, namespace, name, from, bytes);
  }

  /** Removes our finalizer, and nothing else: where somebody changed the list meanwhile, it is read again. */
  private async release(
    apiVersion: string,
    plural: string,
    known: KubernetesObject,
    signal: AbortSignal,
  ): Promise<void> {
    const path = resourcePath(apiVersion, known.metadata.namespace ?? '', plural, known.metadata.name);
    let object: KubernetesObject | undefined = known;
    while (object?.metadata.finalizers?.includes(RESULT_FINALIZER)) {
      const { resourceVersion, finalizers }: KubernetesObject['metadata'] = object.metadata;
      try {
        await this.api.merge(
          path,
          {
            metadata: { resourceVersion, finalizers: finalizers?.filter((one) => one !== RESULT_FINALIZER) },
          },
          signal,
        );
        return;
      } catch (error) {
        if (!(error instanceof ApiError) || (error.code !== 409 && error.code !== 404)) throw error;
        object = await this.api.get<KubernetesObject>(path, {}, signal).catch(unlessMissing);
      }
    }
  }

  private manifestOf(job: TrainingJob) {
    const { handover, workloadTelemetry } = this.options;
    return kubernetesJob(job, {
      workloadTelemetry,
      handover: handover && { ...handover, repository: job.modelRepository ?? 'registry.invalid/model' },
    });
  }
}

/** What is kept of the pods, in memory and from attempt to attempt. */
class Notes {
  private readonly pods = new Map<string, PodRecord>();

  constructor(
    private readonly job: Job,
    remembered: Remembered,
    private readonly remember: (value: Remembered) => void,
  ) {
    for (const pod of remembered.pods ?? []) this.pods.set(pod.uid, pod);
    this.save();
  }

  get records(): PodRecord[] {
    return [...this.pods.values()].sort((a, b) => (a.createdAt ?? '').localeCompare(b.createdAt ?? ''));
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
    this.remember({ uid: this.job.metadata.uid, pods: this.records });
  }
}

function checkOurs(object: Job, job: TrainingJob): void {
  const { labels, annotations } = object.metadata;
  if (
    labels?.[RELEASE_LABEL] === job.release &&
    annotations?.[CONFIGURATION_ANNOTATION] === configurationOf(job)
  )
    return;
  throw new ThroughlineError('TL_JOB_FOREIGN', `There is a Job ${job.name} that this release did not make`, {
    expected: `a Job with label ${RELEASE_LABEL}=${job.release} and this training's configuration`,
    found: `${RELEASE_LABEL}=${labels?.[RELEASE_LABEL] ?? '(none)'}, configuration ${annotations?.[CONFIGURATION_ANNOTATION]?.slice(0, 12) ?? '(none)'}`,
  });
}

/** The release that a Job's name was derived from: see jobNameOf. */
function releaseOf(name: string): string {
  return `rel-${/-([a-z2-7]+)-[0-9a-f]{6}$/.exec(name)?.[1] ?? ''}`;
}

function removed(job: string): ThroughlineError {
  return new ThroughlineError('TL_JOB_REMOVED', `Job ${job} was deleted while it ran`, {
    expected: 'a Job that ends, or a cancellation of the release',
    found: 'a deletion by somebody else',
  });
}

function failureOf(
  job: TrainingJob,
  { reason, message }: { reason: string; message: string },
  pod: Pod | undefined,
  log: string,
  records: readonly PodRecord[],
): ThroughlineError {
  const runs = `${records.length} ${records.length === 1 ? 'pod' : 'pods'}`;
  const tail = `end of its log:\n${log.trimEnd() || '(nothing)'}`;
  if (reason === 'DeadlineExceeded') {
    return new ThroughlineError('TL_TRAINING_TIMEOUT', `The training of ${job.model} did not end in time`, {
      expected: `an end within ${Math.min(job.manifest.spec.activeDeadlineSeconds ?? Number.POSITIVE_INFINITY, job.timeout)} s`,
      found: `still running in ${runs}; ${tail}`,
    });
  }
  const terminated = pod && failedContainer(pod)?.state?.terminated;
  const how = terminated
    ? `ended with exit code ${terminated.exitCode}${terminated.reason && terminated.reason !== 'Error' ? ` (${terminated.reason})` : ''}`
    : pod
      ? `was ${endOf(pod)}`
      : 'failed';
  return new ThroughlineError(
    'TL_TRAINING_FAILED',
    `The training program of ${job.model} ${how} after ${runs}`,
    {
      expected: 'exit code 0',
      found: `${reason}: ${message}\n${tail}`,
    },
  );
}

/** What the API server's refusal of a Job means. */
function refusal(error: unknown, manifest: JobManifest, namespace: string): unknown {
  if (!(error instanceof ApiError)) return error;
  const name = (manifest.metadata?.name as string | undefined) ?? 'the training Job';
  if (error.code === 403 && /exceeded quota/.test(error.message)) {
    return new ThroughlineError(
      'TL_QUOTA_EXCEEDED',
      `The quota of namespace ${namespace} has no room for ${name}`,
      {
        found: error.message,
      },
    );
  }
  if (error.code === 404) {
    return new ThroughlineError('TL_JOB_INVALID', `There is no namespace ${namespace}`, {
      found: error.message,
    });
  }
  if (
    error.code === 422 ||
    error.code === 400 ||
    (error.code === 403 && /admission|denied the request|violates PodSecurity/i.test(error.message))
  ) {
    return new ThroughlineError('TL_JOB_INVALID', `Kubernetes refuses ${name}`, { found: error.message });
  }
  return asProblem(error, `create ${name} in ${namespace}`);
}

const finished = (job: Job | undefined) => job !== undefined && stateOf(job, []).state !== 'waiting';
const hasEnded = ({ status }: Pod) => status?.phase === 'Succeeded' || status?.phase === 'Failed';
const graceOf = (pod: Pod) => Number(pod.metadata.annotations?.[GRACE_ANNOTATION] ?? 30);

const unlessMissing = (error: unknown): undefined => {
  if (error instanceof ApiError && error.code === 404) return undefined;
  throw error;
};

const secondsSince = (time: string) => (Date.now() - Date.parse(time)) / 1000;

/** Changes whenever something that is watched of the Job changes. */
function marksOf(watch: NamespaceWatch, name: string): string {
  const versions = [...watch.jobs.of(name), ...watch.pods.of(name)].map(
    ({ metadata }) => metadata.resourceVersion,
  );
  return `${watch.away ?? ''} ${versions.join(' ')}`;
}

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
