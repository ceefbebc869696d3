// How a Job is let go of, and how it is ended: who deletes what first, which finalizers go when, and what is waited for.
import { ApiError, type KubernetesApi, resourcePath } from '../../../kubernetes/api.js';
import type { Job, KubernetesObject, Pod } from '../../../kubernetes/objects.js';
import { patiently } from '../../../kubernetes/patience.js';
import type { RunOptions } from '../runner.js';
import { GRACE_ANNOTATION, RELEASE_LABEL, RESULT_FINALIZER, splitJobName } from './manifest.js';
import { stateOf } from './state.js';
import { LOOK_MS, type NamespaceWatch, type TrainingWatches } from './watches.js';

export class JobEndings {
  constructor(
    private readonly api: KubernetesApi,
    private readonly watches: TrainingWatches,
  ) {}

  /** The result is in history: nothing of ours holds the Job or its pods any more. */
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

  /** Ends a Job that has not finished, so that nothing of it is left; lets go of one that has. */
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
      const marks = watch.marks(name);
      const object = watch.jobs.of(name)[0];
      if (object && object.metadata.labels?.[RELEASE_LABEL] !== releaseOf(name)) return;
      const keep = finished(object);
      const left = watch.pods.of(name).filter((pod) => !keep || !hasEnded(pod));
      if (left.length === 0 && (!object || keep)) return;
      report(`waiting for ${left.length} pods of Job ${job} to end`);
      await this.endPods(watch, name, keep, signal).catch(() => undefined); // the next look tries again
      await watch.change(name, signal, LOOK_MS, marks);
    }
  }

  /** Pods that failed or were taken away are let go of at once: whoever drains a node waits for that. */
  async releaseEnded(pods: readonly Pod[], signal: AbortSignal): Promise<void> {
    for (const pod of pods.filter(
      (one) => one.status?.phase === 'Failed' && one.metadata.deletionTimestamp,
    )) {
      await this.release('v1', 'pods', pod, signal).catch(() => undefined); // the next look tries again
    }
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
}

const finished = (job: Job | undefined) => job !== undefined && stateOf(job, []).state !== 'waiting';
const hasEnded = ({ status }: Pod) => status?.phase === 'Succeeded' || status?.phase === 'Failed';
const graceOf = (pod: Pod) => Number(pod.metadata.annotations?.[GRACE_ANNOTATION] ?? 30);

const unlessMissing = (error: unknown): undefined => {
  if (error instanceof ApiError && error.code === 404) return undefined;
  throw error;
};

/** The release that a Job's name was derived from: see jobNameOf. */
function releaseOf(name: string): string {
  return `rel-${/-([a-z2-7]+)-[0-9a-f]{6}$/.exec(name)?.[1] ?? ''}`;
}
