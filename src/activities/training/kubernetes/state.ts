// What a Job and its pods say: whether it is done, and if not, what is being waited for, in a person's words. Pure.
import { type ContainerStatus, conditionOf, type Job, type Pod } from '../../../kubernetes/objects.js';
import type { PodRecord } from '../runner.js';
import { KUEUE_QUEUE_LABEL } from './manifest.js';

export type JobState =
  | { readonly state: 'succeeded' }
  | { readonly state: 'failed'; readonly reason: string; readonly message: string }
  | {
      readonly state: 'waiting';
      readonly doing: string;
      /** Since when it cannot go on by itself, where that is so and Kubernetes says it: RFC 3339. */
      readonly stuckSince?: string | undefined;
      /** What cannot go on by itself, where Kubernetes does not say since when: a pod's uid, or the lack of one. */
      readonly stuckOn?: string | undefined;
      /** Whether it may be the Job's own pause before it tries again. */
      readonly backsOff?: boolean;
    };

/** Reasons of a waiting container that mean: its image, or what it is made of, cannot be had. */
const UNPULLABLE = new Set(['ErrImagePull', 'ImagePullBackOff', 'InvalidImageName', 'ErrImageNeverPull']);
const UNSTARTABLE = new Set(['CreateContainerConfigError', 'CreateContainerError', 'RunContainerError']);

const NO_POD = 'no pod';

/** `records` are of all pods that were ever seen: Kubernetes forgets those that were evicted. */
export function stateOf(job: Job, pods: readonly Pod[], records: readonly PodRecord[] = []): JobState {
  const conditions = job.status?.conditions;
  // The controller is done with a Job when its Complete or Failed condition stands; before that its pods are counted.
  if (conditionOf(conditions, 'Complete')) return { state: 'succeeded' };
  const failed = conditionOf(conditions, 'Failed');
  if (failed) return { state: 'failed', reason: failed.reason ?? 'Failed', message: failed.message ?? '' };
  if (job.spec.suspend) {
    const queue = job.metadata.labels?.[KUEUE_QUEUE_LABEL];
    return { state: 'waiting', doing: queue ? `queued by Kueue in ${queue}` : 'suspended' };
  }
  const ending = conditionOf(conditions, 'SuccessCriteriaMet') ?? conditionOf(conditions, 'FailureTarget');
  if (ending) return { state: 'waiting', doing: 'waiting for the Job’s last pod to end' };
  return waitingFor(job, pods, records);
}

function waitingFor(job: Job, pods: readonly Pod[], records: readonly PodRecord[]): JobState {
  const counted = pods.filter((pod) => !pod.metadata.deletionTimestamp || pod.status?.phase === 'Running');
  const current = newest(
    counted.filter((pod) => pod.status?.phase === 'Pending' || pod.status?.phase === 'Running'),
  );
  const before = history(job, pods, records);
  if (!current && pods.some(({ status }) => status?.phase === 'Succeeded')) {
    return { state: 'waiting', doing: 'waiting for the Job controller to count its pod' };
  }
  // Not since the Job's start: the pod before may have trained for hours before it was evicted.
  if (!current && before)
    return { state: 'waiting', doing: `${before}waiting to try again`, stuckOn: NO_POD, backsOff: true };
  if (!current) return { state: 'waiting', doing: 'waiting for a pod to be created', stuckOn: NO_POD };
  const { name, uid, creationTimestamp } = current.metadata;
  if (current.status?.phase === 'Running')
    return { state: 'waiting', doing: `${before}running in pod ${name}` };
  const scheduled = current.status?.conditions?.find(({ type }) => type === 'PodScheduled');
  if (scheduled?.status === 'False') {
    return {
      state: 'waiting',
      doing: `${before}unschedulable: ${unschedulable(scheduled.message ?? scheduled.reason ?? '')}`,
      stuckSince: creationTimestamp,
    };
  }
  const statuses = [
    ...(current.status?.initContainerStatuses ?? []),
    ...(current.status?.containerStatuses ?? []),
  ];
  for (const { state, image, name: container } of statuses) {
    const { reason = '', message = '' } = state?.waiting ?? {};
    if (UNPULLABLE.has(reason)) {
      return {
        state: 'waiting',
        doing: `${before}cannot pull ${image}: ${oneLine(message) || reason}`,
        stuckOn: uid,
      };
    }
    if (UNSTARTABLE.has(reason)) {
      return {
        state: 'waiting',
        doing: `${before}cannot start container ${container}: ${oneLine(message) || reason}`,
        stuckOn: uid,
      };
    }
  }
  if (scheduled?.status !== 'True')
    return { state: 'waiting', doing: `${before}waiting for a node`, stuckSince: creationTimestamp };
  const missing = statuses.find(({ state }) => !state?.running && !state?.terminated);
  return {
    state: 'waiting',
    doing: `${before}pulling image${missing?.image ? ` ${missing.image}` : ''} on ${current.spec?.nodeName ?? 'its node'}`,
  };
}

