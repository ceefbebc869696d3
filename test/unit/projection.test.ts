// From history to spans: what is pure about the trace. Histories are those of real releases (test/histories).
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { historyFromJSON } from '@temporalio/common/lib/proto-utils.js';
import { describe, expect, it } from 'vitest';
import { type HistoryEvent, readRun } from '../../src/telemetry/history.js';
import { projectTrace, type SpanRecord } from '../../src/telemetry/projection.js';
import { criticalPath, renderTree, type TreeSpan } from '../../src/telemetry/tree.js';
import { HISTORIES, keptHistories } from '../support/lineage.js';

const textOf = (name: string) => readFileSync(join(HISTORIES, name), 'utf8');

function run(text: string) {
  const { events } = historyFromJSON(JSON.parse(text));
  return readRun('run', (events ?? []) as HistoryEvent[]);
}

const project = (text: string): SpanRecord[] => [...projectTrace([run(text)]).spans];

const ISO = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g;
const FACTOR = 360;

/** The same history with all times apart by so many times more: of a minute it makes six hours. */
function stretched(text: string): { text: string; stretch: (time: string) => string } {
  const origin = Date.parse(text.match(ISO)?.[0] ?? '');
  const stretch = (time: string) =>
    new Date(origin + Math.floor(Date.parse(time) - origin) * FACTOR).toISOString();
  const walk = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(walk);
    if (typeof value === 'string') return value.replace(ISO, stretch);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([name, inner]) => [
        name,
        name === 'data' && typeof inner === 'string' ? stretchedData(inner, stretch) : walk(inner),
      ]),
    );
  };
  return { text: JSON.stringify(walk(JSON.parse(text))), stretch };
}

/** What workflow and activities said lies in payloads. */
const stretchedData = (data: string, stretch: (time: string) => string) =>
  Buffer.from(Buffer.from(data, 'base64').toString('utf8').replace(ISO, stretch)).toString('base64');

describe.each(keptHistories)('the trace of %s', (name) => {
  const spans = project(textOf(name));

  it('is one, with one root, and every parent there', () => {
    const ids = new Set(spans.map(({ spanId }) => spanId));
    expect(ids.size).toBe(spans.length);
    expect(new Set(spans.map(({ traceId }) => traceId)).size).toBe(1);
    const { closing, request } = run(textOf(name));
    const strangers = spans.filter(({ parentSpanId }) => !ids.has(parentSpanId ?? ''));
    if (closing) {
      expect(strangers.map((span) => span.name)).toEqual([expect.stringMatching(/^RUN /)]);
    } else {
      // A history that was kept before its end: RUN is not over, and is what all of it waits for.
      const root = request.trace.traceparent.split('-')[2];
      expect(new Set(strangers.map(({ parentSpanId }) => parentSpanId))).toEqual(new Set([root]));
    }
  });

  it('is the same each time', () => expect(project(textOf(name))).toEqual(spans));

  it('has kinds and results of the conventions', () => {
    for (const span of spans) {
      if (span.name.startsWith('RUN ')) {
        expect(span.kind).toBe('SERVER');
        expect(span.attributes).toMatchObject({
          'cicd.pipeline.action.name': 'RUN',
          'cicd.pipeline.result': expect.stringMatching(/^(?:success|failure|error|cancellation)$/),
        });
      } else if (span.attributes['cicd.pipeline.task.name']) {
        expect(span.kind).toBe('INTERNAL');
        expect(span.attributes).toHaveProperty(['cicd.pipeline.task.run.id']);
        expect(span.attributes).toHaveProperty(['cicd.pipeline.task.run.result']);
      }
    }
  });

  it('has true times, also where a minute was six hours', () => {
    const { text, stretch } = stretched(textOf(name));
    const long = project(text).filter((span) => !span.name.startsWith('wait '));
    const short = spans.filter((span) => !span.name.startsWith('wait '));
    const times = (all: readonly SpanRecord[], of: (time: string) => string) =>
      all.map((span) => [span.name, of(span.start), of(span.end)].join(' ')).sort();
    // To the millisecond, times this many: a history has more digits than a span.
    const coarse = (time: string) => String(Math.round(Date.parse(time) / (2 * FACTOR)));
    expect(times(long, coarse)).toEqual(times(short, (time) => coarse(stretch(time))));
  });
});

