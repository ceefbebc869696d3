// What a release measures of itself. The SDK emits nothing of it in a replay.
import { metricMeter } from '@temporalio/workflow';
import type { Outcome, Stage } from '../domain/release.js';
import { ATTR } from '../telemetry/attributes.js';
import { METRIC } from '../telemetry/metric-names.js';
import { RESULTS } from '../telemetry/results.js';

const seconds = (from: string, to: string) => Math.max(0, Date.parse(to) - Date.parse(from)) / 1000;

export function measureRelease(
  model: string | undefined,
  requestedAt: string,
  endedAt: string,
  outcome: Outcome,
): void {
  const tags = { [ATTR.pipelineName]: model ?? 'release' };
  const error = outcome.status === 'FAILED' ? { [ATTR.errorType]: outcome.problem.code } : undefined;
  metricMeter
    .createHistogram(METRIC.duration, 'float', 's', 'From the trigger to the end of a release')
    .record(seconds(requestedAt, endedAt), {
      ...tags,
      ...error,
      'cicd.pipeline.run.state': 'executing',
      [ATTR.pipelineResult]: RESULTS[outcome.status],
    });
  if (error) {
    metricMeter.createCounter(METRIC.errors, '{error}', 'Releases that failed').add(1, { ...tags, ...error });
  }
}

export function measureStage({ type, status, startedAt, endedAt }: Stage, model: string | undefined): void {
  if (!endedAt || status === 'RUNNING') return;
  metricMeter
    .createHistogram(METRIC.stage, 'float', 's', 'From the beginning to the end of a stage')
    .record(seconds(startedAt, endedAt), {
      [ATTR.pipelineName]: model ?? 'release',
      'throughline.stage': type,
      [ATTR.taskResult]: RESULTS[status],
    });
}

/** Attempts before the last one, of an activity that has completed. */
export function measureRetries(
  activity: string,
  attempts: readonly { readonly error?: string | undefined }[],
): void {
  for (const { error } of attempts.slice(0, -1)) {
    metricMeter
      .createCounter(METRIC.retries, '{attempt}', 'Attempts that failed, or were lost with their worker')
      .add(1, { 'throughline.activity': activity, [ATTR.errorType]: error ?? 'worker_lost' });
  }
}
