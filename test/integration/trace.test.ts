// The trace of a release, as a collector gets it, whatever becomes of workers and of the release (I7, DESIGN §5).
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { isGrpcServiceError } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OtlpReceiver, type ReceivedSpan, startOtlpReceiver } from '../../src/dev/otlp-receiver.js';
import type { PresentedRelease } from '../../src/gateway/present.js';
import { parseTrigger } from '../../src/releases/request.js';
import { git, TRAIN, World } from '../support/world.js';

/** `TRACE_QUERIES=1000` for a thousand of them. */
const QUERIES = Number(process.env.TRACE_QUERIES ?? 200);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const run = promisify(execFile);

let world: World;
let collector: OtlpReceiver;
const exporting = (to = collector) => ({
  OTEL_EXPORTER_OTLP_ENDPOINT: to.endpoint,
  OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
});

beforeAll(async () => {
  world = await World.start('trace');
  collector = await startOtlpReceiver();
});
afterAll(async () => {
  // Whoever terminates a workflow leaves its training running, until its own deadline.
  for (const { pid } of world?.trainingRuns() ?? []) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // it has ended
    }
  }
  await world?.stop();
  collector?.stop();
});

const content = (span: ReceivedSpan) =>
  JSON.stringify(span, (_, value) => (typeof value === 'bigint' ? String(value) : value));

/** The spans of a release once its trace has been delivered, by name; the whole of it is checked. RUN comes last. */
async function delivered(traceId: string, roots = 1): Promise<Map<string, ReceivedSpan[]>> {
  const runs = () =>
    collector.spans.filter((span) => span.traceId === traceId && span.name.startsWith('RUN ')).length;
  for (const deadline = Date.now() + 60_000; runs() < roots; await sleep(100)) {
    if (Date.now() > deadline) throw new Error(`the trace ${traceId} was not delivered`);
  }
  const spans = collector.spans.filter((span) => span.traceId === traceId);
  const known = new Set(spans.map(({ spanId }) => spanId));
  expect(known.size, 'each once').toBe(spans.length);
  const strangers = spans.filter(({ parentSpanId }) => parentSpanId && !known.has(parentSpanId));
  expect(strangers.map(({ name }) => name)).toEqual([]);
  for (const span of spans) expect(span.endUnixNano >= span.startUnixNano, span.name).toBe(true);
  const byName = new Map<string, ReceivedSpan[]>();
  for (const span of spans) byName.set(span.name, [...(byName.get(span.name) ?? []), span]);
  return byName;
}

const traceOf = (record: PresentedRelease) => delivered(record.traceId);

async function training(name: string, ticks = 600): Promise<PresentedRelease> {
  const { body } = await world.trigger({
    repository: world.model(name, { parameters: { TICKS: ticks } }).url,
  });
  return world.until(body.id, ({ stages }) => stages.at(-1)?.name === 'train');
}

const handleOf = (record: PresentedRelease) => world.client.client.workflow.getHandle(record.release);

