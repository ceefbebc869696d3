// Chaos: real processes, real Temporal, a real OTLP receiver, and a schedule of faults that a seed repeats. The same
// schedule is applied to Throughline and to a worker with the stock OpenTelemetry plugin.
import type { ChildProcess } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type OtlpReceiver, type ReceivedSpan, startOtlpReceiver } from '../../src/dev/otlp-receiver.js';
import { freePort } from '../../src/dev/ports.js';
import { random } from '../support/random.js';
import { git, MANIFEST, remote, World } from '../support/world.js';

export const FAULTS = ['worker', 'collector', 'temporal', 'job'] as const;
export type Fault = (typeof FAULTS)[number];

export interface Schedule {
  readonly releases: number;
  readonly kills: number;
  readonly seed: number;
  readonly faults: readonly Fault[];
  /** How long the collector is away. Seconds. */
  readonly away: number;
}

export interface Count {
  readonly succeeded: number;
  /** Spans that there must be, counted from Temporal's history and from what ran. */
  readonly expected: number;
  readonly lost: number;
  /** Spans whose parent never came. */
  readonly orphaned: number;
  /** Ids that came with differing content. */
  readonly duplicated: number;
  /** Ids that came again, unchanged. */
  readonly redelivered: number;
  readonly tracesPerRelease: number;
  readonly jobsPerRelease: number;
  readonly imagesPerRelease: number;
  readonly commitsPerRelease: number;
  /** Contexts that were handed to programs and commits, and whose span never came. */
  readonly danglingTraceparents: number;
  readonly resumeSeconds: { readonly p50: number; readonly p99: number };
}

/** How many releases run at a time: two cores build one image at a time. */
const AT_ONCE = 6;
const WORKERS = 2;
const STOCK_WORKER = fileURLToPath(new URL('stock-worker.mjs', import.meta.url));

const mean = (values: readonly number[]) => values.reduce((sum, one) => sum + one, 0) / (values.length || 1);

