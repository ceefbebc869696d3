// A release as the API shows it: the record, one status word, and a sentence about what is going on.
import { formatProblem } from '../domain/errors.js';
import type { ReleaseRecord } from '../domain/release.js';
import type { PendingActivity, ReleaseView } from '../releases/service.js';

export interface PresentedRelease extends ReleaseRecord {
  readonly id: string;
  /** One sentence: stage, attempt, and what is being waited for. */
  readonly progress: string;
  readonly pending: readonly PendingActivity[];
  readonly note?: string | undefined;
  readonly url: string;
}

export function presentRelease({ record, pending, note }: ReleaseView, url: string): PresentedRelease {
  return { id: record.release, ...record, progress: describeProgress(record, pending), pending, note, url };
}

/** What a release is doing, or how it ended, in one line. */
export function describeProgress(record: ReleaseRecord, pending: readonly PendingActivity[]): string {
  const { outcome } = record;
  if (outcome) {
    if ('problem' in outcome)
      return `${outcome.status}: ${formatProblem({ ...outcome.problem, also: undefined }).split('\n', 1)[0]}`;
    return outcome.status === 'CANCELED' ? `CANCELED: ${outcome.reason}` : outcome.status;
  }
  const stage = record.stages.findLast(({ status }) => status === 'RUNNING');
  const activity = pending[0];
  const attempt = activity && activity.attempt > 1 ? `, attempt ${activity.attempt}` : '';
  const doing =
    activity?.lastFailure && !activity.running ? `waiting, as ${activity.lastFailure}` : activity?.doing;
  return [`${stage?.name ?? 'starting'}${attempt}`, doing].filter(Boolean).join(': ');
}
