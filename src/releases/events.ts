// What happens to a release, one thing after another: a function of its record. The list only grows, so that a place in it is
// a number which means the same in every process, now and later.
import type { ReleaseRecord, Stage } from '../domain/release.js';

interface Base {
  /** Its place, counted from 1; `end` for the last. */
  readonly id: string;
  readonly release: string;
  /** ISO 8601, UTC. */
  readonly at: string;
}

export type ReleaseEvent = Base &
  (
    | { readonly type: 'release.started' }
    | { readonly type: 'stage.started'; readonly stage: string; readonly stageType: Stage['type'] }
    | { readonly type: 'approval.awaited'; readonly environment: string; readonly until: string }
    | { readonly type: 'approval.escalated'; readonly environment: string; readonly note: string }
    | {
        readonly type: 'approval.decided';
        readonly environment: string;
        readonly decision: 'approved' | 'refused';
        readonly by: string;
        readonly comment?: string | undefined;
      }
    | {
        readonly type: 'stage.ended';
        readonly stage: string;
        readonly stageType: Stage['type'];
        readonly status: Stage['status'];
        readonly problem?: Stage['problem'];
      }
    | {
        readonly type: 'release.ended';
        readonly status: ReleaseRecord['status'];
        readonly problem?: Stage['problem'];
        readonly reason?: string | undefined;
      }
  );

/** `Omit` of a union keeps only what all of it has. */
type Without<Union, Key extends PropertyKey> = Union extends unknown ? Omit<Union, Key> : never;
type Happened = Without<ReleaseEvent, 'id' | 'release'>;

/** The id of the event that is the last of every release. */
export const LAST_EVENT = 'end';

export type Happening = Pick<
  ReleaseRecord,
  'release' | 'stages' | 'approvals' | 'awaited' | 'outcome' | 'endedAt'
> & { readonly request: Pick<ReleaseRecord['request'], 'requestedAt'> };

/** Everything that has happened so far, in its order. */
export function eventsOf(record: Happening): ReleaseEvent[] {
  const { release, stages, outcome } = record;
  const happened: Happened[] = [
    { type: 'release.started', at: record.request.requestedAt },
    ...stages.flatMap((stage) => stageEvents(record, stage)),
  ];
  const events: ReleaseEvent[] = happened.map((one, index) => ({ ...one, id: String(index + 1), release }));
  if (!outcome) return events;
  const { code, message } = 'problem' in outcome ? outcome.problem : {};
  return [
    ...events,
    {
      type: 'release.ended',
      id: LAST_EVENT,
      release,
      at: record.endedAt ?? stages.at(-1)?.endedAt ?? record.request.requestedAt,
      status: outcome.status,
      ...(code && message ? { problem: { code, message } } : {}),
      ...('reason' in outcome ? { reason: outcome.reason } : {}),
    },
  ];
}

function stageEvents(
  record: Happening,
  { name, type, status, startedAt, endedAt, problem }: Stage,
): Happened[] {
  const stage = { stage: name, stageType: type };
  return [
    { type: 'stage.started', at: startedAt, ...stage },
    ...(type === 'approve' ? approvalEvents(record, name.replace(/^approve /, '')) : []),
    ...(endedAt
      ? [{ type: 'stage.ended' as const, at: endedAt, ...stage, status, ...(problem ? { problem } : {}) }]
      : []),
  ];
}

function approvalEvents({ awaited = [], approvals = [] }: Happening, environment: string): Happened[] {
  const waits = awaited.find((one) => one.environment === environment);
  const decided = approvals.find((one) => one.environment === environment);
  return [
    ...(waits
      ? [{ type: 'approval.awaited' as const, at: waits.since, environment, until: waits.until }]
      : []),
    ...(waits?.escalated
      ? [
          {
            type: 'approval.escalated' as const,
            at: waits.escalated.at,
            environment,
            note: waits.escalated.note,
          },
        ]
      : []),
    ...(decided ? [{ type: 'approval.decided' as const, ...decided }] : []),
  ];
}

/** What comes after the event with this id. One that is not known of a release is taken as its beginning. */
export function eventsAfter(
  events: readonly ReleaseEvent[],
  id: string | undefined,
): readonly ReleaseEvent[] {
  if (id === undefined) return events;
  if (id === LAST_EVENT) return [];
  const place = Number(id);
  if (!Number.isInteger(place) || place < 0) return events;
  return events.filter((event) => event.id === LAST_EVENT || Number(event.id) > place);
}
