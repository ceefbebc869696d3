// What every activity gets around it: heartbeats that say what is being done, the ids of its attempts, cancellation as
// an AbortSignal, and errors as problems with a code.
import { ApplicationFailure, activityInfo, CancelledFailure, Context } from '@temporalio/activity';
import { type ErrorCode, messageOf, type Problem, ThroughlineError } from '../domain/errors.js';
import { redact } from '../git/index.js';
import type { Logger } from '../telemetry/log.js';

export interface ActivityContext {
  readonly signal: AbortSignal;
  /** Says what is being done or waited for; the next heartbeat carries it. */
  readonly report: (doing: string) => void;
  /** What the last attempt remembered, and a way to leave something for the next: it travels with the heartbeats. */
  readonly remembered: unknown;
  readonly remember: (value: unknown) => void;
  readonly log: Logger;
}

/** What an activity's heartbeats carry: DESIGN §5.3. A successor finds its predecessors' attempts here. */
export interface HeartbeatDetails {
  readonly attempts: readonly AttemptRecord[];
  readonly doing: string;
  readonly memory?: unknown;
}

export interface AttemptRecord {
  readonly number: number;
  /** ISO 8601, UTC. */
  readonly startedAt: string;
  readonly worker: string;
}

/** Failures that a new try may cure. All others end the activity at once, except unexpected ones. */
const TRANSIENT: ReadonlySet<ErrorCode> = new Set([
  'TL_REPOSITORY_UNREACHABLE',
  'TL_KUBERNETES_UNREACHABLE',
  'TL_REGISTRY_UNREACHABLE',
  'TL_BUILDER_UNREACHABLE',
  'TL_TEMPORAL_UNAVAILABLE',
  'TL_INTERNAL',
]);

/** An unexpected error may be a hiccup of the machine; one that stays is not tried for hours. */
const MAX_UNEXPECTED = 8;

export interface ActivityPolicy {
  /** Codes that are also tried again: where hours of work are at stake, an outage can look like a refusal. */
  readonly alsoRetry?: readonly ErrorCode[];
}

/** Runs the body of an activity attempt. */
export async function inActivity<T>(
  worker: string,
  log: Logger,
  policy: ActivityPolicy,
  run: (context: ActivityContext) => Promise<T>,
): Promise<T> {
  const context = Context.current();
  const info = activityInfo();
  const before = info.heartbeatDetails as HeartbeatDetails | undefined;
  const attempts = [
    ...(before?.attempts ?? []),
    { number: info.attempt, startedAt: new Date().toISOString(), worker },
  ];
  let doing = 'starting';
  let memory = before?.memory;
  const beat = () => context.heartbeat({ attempts, doing, memory } satisfies HeartbeatDetails);
  beat();
  // Twice within the timeout at least; the SDK holds back what is more than the server needs.
  const timer = setInterval(beat, Math.max(200, (info.heartbeatTimeoutMs ?? 10_000) / 4));
  const ownLog = log.child({
    release: info.workflowExecution?.workflowId,
    activity: info.activityType,
    attempt: info.attempt,
  });
  ownLog.debug('activity started');
  try {
    const report = (text: string) => {
      doing = text;
    };
    const remember = (value: unknown) => {
      memory = value;
      beat();
    };
    const result = await run({
      signal: context.cancellationSignal,
      report,
      remembered: before?.memory,
      remember,
      log: ownLog,
    });
    ownLog.debug('activity ended');
    return result;
  } catch (error) {
    if (context.cancellationSignal.aborted) throw asCancellation(context.cancellationSignal.reason, error);
    throw asFailure(error, policy, info.attempt, ownLog);
  } finally {
    clearInterval(timer);
  }
}

function asCancellation(reason: unknown, error: unknown): unknown {
  if (reason instanceof CancelledFailure) return reason;
  return error instanceof CancelledFailure ? error : new CancelledFailure(messageOf(reason));
}

function asFailure(error: unknown, policy: ActivityPolicy, attempt: number, log: Logger): unknown {
  if (error instanceof CancelledFailure) return error;
  const known = error instanceof ThroughlineError;
  const problem: Problem = known ? error.problem : { code: 'TL_INTERNAL', message: redact(messageOf(error)) };
  const mayPass = TRANSIENT.has(problem.code) || (policy.alsoRetry?.includes(problem.code) ?? false);
  const retry = mayPass && !(problem.code === 'TL_INTERNAL' && attempt >= MAX_UNEXPECTED);
  if (known) log.warn({ problem: problem.code, retry }, redact(problem.message));
  else
    log.error(
      { error: redact(messageOf(error)), stack: error instanceof Error ? redact(error.stack ?? '') : '' },
      'unexpected error',
    );
  return ApplicationFailure.create({
    message: redact(problem.message),
    type: problem.code,
    nonRetryable: !retry,
    details: [redactProblem(problem)],
  });
}

/** I9: a program's output, or git's, may name a URL with a token in it. */
function redactProblem(problem: Problem): Problem {
  return JSON.parse(redact(JSON.stringify(problem))) as Problem;
}
