// A workflow run of a release, read from its history: what the projection works from. Pure.
import type { temporal } from '@temporalio/proto';
import {
  type ActivityTrace,
  type AttemptRecord,
  isActivityTrace,
  type Observation,
  type Traced,
} from '../domain/observation.js';
import type { ReleaseRecord, ReleaseRequest, Stage } from '../domain/release.js';
import { RECORD_HEADER, RECORD_MEMO, TRACE_HEADER } from '../domain/temporal-names.js';

export type HistoryEvent = temporal.api.history.v1.IHistoryEvent;
type Payload = temporal.api.common.v1.IPayload;
type Failure = temporal.api.failure.v1.IFailure;

/** An attempt with the times that count: the last one's are Temporal's, those of others are their workers'. */
export interface Attempt {
  readonly number: number;
  readonly worker: string | undefined;
  readonly startedAt: string;
  /** Its last heartbeat, where it was lost. */
  readonly endedAt: string;
  /** `error.type`; undefined where it succeeded. */
  readonly error: string | undefined;
  readonly message?: string | undefined;
  readonly canceled?: boolean | undefined;
  /** It left no word: only its successor's number says that it was. */
  readonly silent?: boolean | undefined;
}

export interface Activity {
  readonly id: string;
  readonly type: string;
  readonly scheduledAt: string;
  /** Of the stage that scheduled it, or of the release. */
  readonly traceparent: string | undefined;
  /** Undefined while it goes on. */
  readonly endedAt: string | undefined;
  readonly attempts: readonly Attempt[];
  readonly observed: readonly Observation[];
  /** What it completed with, without what is in history for the trace alone. */
  readonly result?: unknown;
}

/** How a run was closed. */
export interface Closing {
  readonly how: 'completed' | 'failed' | 'canceled' | 'terminated' | 'timed out' | 'continued';
  readonly at: string;
  /** Why it was terminated, or the type of the failure. */
  readonly reason: string | undefined;
  /** A reset of a running release ends one run and begins another. */
  readonly byReset?: boolean | undefined;
}

/** What the workflow has said of itself, with the request left out: that is the input. */
export type KnownRecord = Omit<ReleaseRecord, 'request'>;

export interface ReleaseRun {
  readonly runId: string;
  /** What all of this was read from. */
  readonly events: readonly HistoryEvent[];
  readonly request: ReleaseRequest;
  readonly startedAt: string;
  /** The last that the workflow said; undefined before it scheduled anything. */
  readonly record: KnownRecord | undefined;
  readonly activities: readonly Activity[];
  readonly closing: Closing | undefined;
  /** The run that this one was reset from, and when. */
  readonly base: string | undefined;
  readonly resetAt: string | undefined;
}

/** Throws where the events are not those of a release. */
export function readRun(runId: string, events: readonly HistoryEvent[]): ReleaseRun {
  const started = events[0]?.workflowExecutionStartedEventAttributes;
  const request = decode(started?.input?.payloads?.[0]) as ReleaseRequest | undefined;
  if (!events[0] || !request?.trace) throw new Error('the history does not begin with a release');
  let record: KnownRecord | undefined;
  let closing: Closing | undefined;
  let base: string | undefined;
  let resetAt: string | undefined;
  const firstSaid = new Map<string, Stage>();
  const say = (said: KnownRecord | undefined) => {
    if (!said) return;
    record = { ...said, stages: said.stages.map((stage, index) => asFirstSaid(firstSaid, stage, index)) };
  };
  const activities = new Map<string, ActivityEvents>();
  const of = (id: Long | null | undefined) => activities.get(String(id));

  for (const event of events) {
    const scheduled = event.activityTaskScheduledEventAttributes;
    if (scheduled) {
      say(decode(scheduled.header?.fields?.[RECORD_HEADER]) as KnownRecord | undefined);
      activities.set(String(event.eventId), { scheduled: event });
    }
    const begun = of(event.activityTaskStartedEventAttributes?.scheduledEventId);
    if (begun) begun.started = event;
    const end =
      event.activityTaskCompletedEventAttributes ??
      event.activityTaskFailedEventAttributes ??
      event.activityTaskTimedOutEventAttributes ??
      event.activityTaskCanceledEventAttributes;
    const ended = end && of(end.scheduledEventId);
    if (ended) ended.ended = event;
    const memo = event.workflowPropertiesModifiedEventAttributes?.upsertedMemo?.fields?.[RECORD_MEMO];
    say(decode(memo) as KnownRecord | undefined);
    const reset = event.workflowTaskFailedEventAttributes;
    if (reset?.newRunId === runId) {
      base = reset.baseRunId || undefined;
      resetAt = timeOf(event);
    }
    closing = closingOf(event) ?? closing;
  }
  return {
    runId,
    events,
    request,
    startedAt: timeOf(events[0]),
    record,
    activities: [...activities.values()].map(activityOf),
    closing,
    base,
    resetAt,
  };
}

