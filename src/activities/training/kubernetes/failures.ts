// What stands between a Job and a model, as errors for people. Pure.
import { ThroughlineError } from '../../../domain/errors.js';
import { ApiError, asProblem } from '../../../kubernetes/api.js';
import type { Job, Pod } from '../../../kubernetes/objects.js';
import type { JobManifest } from '../../../plan/index.js';
import { type PodRecord, programOf, type TrainingJob } from '../runner.js';
import { CONFIGURATION_ANNOTATION, configurationOf, RELEASE_LABEL } from './manifest.js';
import { endOf, failedContainer } from './state.js';

export function checkOurs(object: Job, job: TrainingJob): void {
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

export function removed(job: string): ThroughlineError {
  return new ThroughlineError('TL_JOB_REMOVED', `Job ${job} was deleted while it ran`, {
    expected: 'a Job that ends, or a cancellation of the release',
    found: 'a deletion by somebody else',
  });
}

export function failureOf(
  job: TrainingJob,
  { reason, message }: { reason: string; message: string },
  pod: Pod | undefined,
  log: string,
  records: readonly PodRecord[],
): ThroughlineError {
  const runs = `${records.length} ${records.length === 1 ? 'pod' : 'pods'}`;
  const tail = `end of its log:\n${log.trimEnd() || '(nothing)'}`;
  if (reason === 'DeadlineExceeded') {
    return new ThroughlineError('TL_TRAINING_TIMEOUT', `${programOf(job)} did not end in time`, {
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
  return new ThroughlineError('TL_TRAINING_FAILED', `${programOf(job)} ${how} after ${runs}`, {
    expected: 'exit code 0',
    found: `${reason}: ${message}\n${tail}`,
  });
}

/** What the API server's refusal of a Job means. */
export function refusal(error: unknown, manifest: JobManifest, namespace: string): unknown {
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
