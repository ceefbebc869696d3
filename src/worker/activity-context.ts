// What every activity gets around it: heartbeats that say what is being done, the ids of its attempts, cancellation as
// an AbortSignal, and errors as problems with a code.
import { ApplicationFailure, activityInfo, CancelledFailure, Context } from '@temporalio/activity';
import { type ErrorCode, messageOf, type Problem, ThroughlineError } from '../domain/errors.js';
import type { ActivityTrace, AttemptRecord, Observation, Traced } from '../domain/observation.js';
import { redact } from '../domain/urls.js';
import type { Logger } from '../telemetry/log.js';

export interface ActivityContext {
  readonly signal: AbortSignal;
  /** Says what is being done or waited for; the next heartbeat carries it. */
  readonly report: (doing: string) => void;
  /** What the last attempt remembered, and a way to leave something for the next: it travels with the heartbeats. */
  readonly remembered: unknown;
  readonly remember: (value: unknown) => void;
  /** Says what was seen outside; what was seen before under the same id is replaced. */
  readonly observe: (...observations: Observation[]) => void;
  readonly log: Logger;
}

/** What an activity's heartbeats carry: DESIGN §5.3. A successor finds its predecessors' attempts here. */
export interface HeartbeatDetails extends ActivityTrace {
  readonly doing: string;
  readonly memory?: unknown;
}

/** Failures that a new try may cure. All others end the activity at once, except unexpected ones. */
const TRANSIENT: ReadonlySet<ErrorCode> = new Set([
  'TL_REPOSITORY_UNREACHABLE',
  'TL_KUBERNETES_UNREACHABLE',
  'TL_REGISTRY_UNREACHABLE',
  'TL_BUILDER_UNREACHABLE',
  'TL_FORGE_UNREACHABLE',
  'TL_CATALOG_UNREACHABLE',
  'TL_EVENTS_UNREACHABLE',
  'TL_COLLECTOR_UNREACHABLE',
  'TL_STORE_UNREACHABLE',
  'TL_SIGNING_FAILED',
  'TL_TEMPORAL_UNAVAILABLE',
  'TL_INTERNAL',
]);

/** An unexpected error may be a hiccup of the machine; one that stays is not tried for hours. */
const MAX_UNEXPECTED = 8;

/** Before an attempt follows one that failed: twice as long each time, between these. Milliseconds. */
const FIRST_BACK_OFF_MS = 500;
const LAST_BACK_OFF_MS = 30_000;
/** GitHub's limits are of an hour. */
const MOST_ASKED_FOR_MS = 3_600_000;

export interface ActivityPolicy {
  /** Codes that are also tried again: where hours of work are at stake, an outage can look like a refusal. */
  readonly alsoRetry?: readonly ErrorCode[];
}

/** An outage of days takes many attempts; how they began and ended is kept of the last ones, that they were of all. */
const MAX_ATTEMPTS = 200;

/** More than this is not kept of what one activity saw: history is for facts, not for floods. */
const MAX_OBSERVATIONS = 200;

/** Runs the body of an activity attempt. */
export async function inActivity<T>(
  worker: string,
  log: Logger,
  policy: ActivityPolicy,
  run: (context: ActivityContext) => Promise<T>,
): Promise<Traced<T>> {
  const context = Context.current();
  const info = activityInfo();
  const before = info.heartbeatDetails as HeartbeatDetails | undefined;
  const startedAt = new Date().toISOString();
  let own: AttemptRecord = { number: info.attempt, startedAt, worker };
  let doing = 'starting';
  let memory = before?.memory;
  const observed = new Map((before?.observed ?? []).map((one) => [one.id, one]));
  const traced = (): ActivityTrace => ({
    attempts: [...(before?.attempts ?? []).slice(-MAX_ATTEMPTS), own],
    ...(observed.size > 0 ? { observed: [...observed.values()] } : {}),
  });
  const beat = () => {
    own = { ...own, seenAt: new Date().toISOString() };
    context.heartbeat({ ...traced(), doing, memory } satisfies HeartbeatDetails);
  };
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
    const result = await run({
      signal: context.cancellationSignal,
      report: (text) => {
        doing = text;
      },
      remembered: before?.memory,
      remember: (value) => {
        memory = value;
        beat();
      },
      observe: (...observations) => {
        for (const one of observations) {
          if (observed.has(one.id) || observed.size < MAX_OBSERVATIONS) observed.set(one.id, one);
        }
        beat();
      },
      log: ownLog,
    });
    ownLog.debug('activity ended');
    return { ...traced(), result };
  } catch (error) {
    if (context.cancellationSignal.aborted) {
      const cancellation = asCancellation(context.cancellationSignal.reason, error);
      throw new CancelledFailure(messageOf(cancellation), [traced()]);
    }
    if (error instanceof CancelledFailure) throw error;
    const problem = asProblem(error);
    own = { ...own, endedAt: new Date().toISOString(), error: problem.code };
    beat(); // the next attempt tells one that failed from one that was lost
    throw asFailure(error, problem, policy, info.attempt, ownLog, traced());
  } finally {
    clearInterval(timer);
  }
}

function asCancellation(reason: unknown, error: unknown): unknown {
  if (reason instanceof CancelledFailure) return reason;
  return error instanceof CancelledFailure ? error : new CancelledFailure(messageOf(reason));
}

function asProblem(error: unknown): Problem {
  return error instanceof ThroughlineError
    ? error.problem
    : { code: 'TL_INTERNAL', message: redact(messageOf(error)) };
}

function asFailure(
  error: unknown,
  problem: Problem,
  policy: ActivityPolicy,
  attempt: number,
  log: Logger,
  traced: ActivityTrace,
): unknown {
  const mayPass = TRANSIENT.has(problem.code) || (policy.alsoRetry?.includes(problem.code) ?? false);
  const retry = mayPass && !(problem.code === 'TL_INTERNAL' && attempt >= MAX_UNEXPECTED);
  if (error instanceof ThroughlineError) {
    log.warn({ problem: problem.code, retry }, redact(problem.message));
  } else {
    log.error(
      { error: redact(messageOf(error)), stack: error instanceof Error ? redact(error.stack ?? '') : '' },
      'unexpected error',
    );
  }
  return ApplicationFailure.create({
    message: redact(problem.message),
    type: problem.code,
    nonRetryable: !retry,
    ...(retry ? { nextRetryDelay: Math.max(backOff(traced.attempts), askedFor(error)) } : {}),
    details: [redactProblem(problem), traced],
  });
}

/** Counts attempts that failed; those that were lost with their workers have waited for a heartbeat timeout. */
function backOff(attempts: readonly AttemptRecord[]): number {
  const failed = attempts.filter(({ error }) => error !== undefined).length;
  return Math.min(FIRST_BACK_OFF_MS * 2 ** Math.max(0, failed - 1), LAST_BACK_OFF_MS);
}

/** What the server asked for, as far as it is credible. Milliseconds. */
function askedFor(error: unknown): number {
  const seconds = error instanceof ThroughlineError ? (error.retryAfterSeconds ?? 0) : 0;
  return Math.min(seconds * 1000, MOST_ASKED_FOR_MS);
}

/** I9: a program's output, or git's, may name a URL with a token in it. */
function redactProblem(problem: Problem): Problem {
  return JSON.parse(redact(JSON.stringify(problem))) as Problem;
}