export async function chaos(
  kind: 'throughline' | 'stock',
  schedule: Schedule,
  say: (text: string) => void,
): Promise<Count> {
  const world = await World.start(`chaos-${kind}`);
  const collectorPort = await freePort(0);
  const collector = new Collector(collectorPort);
  const next = random(schedule.seed);
  const has = (fault: Fault) => schedule.faults.includes(fault);
  try {
    await collector.start();
    const gitopsDirectory = join(world.directory, 'shared.git');
    const names = Array.from({ length: schedule.releases }, (_, index) => `m${index}`);
    const gitops = remote(
      gitopsDirectory,
      Object.fromEntries(names.map((name) => [`k8s/${name}.yaml`, MANIFEST])),
    );
    const env = {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${collectorPort}`,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
    };
    const start = () => restarted(() => (kind === 'stock' ? stockWorker(world, env) : world.worker(env)));
    const workers = await Promise.all(Array.from({ length: WORKERS }, start));

    const ids: string[] = [];
    const running = new Set<string>();
    let ended = 0;
    const feeding = (async () => {
      for (const name of names) {
        while (running.size >= AT_ONCE) await sleep(50);
        const { url } = world.model(name, {
          gitops,
          backoffLimit: 10,
          parameters: { TICKS: 10 + Math.floor(next() * 30) },
          plan: (text) => text.replace('k8s/deployment.yaml', `k8s/${name}.yaml`),
        });
        const id = await triggered(world, url, `chaos-${kind}-${name}`);
        ids.push(id);
        running.add(id);
        void world.ended(id, 900).finally(() => {
          running.delete(id);
          ended += 1;
        });
      }
    })();

    const killed: { identity: string; at: number }[] = [];
    const killing = (async () => {
      for (let kill = 0; has('worker') && kill < schedule.kills; kill += 1) {
        await sleep(500 + next() * 3500);
        if (ended === names.length) break;
        const index = Math.floor(next() * WORKERS);
        const worker = workers[index];
        if (!worker) continue;
        killed.push({ identity: `${worker.pid}@${hostname()}`, at: Date.now() });
        await world.kill(worker);
        workers[index] = await start();
      }
    })();
    const others = (async () => {
      const when = async (share: number) => {
        while (ended < names.length * share) await sleep(50);
      };
      if (has('job')) {
        await when(0.2);
        for (const { pid } of world.trainingRuns()) {
          try {
            process.kill(pid, 'SIGKILL');
          } catch {
            // it has ended
          }
        }
      }
      if (has('temporal')) {
        await when(0.3);
        say('  restarting Temporal');
        await world.restartTemporal();
      }
      if (has('collector')) {
        await when(0.5);
        say(`  taking the collector away for ${schedule.away} s`);
        await collector.away(schedule.away);
      }
    })();
    const ticking = setInterval(
      () => say(`  … ${kind}: ${ended} of ${names.length} releases, ${killed.length} kills`),
      15_000,
    );
    try {
      await Promise.all([feeding, killing, others]);
      while (ended < names.length) await sleep(100);
      await collector.quiet(
        kind === 'stock' ? 5_000 : 3_000,
        () => kind !== 'stock' && undelivered(collector, ids),
      );
    } finally {
      clearInterval(ticking);
    }
    say(`  ${kind}: ${ended} releases, ${killed.length} kills; counting`);
    return await count(kind, world, gitopsDirectory, ids, collector, killed, say);
  } finally {
    await world.stop();
    collector.stop();
  }
}

/** As Spinnaker does it: again, with the same key, where Temporal is not there to answer. */
async function triggered(world: World, repository: string, idempotencyKey: string): Promise<string> {
  for (;;) {
    const { status, body } = await world.trigger({ repository, idempotencyKey });
    if (status === 202 || status === 200) return body.id;
    if (status !== 503) throw new Error(JSON.stringify(body));
    await sleep(1_000);
  }
}

/** As a Deployment does it: one that finds no Temporal ends, and is started again. */
async function restarted(start: () => Promise<ChildProcess>): Promise<ChildProcess> {
  for (const deadline = Date.now() + 60_000; ; await sleep(500)) {
    try {
      return await start();
    } catch (error) {
      if (Date.now() > deadline || !/temporal/i.test(String(error))) throw error;
    }
  }
}

async function stockWorker(world: World, env: Record<string, string>): Promise<ChildProcess> {
  return world.process(process.execPath, [STOCK_WORKER], env);
}

/** Whether there are releases whose own span has not come: it comes last. */
function undelivered({ spans }: Collector, ids: readonly string[]): boolean {
  const ended = new Set(spans.map(({ attributes }) => attributes['cicd.pipeline.run.id']));
  return ids.some((id) => !ended.has(id));
}

class Collector {
  private receiver: OtlpReceiver | undefined;
  readonly spans: ReceivedSpan[] = [];

  constructor(private readonly port: number) {}

  async start(): Promise<void> {
    this.receiver = await startOtlpReceiver({ port: this.port, spans: this.spans });
  }

  async away(seconds: number): Promise<void> {
    this.receiver?.stop();
    await sleep(seconds * 1000);
    await this.start();
  }

  /** Until nothing has come for a while, and nothing is expected to. */
  async quiet(milliseconds: number, expected: () => boolean): Promise<void> {
    const deadline = Date.now() + 300_000;
    for (let before = -1; Date.now() < deadline; ) {
      if (this.spans.length === before && !expected()) return;
      before = this.spans.length;
      await sleep(milliseconds);
    }
  }

  stop(): void {
    this.receiver?.stop();
  }
}

/** What a span says, without when it arrived. */
const contentOf = (span: ReceivedSpan) =>
  JSON.stringify(span, (_, value) => (typeof value === 'bigint' ? String(value) : value));

async function count(
  kind: 'throughline' | 'stock',
  world: World,
  gitopsDirectory: string,
  ids: readonly string[],
  collector: Collector,
  killed: readonly { identity: string; at: number }[],
  say: (text: string) => void,
): Promise<Count> {
  const arrivals = new Map<string, string[]>();
  const spans = new Map<string, ReceivedSpan>();
  for (const span of collector.spans) {
    const key = `${span.traceId}/${span.spanId}`;
    arrivals.set(key, [...(arrivals.get(key) ?? []), contentOf(span)]);
    spans.set(key, span);
  }
  const all = [...arrivals.values()];
  const duplicated = all.filter((contents) => new Set(contents).size > 1).length;
  const redelivered = all.reduce((sum, contents) => sum + contents.length - new Set(contents).size, 0);
  const orphans = [...spans.values()].filter(
    ({ traceId, parentSpanId }) => parentSpanId && !spans.has(`${traceId}/${parentSpanId}`),
  );
  for (const one of kind === 'stock' ? [] : orphans) {
    const siblings = [...spans.values()].filter(({ traceId }) => traceId === one.traceId);
    say(`  orphaned: ${contentOf(one)}`);
    say(
      `    in: ${siblings.map(({ name, spanId, startUnixNano }) => `${name} ${spanId} ${startUnixNano}`).join('; ')}`,
    );
  }

  const runs = world.trainingRuns();
  const commits = git(
    gitopsDirectory,
    'log',
    '--format=%(trailers:key=Release-Id,valueonly,separator=)%x20%(trailers:key=Traceparent,valueonly,separator=)',
    'main',
  )
    .split('\n')
    .filter((line) => line.includes('rel-'))
    .map((line) => line.trim().split(/\s+/));
  const images = readdirSync(join(world.data, 'images/registry.example/ml/tiny'));
  const tasks = readdirSync(join(world.data, 'jobs'));

  let succeeded = 0;
  let expected = 0;
  let lost = 0;
  const traces: number[] = [];
  const counts = { jobs: [] as number[], images: [] as number[], commits: [] as number[] };
  for (const id of ids) {
    const record = await world.get(id);
    if (record.status === 'SUCCEEDED') succeeded += 1;
    const own = [...spans.values()].filter((span) => belongs(span, id, record.traceId));
    const wanted =
      kind === 'stock' ? await wantedOfStock(world, id) : await wantedOfOurs(world, id, runs, commits);
    expected += wanted.length;
    const have = new Map<string, number>();
    for (const span of own) have.set(keyOf(span), (have.get(keyOf(span)) ?? 0) + 1);
    for (const key of wanted) {
      const left = have.get(key) ?? 0;
      if (left === 0) lost += 1;
      else have.set(key, left - 1);
    }
    const handedOut = [
      ...runs.filter(({ release }) => release === id).map(({ traceparent }) => traceparent),
      ...commits.filter(([release]) => release === id).map(([, traceparent]) => traceparent ?? ''),
    ];
    traces.push(new Set(handedOut.map((one) => one.split('-')[1])).size);
    counts.jobs.push(tasks.filter((name) => name.includes(id.slice(4))).length);
    counts.images.push(images.filter((tag) => tag === id).length);
    counts.commits.push(commits.filter(([release]) => release === id).length);
  }
  // A stock release's commit names the release's own context, which the plugin knows nothing of: only what its spans say counts.
  const contexts = [
    ...runs.map(({ traceparent }) => traceparent),
    ...(kind === 'stock' ? [] : commits.map(([, traceparent]) => traceparent ?? '')),
  ].map((traceparent) => traceparent.split('-').slice(1, 3).join('/'));
  const resumes = resumed([...spans.values()], killed);
  return {
    succeeded,
    expected,
    lost,
    orphaned: orphans.length,
    duplicated,
    redelivered,
    tracesPerRelease: mean(traces),
    jobsPerRelease: mean(counts.jobs),
    imagesPerRelease: mean(counts.images),
    commitsPerRelease: mean(counts.commits),
    danglingTraceparents: contexts.filter((context) => !spans.has(context)).length,
    resumeSeconds: { p50: percentile(resumes, 0.5), p99: percentile(resumes, 0.99) },
  };
}

function belongs(span: ReceivedSpan, release: string, traceId: string): boolean {
  return (
    span.traceId === traceId ||
    span.attributes.workflowId === release ||
    span.attributes['temporal.workflow.id'] === release
  );
}

/** What tells the spans of a release from one another, without their ids. */
function keyOf(span: ReceivedSpan): string {
  const attempt = span.attributes['throughline.attempt.number'];
  return attempt === undefined ? span.name : `${span.name} ${attempt}`;
}

/** From history and from what ran: no code, and no id, is the projection's. */
async function wantedOfOurs(
  world: World,
  id: string,
  runs: readonly { release: string }[],
  commits: readonly (readonly string[])[],
): Promise<string[]> {
  const { model, stages } = await world.get(id);
  const attempts = await attemptsOf(world, id);
  return [
    `RUN ${model}`,
    ...stages.map(({ name }) => name),
    ...attempts.flatMap(({ name, attempt }) =>
      Array.from({ length: attempt }, (_, index) => `${name} ${index + 1}`),
    ),
    ...runs.filter(({ release }) => release === id).map(() => 'process'),
    ...(commits.some(([release]) => release === id) ? [] : ['a commit that is not there']),
  ];
}

/** What the plugin's documentation promises: a span for the workflow, and two for every activity, one of them a try. */
async function wantedOfStock(world: World, id: string): Promise<string[]> {
  const attempts = await attemptsOf(world, id);
  return [
    'RunWorkflow:release',
    ...attempts.flatMap(({ name, attempt }) => [
      `StartActivity:${name}`,
      ...Array.from({ length: attempt }, () => `RunActivity:${name}`),
    ]),
  ];
}

async function attemptsOf(world: World, id: string): Promise<{ name: string; attempt: number }[]> {
  const { events = [] } = await world.client.client.workflow.getHandle(id).fetchHistory();
  const names = new Map<string, string>();
  const attempts: { name: string; attempt: number }[] = [];
  for (const event of events ?? []) {
    const scheduled = event.activityTaskScheduledEventAttributes;
    if (scheduled) names.set(String(event.eventId), scheduled.activityType?.name ?? '');
    const started = event.activityTaskStartedEventAttributes;
    if (started) {
      const name = names.get(String(started.scheduledEventId)) ?? '';
      attempts.push({ name, attempt: started.attempt ?? 1 });
    }
  }
  return attempts;
}

/** From a kill to the next try of what the killed worker was doing. Seconds. */
function resumed(
  spans: readonly ReceivedSpan[],
  killed: readonly { identity: string; at: number }[],
): number[] {
  const seconds: number[] = [];
  for (const { identity, at } of killed) {
    for (const lost of spans) {
      const { attributes } = lost;
      if (attributes['cicd.worker.id'] !== identity || attributes['error.type'] !== 'worker_lost') continue;
      const successor = spans.find(
        (one) =>
          one.traceId === lost.traceId &&
          one.name === lost.name &&
          one.parentSpanId === lost.parentSpanId &&
          Number(one.attributes['throughline.attempt.number']) ===
            Number(attributes['throughline.attempt.number']) + 1,
      );
      if (successor) seconds.push(Number(successor.startUnixNano / 1_000_000n) / 1000 - at / 1000);
    }
  }
  return seconds.sort((a, b) => a - b);
}

function percentile(sorted: readonly number[], share: number): number {
  const value = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  return Math.round(value * 100) / 100;
}

/** Both counts next to each other. */
export function table(schedule: Schedule, counts: Readonly<Record<string, Count>>): string {
  const names = Object.keys(counts);
  const rows = (
    [
      'succeeded',
      'expected',
      'lost',
      'orphaned',
      'duplicated',
      'redelivered',
      'tracesPerRelease',
      'jobsPerRelease',
      'imagesPerRelease',
      'commitsPerRelease',
      'danglingTraceparents',
    ] as const
  ).map((row) => [row, ...names.map((name) => String(counts[name]?.[row] ?? ''))]);
  rows.push([
    'resume, p50 / p99 s',
    ...names.map((name) => `${counts[name]?.resumeSeconds.p50} / ${counts[name]?.resumeSeconds.p99}`),
  ] as never);
  const line = ([first = '', ...rest]: readonly string[]) =>
    `  ${first.padEnd(22)}${rest.map((cell) => cell.padStart(14)).join('')}`;
  return [
    `${schedule.releases} releases, ${schedule.kills} kills, seed ${schedule.seed}, faults ${schedule.faults.join(', ')}`,
    line(['', ...names]),
    ...rows.map(line),
  ].join('\n');
}
