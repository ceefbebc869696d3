// Spans of things that were watched, with the times that those things say of themselves (DESIGN §5.4). Pure.
import type { Observation } from '../domain/observation.js';
import type { PodRecord, SyncedDeployment } from '../domain/release.js';
import type { VerifyResult } from '../domain/verification.js';
import { ATTR } from './attributes.js';

/** Words for how a pod ended, as `error.type`; the whole of it is in the attribute. */
function errorOf(end: string | undefined): string | undefined {
  if (end === undefined || end === 'succeeded') return undefined;
  if (end.startsWith('evicted')) return 'evicted';
  if (end.startsWith('failed with exit code')) return 'exit_code';
  return end.split(' (')[0]?.replaceAll(' ', '_');
}

/** A pod, and what it went through: queued until a node took it, starting until its program ran. */
export function podObservations(pods: readonly PodRecord[], namespace: string): Observation[] {
  return pods.flatMap((pod) => {
    const { createdAt, scheduledAt, startedAt, endedAt } = pod;
    if (!createdAt) return [];
    const id = `pod/${pod.uid}`;
    const error = errorOf(pod.end);
    const phase = (name: string, start: string | undefined, end: string | undefined): Observation[] =>
      start && end
        ? [{ id: `${id}/${name}`, parent: id, name: `pod ${name}`, start, end, attributes: {} }]
        : [];
    return [
      {
        id,
        name: 'pod',
        start: createdAt,
        // One that was taken away before its program's end was seen ended when that was noticed, not later.
        end: endedAt ?? (pod.end ? pod.goneAt : undefined),
        attributes: {
          [ATTR.namespace]: namespace,
          [ATTR.podName]: pod.name,
          [ATTR.podUid]: pod.uid,
          ...(pod.node ? { [ATTR.nodeName]: pod.node } : {}),
          ...(pod.imageId ? { [ATTR.imageId]: pod.imageId } : {}),
          ...(pod.exitCode === undefined ? {} : { [ATTR.exitCode]: String(pod.exitCode) }),
          ...(pod.end ? { [ATTR.podEnd]: pod.end } : {}),
        },
        error,
      },
      ...phase('queued', createdAt, scheduledAt),
      ...phase('starting', scheduledAt, startedAt),
      ...phase('running', startedAt, endedAt),
    ];
  });
}

/** A run of a program on this machine. */
export function processObservations(
  job: string,
  runs: readonly {
    readonly startedAt: string;
    readonly endedAt?: string | undefined;
    readonly exitCode?: number | undefined;
  }[],
): Observation[] {
  return runs.map(({ startedAt, endedAt, exitCode }, index) => ({
    id: `process/${job}/${index + 1}`,
    name: 'process',
    start: startedAt,
    end: endedAt,
    attributes: {
      [ATTR.jobName]: job,
      ...(exitCode === undefined ? {} : { [ATTR.exitCode]: String(exitCode) }),
    },
    error: exitCode === 0 ? undefined : exitCode === undefined ? 'killed' : 'exit_code',
  }));
}

/** A push that got through. Times are this worker's. */
export function pushObservation(push: {
  readonly repository: string;
  readonly commit: string;
  /** ISO 8601. */
  readonly start: string;
  readonly end: string;
}): Observation {
  return {
    id: `push/${push.commit}`,
    name: 'git push',
    kind: 'CLIENT',
    start: push.start,
    end: push.end,
    attributes: { [ATTR.repositoryUrl]: push.repository, [ATTR.headRevision]: push.commit },
  };
}

/** A pull request from its opening to its end, with the forge's times. */
export function pullRequestObservation(pull: {
  readonly repository: string;
  readonly url: string;
  readonly number: number;
  readonly base: string;
  readonly head: string;
  readonly state: 'merged' | 'closed';
  /** ISO 8601. */
  readonly start: string;
  readonly end?: string | undefined;
}): Observation {
  return {
    id: `pull-request/${pull.url}`,
    name: 'pull request',
    start: pull.start,
    end: pull.end,
    attributes: {
      [ATTR.repositoryUrl]: pull.repository,
      [ATTR.changeId]: String(pull.number),
      [ATTR.changeState]: pull.state,
      [ATTR.headName]: pull.head,
      [ATTR.baseName]: pull.base,
    },
    ...(pull.state === 'closed' ? { error: 'closed' } : {}),
  };
}

/** Argo CD's operation, and the roll-out from the first new pod to the last one that is ready. */
export function syncObservations(
  synced: SyncedDeployment,
  commit: string,
  rollout: { readonly start: string | undefined; readonly end: string | undefined },
): Observation[] {
  const { application, syncStartedAt, syncEndedAt, workload } = synced;
  const one = (
    name: string,
    start: string | undefined,
    end: string | undefined,
    attributes: Observation['attributes'],
  ): Observation[] =>
    start && end ? [{ id: `${name}/${application}/${commit}`, name, start, end, attributes }] : [];
  return [
    ...one('Argo CD sync', syncStartedAt, syncEndedAt, {
      [ATTR.application]: application,
      [ATTR.headRevision]: synced.revision,
    }),
    ...one('rollout', rollout.start, rollout.end, {
      [ATTR.namespace]: workload.namespace,
      [ATTR.deploymentName]: workload.name,
    }),
  ];
}

/** A check of a deployment, from its first look to its decision. Times are its workers'. */
export function verifyObservation(
  check: Pick<VerifyResult, 'environment' | 'name' | 'kind' | 'startedAt'> & Partial<VerifyResult>,
): Observation {
  const { environment, name, kind, startedAt, endedAt, passed, found, samples } = check;
  return {
    id: `verify/${environment}/${name}`,
    name: `verify ${name}`,
    start: startedAt,
    end: endedAt,
    attributes: {
      [ATTR.environment]: environment,
      [ATTR.checkName]: name,
      [ATTR.checkKind]: kind,
      ...(found === undefined ? {} : { [ATTR.checkFound]: found }),
      ...(samples === undefined ? {} : { [ATTR.checkSamples]: String(samples) }),
    },
    error: passed === false ? 'TL_VERIFICATION_FAILED' : undefined,
  };
}