describe('the times of stages', () => {
  it('are those that history had first, whatever a replay tells later', () => {
    const name = keptHistories.find((one) => one.includes('0.2.0/succeeded')) ?? '';
    const text = textOf(name);
    const stagesOf = (spans: readonly SpanRecord[]) =>
      spans
        .filter(({ attributes }) => attributes['cicd.pipeline.task.name'])
        .map((span) => [span.name, span.spanId, span.start, span.end]);
    const history = JSON.parse(text);
    const last = history.events.findLast(
      (event: Record<string, unknown>) => event.workflowPropertiesModifiedEventAttributes,
    );
    const memo = last.workflowPropertiesModifiedEventAttributes.upsertedMemo.fields.release;
    const record = JSON.parse(Buffer.from(memo.data, 'base64').toString('utf8'));
    const [, train] = record.stages;
    record.stages[1] = {
      ...train,
      startedAt: record.stages[0].startedAt,
      endedAt: record.stages[0].startedAt,
    };
    memo.data = Buffer.from(JSON.stringify(record)).toString('base64');
    expect(JSON.stringify(history)).not.toBe(JSON.stringify(JSON.parse(text)));
    expect(stagesOf(project(JSON.stringify(history)))).toEqual(stagesOf(project(text)));
  });
});

describe('the tree of a trace', () => {
  const span = (name: string, start: number, end: number, parent?: string): TreeSpan => ({
    spanId: name,
    parentSpanId: parent,
    name,
    start,
    end,
    notes: [],
    failed: false,
  });
  const spans = [
    span('RUN', 0, 10_000),
    span('train', 0, 7_000, 'RUN'),
    span('lost', 0, 2_000, 'train'),
    span('again', 3_000, 7_000, 'train'),
    span('deploy', 7_000, 10_000, 'RUN'),
    span('beside', 7_500, 9_000, 'RUN'),
  ];

  it('marks what the end waited for', () => {
    const [root] = spans;
    if (!root) throw new Error('no root');
    expect([...criticalPath(spans, root)].sort()).toEqual(['RUN', 'again', 'deploy', 'lost', 'train']);
  });

  it('is drawn in the order of time, with durations', () => {
    expect(renderTree(spans, new Set(['RUN']))).toEqual([
      'RUN            10.00 s ●',
      '├─ train        7.00 s',
      '│  ├─ lost      2.00 s',
      '│  └─ again     4.00 s',
      '├─ deploy       3.00 s',
      '└─ beside       1.50 s',
    ]);
  });

  it('shows what happened on the way, and of much the ends', () => {
    const epochs = (count: number) =>
      Array.from({ length: count }, (_, index) => ({
        name: 'epoch',
        at: index * 100,
        notes: [`ml.epoch=${index + 1}`],
      }));
    const [root] = spans;
    if (!root) throw new Error('no root');
    expect(renderTree([{ ...root, events: epochs(2) }], new Set())).toEqual([
      'RUN          10.00 s',
      '  · epoch      +0 ms   ml.epoch=1',
      '  · epoch    +100 ms   ml.epoch=2',
    ]);
    const many = renderTree([{ ...root, events: epochs(50) }], new Set());
    expect(many).toHaveLength(12);
    expect(many[6]).toContain('… 40 more');
    expect(many.at(-1)).toContain('ml.epoch=50');
  });

  it('says hours and minutes', () => {
    expect(renderTree([span('RUN', 0, 6 * 3_600_000 + 5 * 60_000)], new Set())).toEqual(['RUN  6 h 5 min']);
    expect(renderTree([span('RUN', 0, 90_000)], new Set())).toEqual(['RUN  1 min 30 s']);
  });
});
