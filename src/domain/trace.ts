// Trace context as data (DESIGN §5.1). What crosses a boundary is computed here from the release's own id and kept in
// the workflow's history; no span that happens to be active in a process is ever handed out. Free of I/O and of Node.
import { ThroughlineError } from './errors.js';
import { type ReleaseId, sha256Hex } from './ids.js';

/** W3C Trace Context, Level 2, section 3.2: the parsed form of a `traceparent`. */
export interface SpanContext {
  /** 32 hex digits, not all zero. */
  readonly traceId: string;
  /** 16 hex digits, not all zero. */
  readonly spanId: string;
  /** Bit 0 is "sampled"; honoured as the caller set it. */
  readonly flags: number;
}

/** What is handed on: the three headers of W3C Trace Context and Baggage, in the environment carrier's names. */
export interface TraceCarrier {
  readonly traceparent: string;
  readonly tracestate?: string | undefined;
  readonly baggage?: string | undefined;
}

const FIELDS = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/** Parses a traceparent by the rules of W3C Trace Context; versions after 00 are read as the rules ask for. */
export function parseTraceparent(text: string): SpanContext {
  const fields = FIELDS.exec(text.trim());
  const [, version, traceId, spanId, flags, rest] = fields ?? [];
  const valid =
    version !== undefined &&
    traceId !== undefined &&
    spanId !== undefined &&
    flags !== undefined &&
    version !== 'ff' &&
    !(version === '00' && rest !== undefined) &&
    !/^0+$/.test(traceId) &&
    !/^0+$/.test(spanId);
  if (!valid) {
    throw new ThroughlineError('TL_TRACEPARENT_INVALID', 'The traceparent is malformed', {
      expected: '00-<32 hex digits>-<16 hex digits>-<2 hex digits>, neither id all zeros',
      found: text.slice(0, 100),
    });
  }
  return { traceId, spanId, flags: Number.parseInt(flags, 16) };
}

/** Always version 00, the only one whose fields are all known. */
export function formatTraceparent(context: SpanContext): string {
  return `00-${context.traceId}-${context.spanId}-${context.flags.toString(16).padStart(2, '0')}`;
}

const SAMPLED = 1;

/** The context of the release's own span, `RUN <model>`. Its trace is the caller's where there is one. */
export function releaseContext(release: ReleaseId, caller: SpanContext | undefined): SpanContext {
  return {
    traceId: caller?.traceId ?? sha256Hex(`trace\n${release}`).slice(0, 32),
    spanId: spanIdOf(release, 'RUN'),
    flags: caller?.flags ?? SAMPLED,
  };
}

/** The id of a span of a release, by what it stands for. 16 hex digits. */
export function spanIdOf(release: ReleaseId, ...span: (string | number)[]): string {
  return sha256Hex(['span', release, ...span].join('\n')).slice(0, 16);
}

/**
 * `random` is the workflow's own: the same in each replay, and another one where a stage is gone through again after a
 * reset. Its time would not do: after the loss of a workflow task a replay may tell another one.
 */
export const stageSpanId = (release: ReleaseId, stage: string, random: string) =>
  spanIdOf(release, stage, random);

/** An attempt of an activity. Ids of activities are given again after a reset; the time is another one. */
export const attemptSpanId = (release: ReleaseId, activity: string, scheduledMs: number, attempt: number) =>
  spanIdOf(release, 'attempt', activity, scheduledMs, attempt);
