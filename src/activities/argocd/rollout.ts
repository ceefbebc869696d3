// Whether a workload has rolled out what was committed: by its own status, and by what its pods say and run (I5). Pure.

import { conditionOf, type Deployment, type Pod } from '../../kubernetes/objects.js';
import { TRACE_ANNOTATION } from '../../telemetry/attributes.js';

export interface Wanted {
  readonly container: string;
  readonly traceparent: string;
  readonly imageDigest: string;
}

/** What is still missing, in a person's words; undefined where the roll-out is complete. */
export function missingOf(workload: Deployment, pods: readonly Pod[], wanted: Wanted): string | undefined {
  const { metadata, spec, status } = workload;
  const replicas = spec.replicas ?? 1;
  if ((status?.observedGeneration ?? 0) < (metadata.generation ?? 0))
    return 'its controller has not seen the change';
  const failed = status?.conditions?.find(
    ({ type, status: holds }) => type === 'Progressing' && holds === 'False',
  );
  const updated = status?.updatedReplicas ?? 0;
  const available = status?.availableReplicas ?? 0;
  const total = status?.replicas ?? 0;
  const why = failed?.message ? ` (${failed.message})` : '';
  if (updated < replicas) return `${updated} of ${replicas} pods are updated${why}${troubleOf(pods)}`;
  if (total > updated) return `${total - updated} old pods are still there${why}${troubleOf(pods)}`;
  if (available < replicas) return `${available} of ${replicas} pods are available${why}${troubleOf(pods)}`;
  const ours = pods.filter((pod) => !pod.metadata.deletionTimestamp && pod.status?.phase === 'Running');
  if (ours.length < replicas) return `${ours.length} of ${replicas} pods run`;
  for (const pod of ours) {
    const reason = strangeness(pod, wanted);
    if (reason) return `pod ${pod.metadata.name} ${reason}`;
  }
  return undefined;
}

/**
 * What is wrong with pods that had been rolled out; undefined where nothing is. Pods that only start are not: somebody, or
 * an autoscaler, has asked for more of them.
 */
export function ailmentOf({ spec, status }: Deployment, pods: readonly Pod[]): string | undefined {
  const replicas = spec.replicas ?? 1;
  const available = status?.availableReplicas ?? 0;
  const trouble = troubleOf(pods);
  if (available >= replicas || (available > 0 && trouble === '')) return undefined;
  return `${available} of ${replicas} pods are available${trouble}`;
}

/**
 * What stands for pods of which nothing but their running says that they are ready: a program without a probe that ends at
 * once has been ready, and available, for an instant. It changes when one of them starts again. Undefined where a probe, or
 * the workload's own patience, says more.
 */
export function unprobed(workload: Deployment, pods: readonly Pod[], container: string): string | undefined {
  if ((workload.spec.minReadySeconds ?? 0) > 0) return undefined;
  const starts = pods.flatMap(({ metadata, spec, status }) => {
    const { readinessProbe, startupProbe } = spec?.containers?.find(({ name }) => name === container) ?? {};
    if (metadata.deletionTimestamp || readinessProbe || startupProbe) return [];
    const of = status?.containerStatuses?.find(({ name }) => name === container);
    return [`${metadata.name} ${of?.restartCount ?? 0} ${of?.state?.running?.startedAt ?? ''}`];
  });
  return starts.length > 0 ? starts.sort().join(', ') : undefined;
}

/** From the creation of the first pod to the moment that the last was ready, by the pods' own status. */
export function rolloutOf(pods: readonly Pod[]): { start: string | undefined; end: string | undefined } {
  const created = pods.map(({ metadata }) => metadata.creationTimestamp ?? '').sort();
  const ready = pods
    .map(({ status }) => conditionOf(status?.conditions, 'Ready')?.lastTransitionTime ?? '')
    .sort();
  return { start: created[0] || undefined, end: ready.at(-1) || undefined };
}

/** Why a pod is not one of ours. */
function strangeness(pod: Pod, { container, traceparent, imageDigest }: Wanted): string | undefined {
  if (pod.metadata.annotations?.[TRACE_ANNOTATION] !== traceparent) return `has another ${TRACE_ANNOTATION}`;
  const image = pod.spec?.containers?.find(({ name }) => name === container)?.image ?? '';
  if (!image.endsWith(`@${imageDigest}`)) return `is of image ${image}`;
  const status = pod.status?.containerStatuses?.find(({ name }) => name === container);
  const running = /@(sha256:[0-9a-f]{64})$/.exec(status?.imageID ?? '')?.[1];
  // Some runtimes name images by something else than the digest that they were pulled by.
  if (running && running !== imageDigest) return `runs ${running}`;
  if (!conditionOf(pod.status?.conditions, 'Ready')) return 'is not ready';
  return undefined;
}

/** Why pods do not start, or do not stay: for the message. */
export function troubleOf(pods: readonly Pod[]): string {
  for (const pod of pods) {
    for (const { name, state, lastState, restartCount } of pod.status?.containerStatuses ?? []) {
      const ended = state?.terminated ?? lastState?.terminated;
      if (state?.waiting?.reason && state.waiting.reason !== 'ContainerCreating') {
        const exit = ended
          ? `, last exit code ${ended.exitCode}${ended.message ? `: ${ended.message.trim().slice(-300)}` : ''}`
          : '';
        return `; ${pod.metadata.name}/${name}: ${state.waiting.reason}${exit}${state.waiting.message ? ` (${state.waiting.message.slice(0, 300)})` : ''}`;
      }
      if (ended && ended.exitCode !== 0)
        return `; ${pod.metadata.name}/${name} ended with exit code ${ended.exitCode}, restarted ${restartCount ?? 0} times`;
    }
  }
  return '';
}