/** What became of the pods before this one: "pod evicted, attempt 2 of 4: ". */
function history(job: Job, pods: readonly Pod[], records: readonly PodRecord[]): string {
  const ended = pods.filter(hasFailed);
  const gone = records.filter(
    ({ uid, end }) => end !== 'succeeded' && !pods.some(({ metadata }) => metadata.uid === uid),
  );
  const failed = Math.max(job.status?.failed ?? 0, ended.length + gone.length);
  const last = newest(ended);
  if (failed === 0) return '';
  const limit = (job.spec.backoffLimit ?? 6) + 1;
  // Pods that were taken away do not count against the limit: the number of attempts may exceed it.
  const end = last ? endOf(last) : (gone.at(-1)?.end ?? 'failed');
  return `pod ${end}, attempt ${failed + 1}${failed < limit ? ` of ${limit}` : ''}: `;
}

const hasFailed = (pod: Pod) =>
  pod.status?.phase === 'Failed' ||
  (pod.metadata.deletionTimestamp !== undefined && pod.status?.phase !== 'Succeeded');

/** How a pod ended, in a word or two. */
export function endOf(pod: Pod): string {
  const disrupted = conditionOf(pod.status?.conditions, 'DisruptionTarget');
  switch (disrupted?.reason) {
    case 'EvictionByEvictionAPI':
      return 'evicted';
    case 'PreemptionByScheduler':
      return 'preempted';
    case 'DeletionByTaintManager':
      return 'evicted from its tainted node';
    case 'DeletionByPodGC':
      return 'lost with its node';
    case 'TerminationByKubelet':
      return pod.status?.reason === 'Evicted' || !pod.status?.reason
        ? 'evicted by its node'
        : `ended by its node (${pod.status.reason})`;
  }
  if (pod.status?.reason === 'Evicted') return 'evicted by its node';
  const terminated = failedContainer(pod)?.state?.terminated;
  if (terminated?.reason === 'OOMKilled') return 'out of memory';
  if (pod.metadata.deletionTimestamp && pod.status?.phase !== 'Failed') return 'deleted';
  if (terminated) return `failed with exit code ${terminated.exitCode}`;
  return pod.status?.reason ? `failed (${pod.status.reason})` : 'failed';
}

export function failedContainer(pod: Pod): ContainerStatus | undefined {
  const statuses = [...(pod.status?.containerStatuses ?? []), ...(pod.status?.initContainerStatuses ?? [])];
  return statuses.find(({ state }) => (state?.terminated?.exitCode ?? 0) !== 0);
}

export function newest(pods: readonly Pod[]): Pod | undefined {
  return [...pods].sort((a, b) => created(a).localeCompare(created(b))).at(-1);
}

const created = (pod: Pod) => `${pod.metadata.creationTimestamp ?? ''} ${pod.metadata.name}`;

/** "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: …" → "insufficient nvidia.com/gpu". */
function unschedulable(message: string): string {
  const lacking = [...new Set([...message.matchAll(/Insufficient ([\w./-]+\w)/g)].map(([, what]) => what))];
  if (lacking.length > 0) return `insufficient ${lacking.join(', ')}`;
  return oneLine(message.replace(/\s*preemption:.*$/s, ''));
}

function oneLine(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ').trim();
  return line.length > 240 ? `${line.slice(0, 239)}…` : line;
}

/** What is kept of a pod: enough for its span, and for whoever asks which pods trained the model. */
export function recordOf(pod: Pod, container: string): PodRecord {
  const status = pod.status?.containerStatuses?.find(({ name }) => name === container);
  const ran = status?.state?.terminated ?? status?.lastState?.terminated;
  const scheduled = pod.status?.conditions?.find(
    ({ type, status }) => type === 'PodScheduled' && status === 'True',
  );
  const succeeded = pod.status?.phase === 'Succeeded';
  return {
    name: pod.metadata.name,
    uid: pod.metadata.uid ?? '',
    node: pod.spec?.nodeName,
    createdAt: pod.metadata.creationTimestamp,
    scheduledAt: scheduled?.lastTransitionTime,
    startedAt: ran?.startedAt ?? status?.state?.running?.startedAt,
    endedAt: ran?.finishedAt,
    imageId: status?.imageID || undefined,
    exitCode: ran?.exitCode,
    ...(pod.metadata.deletionTimestamp && !ran?.finishedAt ? { goneAt: pod.metadata.deletionTimestamp } : {}),
    end: succeeded ? 'succeeded' : hasFailed(pod) ? endOf(pod) : undefined,
  };
}
