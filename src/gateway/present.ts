// A release as the API shows it: the record, one status word, a sentence about what is going on, and every id that a later
// stage of a pipeline may want, in one flat object.
import { awaitingOf } from '../domain/approval.js';
import { formatProblem } from '../domain/errors.js';
import { proposedIn } from '../domain/pull-request.js';
import type { ReleaseRecord } from '../domain/release.js';
import type { PendingActivity, ReleaseView } from '../releases/service.js';

/** What a release has come to so far; null is what it has not come to. */
export interface ReleaseResult {
  readonly release: string;
  readonly model: string | null;
  readonly commit: string | null;
  readonly dataset: string | null;
  readonly modelId: string | null;
  readonly modelDigest: string | null;
  readonly image: string | null;
  readonly imageDigest: string | null;
  /** Of the last environment that it was deployed to. */
  readonly gitopsCommit: string | null;
  /** By environment. */
  readonly gitopsCommits: Readonly<Record<string, string>>;
  /** URL of the last one that it was proposed by, where it goes that way. */
  readonly pullRequest: string | null;
  /** By environment. */
  readonly pullRequests: Readonly<Record<string, string>>;
  readonly approvedBy: Readonly<Record<string, string>>;
  readonly traceId: string;
  readonly traceparent: string;
  /** The code and the message of what ended it, where that was no success. */
  readonly error: string | null;
}

export interface PresentedRelease extends ReleaseRecord {
  readonly id: string;
  /** One sentence: stage, attempt, and what is being waited for; then where the release can be looked at. */
  readonly progress: string;
  readonly result: ReleaseResult;
  readonly pending: readonly PendingActivity[];
  readonly note?: string | undefined;
  readonly url: string;
}

export function presentRelease({ record, pending, note }: ReleaseView, url: string): PresentedRelease {
  const progress = `${describeProgress(record, pending)} ${url}`;
  const result = resultOf(record);
  return { id: record.release, ...record, progress, result, pending, note, url };
}

function resultOf(record: ReleaseRecord): ReleaseResult {
  const { dataset, training, image, deployments, approvals = [], outcome } = record;
  const problem = outcome && 'problem' in outcome ? outcome.problem : undefined;
  const pulls = pullRequestsOf(record);
  return {
    release: record.release,
    model: record.model ?? null,
    commit: record.commit ?? null,
    dataset: dataset ? `${dataset.name}@${dataset.version}` : null,
    modelId: training?.id ?? null,
    modelDigest: training?.digest ?? null,
    image: image?.reference ?? null,
    imageDigest: image?.digest ?? null,
    gitopsCommit: deployments.at(-1)?.commit ?? null,
    gitopsCommits: Object.fromEntries(deployments.map(({ environment, commit }) => [environment, commit])),
    pullRequest: pulls.at(-1)?.[1] ?? null,
    pullRequests: Object.fromEntries(pulls),
    approvedBy: Object.fromEntries(
      approvals
        .filter(({ decision }) => decision === 'approved')
        .map(({ environment, by }) => [environment, by]),
    ),
    traceId: record.traceId,
    traceparent: record.traceparent,
    error: problem ? `${problem.code}: ${problem.message}` : null,
  };
}

/** By environment: those that wait to be merged, and those that were, where there was no wait among them. */
function pullRequestsOf({ proposed = [], deployments }: ReleaseRecord): [string, string][] {
  const opened = proposed.map(({ environment, url }): [string, string] => [environment, url]);
  const merged = deployments.flatMap(({ environment, pullRequest }): [string, string][] =>
    pullRequest ? [[environment, pullRequest.url]] : [],
  );
  return [...new Map([...opened, ...merged])];
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
  const awaiting = awaitingOf(record);
  if (awaiting) {
    const { until, escalated } = awaiting;
    const waits = `${stage?.name}: waiting for an approval until ${until} (throughline approve ${record.release})`;
    return [waits, escalated?.note].filter(Boolean).join('; ');
  }
  const activity = pending[0];
  const attempt = activity && activity.attempt > 1 ? `, attempt ${activity.attempt}` : '';
  const doing =
    activity?.lastFailure && !activity.running ? `waiting, as ${activity.lastFailure}` : activity?.doing;
  const open = proposedIn(record);
  const waits = doing ?? (open && `waiting for ${open.url} to be merged`);
  return [`${stage?.name ?? 'starting'}${attempt}`, waits].filter(Boolean).join(': ');
}