/**
 * A stage's times as history had them first. The workflow says them again with every step, after a replay by another
 * worker too, and that may tell another time where a workflow task was lost.
 */
function asFirstSaid(first: Map<string, Stage>, stage: Stage, index: number): Stage {
  const key = stage.spanId ?? String(index);
  const { startedAt, endedAt } = first.get(key) ?? stage;
  const kept = { ...stage, startedAt, ...(stage.endedAt ? { endedAt: endedAt ?? stage.endedAt } : {}) };
  first.set(key, kept);
  return kept;
}

interface ActivityEvents {
  readonly scheduled: HistoryEvent;
  started?: HistoryEvent;
  ended?: HistoryEvent;
}

/** A 64-bit integer as the protocol's decoder gives it. */
type Long = { toString(): string };

function activityOf({ scheduled, started, ended }: ActivityEvents): Activity {
  const { activityId, activityType, header } = scheduled.activityTaskScheduledEventAttributes ?? {};
  const carrier = decode(header?.fields?.[TRACE_HEADER]) as { traceparent?: string } | undefined;
  const scheduledAt = timeOf(scheduled);
  const traces = [lastFailureTrace(started), ended && endTrace(ended)].filter((one) => one !== undefined);
  return {
    id: activityId ?? '',
    type: activityType?.name ?? '',
    scheduledAt,
    traceparent: carrier?.traceparent,
    endedAt: ended && timeOf(ended),
    attempts: started && ended ? attemptsOf(scheduledAt, started, ended, traces) : [],
    observed: [
      ...new Map(traces.flatMap(({ observed }) => observed ?? []).map((one) => [one.id, one])).values(),
    ],
    result: ended && resultOf(ended),
  };
}

/** Histories of 0.1.0 have bare results. */
function resultOf(event: HistoryEvent): unknown {
  const value = decode(event.activityTaskCompletedEventAttributes?.result?.payloads?.[0]);
  return isActivityTrace(value) ? (value as Traced<unknown>).result : value;
}

/** Every attempt from the first to the last, also those that left no word. */
function attemptsOf(
  scheduledAt: string,
  started: HistoryEvent,
  ended: HistoryEvent,
  traces: readonly ActivityTrace[],
): Attempt[] {
  const { attempt: last = 1, identity } = started.activityTaskStartedEventAttributes ?? {};
  const known = new Map<number, AttemptRecord>();
  for (const one of traces.flatMap(({ attempts }) => attempts)) {
    const before = known.get(one.number);
    if (!before?.endedAt) known.set(one.number, { ...before, ...one });
  }
  const attempts: Attempt[] = [];
  for (let number = 1; number < (last ?? 1); number += 1) {
    const record = known.get(number);
    if (record) {
      attempts.push({
        number,
        worker: record.worker,
        startedAt: record.startedAt,
        endedAt: record.endedAt ?? record.seenAt ?? record.startedAt,
        error: record.error ?? WORKER_LOST,
      });
    } else {
      const at = attempts.at(-1)?.endedAt ?? scheduledAt;
      attempts.push({
        number,
        worker: undefined,
        startedAt: at,
        endedAt: at,
        error: WORKER_LOST,
        silent: true,
      });
    }
  }
  const end = endOf(ended);
  const own = known.get(last ?? 1);
  attempts.push({
    number: last ?? 1,
    worker: identity ?? undefined,
    startedAt: timeOf(started),
    ...end,
    // Temporal notices a lost worker later; the attempt ended with it.
    endedAt: end.error === WORKER_LOST ? (own?.seenAt ?? end.endedAt) : end.endedAt,
  });
  return attempts;
}

