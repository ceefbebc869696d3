// What a release measures of itself. The SDK emits nothing of it in a replay.
import { metricMeter } from '@temporalio/workflow';
import type { Outcome, Stage } from '../domain/release.js';
import { ATTR } from '../telemetry/attributes.js';
import { countUp, METRIC, recordSeconds } from '../telemetry/metric-names.js';
import { RESULTS } from '../telemetry/results.js';

const recordRelease = recordSeconds(metricMeter, METRIC.duration, 'From the trigger to the end of a release');
const countError = countUp(metricMeter, METRIC.errors, 'Releases that failed');
const recordStage = recordSeconds(metricMeter, METRIC.stage, 'From the beginning to the end of a stage');
const countRetry = countUp(
  metricMeter,
  METRIC.retries,
  'Attempts that failed, or were lost with their worker',
);

const seconds = (from: string, to: string) => Math.max(0, Date.parse(to) - Date.parse(from)) / 1000;

export function measureRelease(
  model: string | undefined,
  requestedAt: string,
  endedAt: string,
  outcome: Outcome,
): void {
  const error = outcome.status === 'FAILED' ? outcome.problem.code : undefined;
  const attributes = { [ATTR.pipelineName]: model ?? 'release', [ATTR.errorType]: error };
  recordRelease(seconds(requestedAt, endedAt), {
    ...attributes,
    [ATTR.pipelineRunState]: 'executing',
    [ATTR.pipelineResult]: RESULTS[outcome.status],
  });
  if (error) countError(attributes);
}

export function measureStage({ type, status, startedAt, endedAt }: Stage, model: string | undefined): void {
  if (!endedAt || status === 'RUNNING') return;
  recordStage(seconds(startedAt, endedAt), {
    [ATTR.pipelineName]: model ?? 'release',
    [ATTR.stage]: type,
    [ATTR.taskResult]: RESULTS[status],
  });
}

/** Attempts before the last one, of an activity that has completed. */
export function measureRetries(
  activity: string,
  attempts: readonly { readonly error?: string | undefined }[],
): void {
  for (const { error } of attempts.slice(0, -1)) {
    countRetry({ [ATTR.activity]: activity, [ATTR.errorType]: error ?? 'worker_lost' });
  }
}
