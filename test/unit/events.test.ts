// What happens to a release, as a list that only grows, and what listeners are told of it.
import { describe, expect, it } from 'vitest';
import type { ReleaseRecord, Stage, StageStatus, StageType } from '../../src/domain/release.js';
import { cdEventsOf } from '../../src/events/cdevents.js';
import { eventsAfter, eventsOf } from '../../src/releases/events.js';

const AT = (second: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString();
const stage = (name: string, begun: number, ended?: number, status: StageStatus = 'SUCCEEDED'): Stage => ({
  name,
  type: name.split(' ')[0] as StageType,
  startedAt: AT(begun),
  status: ended === undefined ? 'RUNNING' : status,
  ...(ended === undefined ? {} : { endedAt: AT(ended) }),
});
const record = (rest: Partial<ReleaseRecord>): ReleaseRecord => ({
  release: 'rel-aaaaaaaaaaaaaaaaaaaa' as never,
  status: 'RUNNING',
  request: {
    repository: 'https://git.example/ml/digits.git',
    ref: 'main',
    planPath: 'throughline.yaml',
    parameters: {},
    requestedAt: AT(0),
  },
  traceId: '1'.repeat(32),
  traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`,
  deployments: [],
  stages: [],
  ...rest,
});

const before = [stage('plan', 1, 2), stage('build', 2, 3)];
const waits = { environment: 'production', since: AT(3), until: AT(9) };
const escalated = { ...waits, escalated: { note: 'call', at: AT(5) } };
const decided = { environment: 'production', decision: 'approved', by: 'bob', at: AT(6) } as const;
/** A release as it goes. */
const states: ReleaseRecord[] = [
  record({}),
  record({ stages: [stage('plan', 1)] }),
  record({ stages: before }),
  record({ stages: [...before, stage('approve production', 3)], awaited: [waits] }),
  record({ stages: [...before, stage('approve production', 3)], awaited: [escalated] }),
  record({ stages: [...before, stage('approve production', 3)], awaited: [escalated], approvals: [decided] }),
  record({
    stages: [...before, stage('approve production', 3, 6)],
    awaited: [escalated],
    approvals: [decided],
  }),
  record({
    stages: [...before, stage('approve production', 3, 6), stage('deploy production', 6, 7)],
    awaited: [escalated],
    approvals: [decided],
    status: 'SUCCEEDED',
    outcome: { status: 'SUCCEEDED' },
    endedAt: AT(8),
  }),
];

describe('what happens to a release', () => {
  it('is a list that only grows: what a follower has seen stays where it was', () => {
    let seen: ReturnType<typeof eventsOf> = [];
    for (const state of states) {
      const events = eventsOf(state);
      expect(events.slice(0, seen.length)).toEqual(seen);
      expect(eventsAfter(events, seen.at(-1)?.id)).toEqual(events.slice(seen.length));
      seen = events;
    }
    expect(seen.map(({ id }) => id)).toEqual([
      ...Array.from({ length: 12 }, (_, index) => String(index + 1)),
      'end',
    ]);
    expect(eventsAfter(seen, 'end')).toEqual([]);
    expect(eventsAfter(seen, 'nonsense')).toEqual(seen);
  });

  it('ends for a follower also where less is known than before', () => {
    // Temporal has closed a workflow that never came to its end: its stages are nowhere to be asked for.
    const closed = record({
      status: 'FAILED',
      outcome: { status: 'FAILED', problem: { code: 'TL_INTERNAL', message: 'x' } },
    });
    expect(eventsAfter(eventsOf(closed), '7').map(({ id }) => id)).toEqual(['end']);
  });

  it('is told with ids of its own, the same each time, whatever is known by then', () => {
    const source = { source: 'https://x', urlOf: (release: string) => `https://x/${release}` };
    const last = states.at(-1) as ReleaseRecord;
    const told = eventsOf(last).flatMap((event) => cdEventsOf(last, event, source));
    expect(new Set(told.map(({ context }) => context.id)).size).toBe(told.length);
    for (const state of states) {
      const ids = eventsOf(state).flatMap((event) =>
        cdEventsOf(state, event, source).map(({ context }) => context.id),
      );
      expect(told.map(({ context }) => context.id)).toEqual(expect.arrayContaining(ids));
    }
  });
});
