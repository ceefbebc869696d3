// What the trace is made of besides Temporal's own history: the attempts of an activity, and what it saw outside. Both
// travel with heartbeats, results and failures, so that they are in history whoever dies (DESIGN §5.3, §5.4).

/** An attempt of an activity, as it said of itself. Times are ISO 8601, UTC, of its worker's clock. */
export interface AttemptRecord {
  /** As Temporal counts: 1 is the first. */
  readonly number: number;
  /** Temporal's identity of the worker. */
  readonly worker: string;
  readonly startedAt: string;
  /** Of the heartbeat that this was read from. */
  readonly seenAt?: string | undefined;
  /** Where it ended by itself, to be tried again. One without it, and with a successor, was lost with its worker. */
  readonly endedAt?: string | undefined;
  /** Code of the problem that it ended with. */
  readonly error?: string | undefined;
}

/** A thing that was watched, with times from its own status, ISO 8601. A span below the stage, or below another one. */
export interface Observation {
  /** Unique within the release: of the thing's own id, so that every attempt that sees it says the same. */
  readonly id: string;
  /** Of the observation that this one is a part of. */
  readonly parent?: string | undefined;
  readonly name: string;
  readonly kind?: 'CLIENT' | undefined;
  readonly start: string;
  /** Not yet where it is absent: what never ends ends with the activity that watched it. */
  readonly end?: string | undefined;
  readonly attributes: Readonly<Record<string, string>>;
  /** A short word for how it failed: `error.type`. */
  readonly error?: string | undefined;
}

export interface ActivityTrace {
  readonly attempts: readonly AttemptRecord[];
  readonly observed?: readonly Observation[] | undefined;
}

/** What an activity completes with. */
export interface Traced<T> extends ActivityTrace {
  readonly result?: T | undefined;
}

export function isActivityTrace(value: unknown): value is ActivityTrace {
  return typeof value === 'object' && value !== null && 'attempts' in value && Array.isArray(value.attempts);
}