/** DESIGN §5.3: `error.type` of an attempt whose worker died. */
export const WORKER_LOST = 'worker_lost';

/** temporal.api.enums.v1.TimeoutType */
const TIMEOUT_TYPE_HEARTBEAT = 4;

function endOf(event: HistoryEvent): Pick<Attempt, 'endedAt' | 'error' | 'message' | 'canceled'> {
  const endedAt = timeOf(event);
  if (event.activityTaskCompletedEventAttributes) return { endedAt, error: undefined };
  if (event.activityTaskCanceledEventAttributes) return { endedAt, error: undefined, canceled: true };
  const failure = event.activityTaskFailedEventAttributes?.failure;
  if (failure) {
    const { type } = failure.applicationFailureInfo ?? {};
    return { endedAt, error: type || 'TL_INTERNAL', message: failure.message ?? undefined };
  }
  const timeout = event.activityTaskTimedOutEventAttributes?.failure;
  const lost = timeout?.timeoutFailureInfo?.timeoutType === TIMEOUT_TYPE_HEARTBEAT;
  return { endedAt, error: lost ? WORKER_LOST : 'timeout', message: timeout?.message ?? undefined };
}

/** What the last attempt left in history. */
function endTrace(event: HistoryEvent): ActivityTrace | undefined {
  const { result } = event.activityTaskCompletedEventAttributes ?? {};
  const { details } = event.activityTaskCanceledEventAttributes ?? {};
  const failure =
    event.activityTaskFailedEventAttributes?.failure ?? event.activityTaskTimedOutEventAttributes?.failure;
  return traceIn(result?.payloads) ?? traceIn(details?.payloads) ?? failureTrace(failure);
}

/** What the last but one left: Temporal keeps its failure with the start of the last. */
function lastFailureTrace(started: HistoryEvent | undefined): ActivityTrace | undefined {
  return failureTrace(started?.activityTaskStartedEventAttributes?.lastFailure);
}

function failureTrace(failure: Failure | null | undefined): ActivityTrace | undefined {
  if (!failure) return undefined;
  return (
    traceIn(failure.applicationFailureInfo?.details?.payloads) ??
    traceIn(failure.timeoutFailureInfo?.lastHeartbeatDetails?.payloads) ??
    traceIn(failure.canceledFailureInfo?.details?.payloads) ??
    failureTrace(failure.cause)
  );
}

function traceIn(payloads: readonly Payload[] | null | undefined): ActivityTrace | undefined {
  return payloads?.map(decode).find(isActivityTrace);
}

/** Temporal's server, service/history/consts: who terminates a run that is reset. */
const RESETTER = 'history-resetter';

function closingOf(event: HistoryEvent): Closing | undefined {
  const at = timeOf(event);
  if (event.workflowExecutionCompletedEventAttributes) return { how: 'completed', at, reason: undefined };
  if (event.workflowExecutionCanceledEventAttributes) return { how: 'canceled', at, reason: undefined };
  if (event.workflowExecutionTimedOutEventAttributes) return { how: 'timed out', at, reason: undefined };
  if (event.workflowExecutionContinuedAsNewEventAttributes)
    return { how: 'continued', at, reason: undefined };
  const failed = event.workflowExecutionFailedEventAttributes;
  if (failed) {
    return { how: 'failed', at, reason: failed.failure?.applicationFailureInfo?.type ?? undefined };
  }
  const terminated = event.workflowExecutionTerminatedEventAttributes;
  if (!terminated) return undefined;
  const byReset = terminated.identity === RESETTER;
  return { how: 'terminated', at, reason: terminated.reason ?? undefined, byReset };
}

/** ISO 8601, UTC, to the millisecond, as workflow code sees time. */
export function timeOf(event: HistoryEvent): string {
  const { seconds, nanos } = event.eventTime ?? {};
  return new Date(Number(seconds ?? 0) * 1000 + Math.floor((nanos ?? 0) / 1e6)).toISOString();
}

function decode(payload: Payload | null | undefined): unknown {
  if (!payload?.data?.length) return undefined;
  try {
    return JSON.parse(Buffer.from(payload.data).toString('utf8'));
  } catch {
    return undefined; // another encoding: not ours
  }
}
