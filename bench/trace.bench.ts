// What the trace costs: releases whose stages take no time, one after the other, by a worker that sends the trace and by
// one that does not, in turns. Prints wall time of a release, the worker's CPU time a span, and what it adds to history.
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type OtlpReceiver, startOtlpReceiver } from '../src/dev/otlp-receiver.js';
import { DELIVERY_ID } from '../src/domain/temporal-names.js';
import { World } from '../test/support/world.js';

const WORKER = fileURLToPath(new URL('instant-worker.mjs', import.meta.url));
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5);
const RELEASES = Number(process.env.BENCH_RELEASES ?? 40);
const WARM = 10;
/** getconf CLK_TCK: Linux has had it at 100 for programs on every architecture that Node runs on. */
const TICKS_A_SECOND = 100;

interface Way {
  readonly world: World;
  readonly worker: ChildProcess;
  readonly url: string;
}
interface Measured {
  /** Of a release, as a caller sees it. */
  readonly milliseconds: number[];
  /** Of the worker, a release. */
  readonly cpu: number;
}

let collector: OtlpReceiver;
let on: Way;
let off: Way;

async function way(name: string, env: Record<string, string>): Promise<Way> {
  const world = await World.start(`bench-trace-${name}`);
  const worker = await world.process(process.execPath, [WORKER], env);
  return { world, worker, url: world.model(name).url };
}

beforeAll(async () => {
  collector = await startOtlpReceiver();
  on = await way('traced', {
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
    OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
  });
  off = await way('untraced', {});
});
afterAll(async () => {
  await on?.world.stop();
  await off?.world.stop();
  collector?.stop();
});

/** CPU time of a process so far, in all of its threads: milliseconds (proc_pid_stat(5), utime and stime). */
function cpuOf({ pid }: ChildProcess): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_A_SECOND;
}

const last = new Map<World, string>();
/** Traced releases so far. */
let started = 0;

async function releases({ world, worker, url }: Way, count: number): Promise<Measured> {
  const before = cpuOf(worker);
  const milliseconds: number[] = [];
  for (let index = 0; index < count; index += 1) {
    const begun = performance.now();
    const { body } = await world.trigger({ repository: url });
    await world.client.client.workflow.getHandle(body.id).result();
    milliseconds.push(performance.now() - begun);
    last.set(world, body.id);
    if (world === on.world) started += 1;
  }
  if (world === on.world) await delivered(); // what is sent after the end belongs to it
  return { milliseconds, cpu: (cpuOf(worker) - before) / count };
}

/** Until every release's own span has come. */
async function delivered(): Promise<void> {
  const roots = () => collector.spans.filter(({ name }) => name.startsWith('RUN ')).length;
  while (roots() < started) await sleep(100);
}

const median = (values: readonly number[]) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

/** Events of a workflow's history, and its bytes as JSON. */
async function historyOf(world: World, id: string): Promise<{ events: number; bytes: number }> {
  const { historyLength, historySize } = await world.client.client.workflow.getHandle(id).describe();
  return { events: historyLength, bytes: historySize ?? 0 };
}

it('costs little', { timeout: 900_000 }, async () => {
  await releases(on, WARM); // code is compiled, caches are warm: for both
  await releases(off, WARM);
  const sentBefore = collector.spans.length;
  const traced: Measured[] = [];
  const untraced: Measured[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    traced.push(await releases(on, RELEASES));
    untraced.push(await releases(off, RELEASES));
  }
  const spans = (collector.spans.length - sentBefore) / (ROUNDS * RELEASES);
  expect(spans).toBeGreaterThanOrEqual(10); // RUN, five stages, four activities
  const wall = (all: readonly Measured[]) => median(all.flatMap(({ milliseconds }) => milliseconds));
  const cpu = (all: readonly Measured[]) => median(all.map((one) => one.cpu));
  const more = median(traced.map((one, round) => one.cpu - (untraced[round]?.cpu ?? 0))); // in pairs: machines drift
  const release = await historyOf(on.world, last.get(on.world) ?? '');
  const delivery = await historyOf(on.world, DELIVERY_ID);
  const without = await historyOf(off.world, last.get(off.world) ?? '');
  const row = (name: string, a: number, b: number, digits: number) =>
    `${name.padEnd(34)} ${a.toFixed(digits).padStart(9)} ${b.toFixed(digits).padStart(9)} ${(a / b).toFixed(3).padStart(9)}`;
  process.stdout.write(
    [
      `\ntrace: medians of ${ROUNDS} rounds of ${RELEASES} releases in turns, ${spans.toFixed(1)} spans a release`,
      `${''.padEnd(34)} ${'with'.padStart(9)} ${'without'.padStart(9)} ${'ratio'.padStart(9)}`,
      row('wall time of a release, ms', wall(traced), wall(untraced), 1),
      row('CPU of the worker a release, ms', cpu(traced), cpu(untraced), 1),
      row('events in the release’s history', release.events, without.events, 0),
      row('bytes of it', release.bytes, without.bytes, 0),
      `CPU of the worker a span              ${(more / spans).toFixed(3)} ms`,
      `delivery of the ${ROUNDS * RELEASES + WARM} releases, together: ${delivery.events} events, ${delivery.bytes} bytes\n`,
    ].join('\n'),
  );
});