describe('the trace of a release', () => {
  beforeAll(async () => {
    await world.worker(exporting());
  });

  it('has its stages, their attempts and what they saw, each below the other', async () => {
    const record = await world.release(world.model('whole').url, 'SUCCEEDED');
    const spans = await traceOf(record);
    const [root] = spans.get('RUN whole') ?? [];
    expect(root).toMatchObject({
      spanId: record.traceparent.split('-')[2],
      parentSpanId: undefined,
      attributes: {
        'cicd.pipeline.result': 'success',
        'vcs.ref.head.revision': record.commit,
        'ml.model.digest': record.training?.digest,
        'oci.manifest.digest': record.image?.digest,
      },
    });
    for (const stage of record.stages) {
      const [span] = (spans.get(stage.name) ?? []).filter((one) => one.spanId === stage.spanId);
      expect(span, stage.name).toMatchObject({ parentSpanId: root?.spanId });
      expect((span?.startUnixNano ?? 0n) / 1_000_000n).toBe(BigInt(Date.parse(stage.startedAt)));
      expect((span?.endUnixNano ?? 0n) / 1_000_000n).toBe(BigInt(Date.parse(stage.endedAt ?? '')));
    }
    const stageId = (name: string) => record.stages.find((stage) => stage.name === name)?.spanId;
    expect(spans.get('process')).toMatchObject([{ parentSpanId: stageId('train') }]);
    expect(spans.get('git push')).toMatchObject([
      {
        parentSpanId: stageId('deploy production'),
        attributes: { 'vcs.ref.head.revision': record.deployments[0]?.commit },
      },
    ]);
    expect(spans.get('buildImage')).toMatchObject([
      { parentSpanId: stageId('build'), attributes: { 'throughline.attempt.number': '1' } },
    ]);
    // What the program was handed is the context of a span that is there.
    const [handed] = world.trainingRuns().filter(({ release }) => release === record.release);
    expect(handed?.traceparent).toBe(`00-${record.traceId}-${stageId('train')}-01`);
  });

  it('is sent again with the same ids, times and attributes', async () => {
    const record = await world.release(world.model('again').url, 'SUCCEEDED');
    await traceOf(record);
    const first = collector.spans.filter(({ traceId }) => traceId === record.traceId);
    expect(await exportedAgain(record)).toEqual(first.map(content).sort());
  });

  it('is shown as a tree, and as OTLP JSON', async () => {
    const record = await world.release(world.model('shown').url, 'SUCCEEDED');
    const tree = await throughline('trace', record.release);
    expect(tree).toMatch(/^RUN shown +[\d.]+ s ● success/m);
    expect(tree).toMatch(/^├─ train .*\n│ {2}├─ train/m);
    const json = JSON.parse(await throughline('trace', record.release, '--json'));
    const [{ spans }] = json.resourceSpans[0].scopeSpans;
    expect(spans.map(({ name }: { name: string }) => name)).toContain('RUN shown');
    await expect(throughline('trace', 'rel-aaaaaaaaaaaaaaaaaaaa')).rejects.toThrow(/There is no release/);
  });

  it('names a gate that refused, and a program that failed', async () => {
    const rejected = await world.release(
      world.model('refused', { parameters: { ACCURACY: 0.1 } }).url,
      'REJECTED',
    );
    const spans = await traceOf(rejected);
    expect(spans.get('RUN refused')?.[0]?.attributes).toMatchObject({ 'cicd.pipeline.result': 'failure' });
    expect(spans.get('evaluate')?.[0]?.attributes).toMatchObject({
      'cicd.pipeline.task.run.result': 'failure',
    });
    const failed = await world.release(
      world.model('failing', { train: 'echo hunter2; exit 3\n', backoffLimit: 1 }).url,
      'FAILED',
    );
    const others = await traceOf(failed);
    expect(others.get('RUN failing')?.[0]?.attributes).toMatchObject({
      'cicd.pipeline.result': 'error',
      'error.type': 'TL_TRAINING_FAILED',
    });
    expect(others.get('process')).toHaveLength(2);
    expect(JSON.stringify([...others].map(([, all]) => all.map(content)))).not.toContain('hunter2'); // I9
  });

  it('says that the release was canceled', async () => {
    const record = await training('canceled');
    await world.releases.cancel(record.release);
    await world.ended(record.release);
    const spans = await traceOf(record);
    expect(spans.get('RUN canceled')?.[0]?.attributes).toMatchObject({
      'cicd.pipeline.result': 'cancellation',
    });
    expect(spans.get('stopTraining')).toHaveLength(1);
  });

  it('says that the workflow was terminated', async () => {
    const record = await training('terminated');
    await handleOf(record).terminate('somebody had enough');
    const spans = await traceOf(record);
    expect(spans.get('RUN terminated')?.[0]?.attributes).toMatchObject({
      'cicd.pipeline.result': 'cancellation',
      'vcs.ref.head.revision': record.commit,
    });
    const stage = spans.get('train')?.find(({ spanId }) => spanId === record.stages.at(-1)?.spanId);
    expect(stage?.attributes).toMatchObject({
      'cicd.pipeline.task.run.result': 'cancellation',
      'error.type': 'terminated',
    });
  });

  it('says that the workflow timed out', async () => {
    const { url } = world.model('late', { parameters: { TICKS: 600 } });
    const { request } = parseTrigger({ repository: url }, { at: new Date() });
    await world.client.client.workflow.start('release', {
      workflowId: request.release,
      taskQueue: 'throughline',
      args: [request],
      workflowExecutionTimeout: '5s',
    });
    const traceId = request.trace.traceparent.split('-')[1] ?? '';
    await world.client.client.workflow
      .getHandle(request.release)
      .result()
      .catch(() => undefined);
    const spans = await delivered(traceId);
    expect(spans.get('RUN late')?.[0]?.attributes).toMatchObject({ 'cicd.pipeline.result': 'timeout' });
  });

  it('is one through a reset of a release that runs', async () => {
    const record = await training('reset');
    await reset(record, 'train');
    const again = await world.until(record.release, ({ stages }) => stages.at(-1)?.name === 'train');
    await handleOf(record).terminate('enough');
    const spans = await traceOf(again);
    expect(spans.get('RUN reset')).toHaveLength(1);
    const trains =
      spans.get('train')?.filter(({ attributes }) => attributes['cicd.pipeline.task.name']) ?? [];
    expect(trains.map(({ attributes }) => attributes['error.type']).sort()).toEqual(['reset', 'terminated']);
    expect(spans.get('plan')).toHaveLength(1);
  });

  it('has a second RUN below the first where a release that had ended was reset', async () => {
    const record = await world.release(
      world.model('retried', { train: `test -e "$RUNS.fixed" || exit 1\n${TRAIN}` }).url,
      'FAILED',
    );
    await traceOf(record);
    writeFileSync(`${world.runs}.fixed`, '');
    // Another training of the same name would be the same Job: what failed stays failed (I2). The reset goes on from there.
    await reset(record, 'train');
    await sleep(500);
    await handleOf(record)
      .result()
      .catch(() => undefined);
    const spans = await delivered(record.traceId, 2);
    const runs = spans.get('RUN retried') ?? [];
    expect(runs).toHaveLength(2);
    expect(runs[1]?.parentSpanId).toBe(runs[0]?.spanId);
  });

  /**
   * The server refuses queries now and then (its buffer is full, or no worker got them in time); whoever asks asks again,
   * and does not wait for the server to say so.
   */
  const answered = async (record: Parameters<typeof handleOf>[0]): Promise<unknown> => {
    for (;;) {
      try {
        return await world.client.connection.withDeadline(Date.now() + 3_000, () =>
          handleOf(record).query('status'),
        );
      } catch (error) {
        if (!isGrpcServiceError((error as Error).cause)) throw error; // what the workflow itself says
        await sleep(100);
      }
    }
  };

  it(`is not changed by ${QUERIES} queries`, { timeout: 240_000 }, async () => {
    const record = await training('queried', 30);
    for (let round = 0; round < QUERIES / 10; round += 1) {
      await Promise.all(Array.from({ length: 10 }, () => answered(record)));
    }
    await world.ended(record.release);
    const spans = await traceOf(record);
    const calm = await traceOf(await world.release(world.model('calm').url, 'SUCCEEDED'));
    const names = (of: typeof spans) => [...of.keys()].filter((name) => !name.startsWith('wait ')).sort();
    expect(names(spans)).toEqual(
      names(calm)
        .map((name) => name.replace('calm', 'queried'))
        .sort(),
    );
  });

  it('is not sent where the caller does not sample, and passes on what the caller sent along', async () => {
    const traceId = 'ab'.repeat(16);
    const caller = (flags: string) => `00-${traceId}-${'cd'.repeat(8)}-${flags}`;
    const seen = join(world.directory, 'carried');
    const train = `echo "$TRACEPARENT|$TRACESTATE|$BAGGAGE" >> ${seen}\n${TRAIN}`;
    const headers = {
      traceparent: caller('00'),
      tracestate: 'vendor=a:b,other=1',
      baggage: 'team=ml,cost=42',
    };
    const model = world.model('unsampled', { train });
    const { body } = await world.trigger({ repository: model.url }, headers);
    expect((await world.ended(body.id)).status).toBe('SUCCEEDED');
    await traceOf(await world.release(world.model('sampled').url, 'SUCCEEDED')); // it has looked at both
    expect(collector.spans.filter((span) => span.traceId === traceId)).toEqual([]);
    const [traceparent = '', tracestate, baggage] = readFileSync(seen, 'utf8').trim().split('|');
    expect(traceparent).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-00$`));
    expect([tracestate, baggage]).toEqual([headers.tracestate, headers.baggage]);
    const trailer = (key: string) =>
      git(model.gitops, 'log', '-1', `--format=%(trailers:key=${key},valueonly)`, 'main').trim();
    expect([trailer('Tracestate'), trailer('Baggage')]).toEqual([headers.tracestate, headers.baggage]);
  });
});

describe('the trace of a release whose worker', () => {
  it('forgets it at every step is the same', async () => {
    await world.killAll();
    const worker = await world.worker({ ...exporting(), THROUGHLINE_MAX_CACHED_WORKFLOWS: '0' });
    const record = await world.release(world.model('forgotten').url, 'SUCCEEDED');
    expect((await traceOf(record)).get('RUN forgotten')).toHaveLength(1);
    await world.kill(worker);
  });

  it('cannot run its code is whole once one can', async () => {
    const broken = brokenCopy('tasks', 'async function release(request) {', 'globalThis.nothing.there;');
    const worker = await world.process(process.execPath, [broken, 'worker'], exporting());
    const { body } = await world.trigger({ repository: world.model('mended').url });
    const handle = world.client.client.workflow.getHandle(body.id);
    while (!(await handle.fetchHistory()).events?.some((event) => event.workflowTaskFailedEventAttributes)) {
      await sleep(100);
    }
    await world.kill(worker);
    await world.worker(exporting());
    expect((await world.ended(body.id)).status).toBe('SUCCEEDED');
    const spans = await traceOf(await world.get(body.id));
    expect(spans.get('RUN mended')).toHaveLength(1);
    expect(spans.get('plan')).toHaveLength(1);
  });

  it('has an error in its code says so', async () => {
    await world.killAll();
    const broken = brokenCopy('stage', 'function judge(metrics, rules) {', 'globalThis.nothing.there;');
    const worker = await world.process(process.execPath, [broken, 'worker'], exporting());
    const record = await world.release(world.model('wrong').url, 'FAILED');
    const spans = await traceOf(record);
    expect(spans.get('RUN wrong')?.[0]?.attributes).toMatchObject({
      'cicd.pipeline.result': 'error',
      'error.type': 'TL_INTERNAL',
    });
    await world.kill(worker);
  });

  it('never came is delivered when one comes', async () => {
    await world.killAll();
    const { body } = await world.trigger({ repository: world.model('orphan').url });
    await world.client.client.workflow.getHandle(body.id).terminate('before anybody looked');
    await world.worker(exporting());
    const spans = await delivered(body.traceId);
    expect([...spans.keys()]).toEqual(['RUN release']);
  });

  it('knows no collector, or a dead one, is delivered when there is one', async () => {
    await world.killAll();
    const none = await world.worker();
    const silent = await world.release(world.model('silent').url, 'SUCCEEDED');
    await world.kill(none);
    const dead = await startOtlpReceiver();
    dead.stop();
    const worker = await world.worker(exporting(dead));
    const unheard = await world.release(world.model('unheard').url, 'SUCCEEDED');
    await world.kill(worker);
    await world.worker(exporting());
    expect((await traceOf(silent)).get('build')).toHaveLength(1);
    expect((await traceOf(unheard)).get('build')).toHaveLength(1);
  });

  it('goes on is sent as its stages end', async () => {
    const record = await training('long', 150);
    const sent = () =>
      collector.spans.filter(({ traceId }) => traceId === record.traceId).map(({ name }) => name);
    for (const deadline = Date.now() + 60_000; !sent().includes('plan'); await sleep(100)) {
      if (Date.now() > deadline) throw new Error('nothing came while it ran');
    }
    expect(sent()).toContain('prepareRelease');
    expect(sent().some((name) => name.startsWith('RUN '))).toBe(false);
    expect((await world.get(record.release)).status).toBe('RUNNING');
    await world.ended(record.release);
    await traceOf(record);
    // What came in parts is what comes at once.
    const first = collector.spans.filter(({ traceId }) => traceId === record.traceId);
    expect(await exportedAgain(record)).toEqual(first.map(content).sort());
  });
});

/** What an empty backend gets by `throughline trace --export`, with every field of it. */
async function exportedAgain(record: PresentedRelease): Promise<string[]> {
  const empty = await startOtlpReceiver();
  try {
    await throughline('trace', record.release, '--export', empty.endpoint, '--protocol', 'grpc');
    return empty.spans.map(content).sort();
  } finally {
    empty.stop();
  }
}

/** The program with a statement more in its workflow code. Gives the path of its command. */
function brokenCopy(name: string, after: string, statement: string): string {
  const directory = join(world.directory, `broken-${name}`);
  mkdirSync(directory);
  for (const part of ['bin', 'dist', 'package.json']) {
    cpSync(join(ROOT, part), join(directory, part), { recursive: true });
  }
  symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
  const bundle = join(directory, 'dist', 'workflow-bundle.js');
  const text = readFileSync(bundle, 'utf8');
  expect(text.includes(after), after).toBe(true);
  writeFileSync(bundle, text.replace(after, `${after} ${statement}`));
  return join(directory, 'bin', 'throughline.js');
}

async function throughline(...parameters: string[]): Promise<string> {
  const { stdout } = await run(process.execPath, [join(ROOT, 'bin', 'throughline.js'), ...parameters], {
    env: world.environment(),
  });
  return stdout;
}

/** To the workflow task that began a stage. */
async function reset(record: PresentedRelease, stage: string): Promise<void> {
  const { events } = await handleOf(record).fetchHistory();
  const scheduled = events?.find(
    (event) => event.activityTaskScheduledEventAttributes?.activityType?.name === stage,
  );
  await world.client.connection.workflowService.resetWorkflowExecution({
    namespace: 'default',
    workflowExecution: { workflowId: record.release },
    reason: 'a test',
    requestId: record.release,
    workflowTaskFinishEventId:
      scheduled?.activityTaskScheduledEventAttributes?.workflowTaskCompletedEventId ?? null,
  });
}
