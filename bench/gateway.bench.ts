// What the gateway costs: triggers that it accepts, authenticated and audited, next to bare `client.workflow.start` with the same
// arguments, in turns, over the same Temporal. No worker runs: what is measured is the way in.
import type { ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import { WorkflowIdConflictPolicy, WorkflowIdReusePolicy } from '@temporalio/client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { freePort } from '../src/dev/ports.js';
import { CALLER_MEMO, FINGERPRINT_MEMO, RELEASE_WORKFLOW } from '../src/domain/temporal-names.js';
import { parseTrigger } from '../src/releases/request.js';
import { SEARCH_ATTRIBUTES } from '../src/workflows/search-attributes.js';
import { type Holder, holder, writeConfiguration } from '../test/support/access.js';
import { Postgres } from '../test/support/postgres.js';
import { World } from '../test/support/world.js';

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 6);
const TRIGGERS = Number(process.env.BENCH_TRIGGERS ?? 500);
const AT_ONCE = 32;
const WARM = Math.min(100, TRIGGERS);

let world: World;
let postgres: Postgres;
let gateway: ChildProcess;
let port: number;
let caller: Holder;
const agent = new Agent({ keepAlive: true, maxSockets: AT_ONCE });

beforeAll(async () => {
  world = await World.start('bench-gateway');
  postgres = await Postgres.start();
  caller = holder('spinnaker', { roles: ['trigger', 'read'] });
  const configuration = writeConfiguration(join(world.directory, 'server.yaml'), {
    gateway: { requestsPerMinute: 10_000_000 },
    authentication: { tokens: [caller.entry] },
    allow: { repositories: ['https://git.example/ml/**'] },
  });
  port = await freePort(0);
  gateway = await world.gatewayProcess(port, {
    THROUGHLINE_CONFIG: configuration,
    THROUGHLINE_DATABASE_URL: postgres.url,
  });
});
afterAll(async () => {
  agent.destroy();
  if (gateway) await world.kill(gateway, 'SIGTERM');
  await postgres?.stop();
  await world?.stop();
});

const bodyOf = () => ({
  repository: 'https://git.example/ml/digits.git',
  execution: { id: randomUUID(), application: 'digits', name: 'Release' },
  stage: { refId: '1' },
});

function overHttp(): Promise<void> {
  const body = JSON.stringify(bodyOf());
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        agent,
        port,
        host: '127.0.0.1',
        path: '/v1/releases',
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
          authorization: `Bearer ${caller.token}`,
        },
      },
      (answer) => {
        answer.resume();
        answer.on('end', () =>
          answer.statusCode === 202 ? resolve() : reject(new Error(`status ${answer.statusCode}`)),
        );
      },
    );
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** As somebody would write it who has no gateway. */
async function bare(): Promise<void> {
  const { request: input, fingerprint } = parseTrigger(bodyOf(), { at: new Date() });
  await world.client.client.workflow.start(RELEASE_WORKFLOW, {
    workflowId: input.release,
    taskQueue: 'throughline',
    args: [input],
    workflowIdReusePolicy: WorkflowIdReusePolicy.REJECT_DUPLICATE,
    workflowIdConflictPolicy: WorkflowIdConflictPolicy.FAIL,
    memo: { [FINGERPRINT_MEMO]: fingerprint, [CALLER_MEMO]: { triggeredBy: 'spinnaker' } },
    typedSearchAttributes: [
      { key: SEARCH_ATTRIBUTES.trace, value: input.trace.traceparent.split('-')[1] ?? '' },
      { key: SEARCH_ATTRIBUTES.spinnaker, value: input.spinnaker?.executionId ?? '' },
    ],
  });
}

interface Measured {
  /** A second. */
  readonly rate: number;
  readonly milliseconds: readonly number[];
}

async function measure(one: () => Promise<void>, count: number): Promise<Measured> {
  const milliseconds: number[] = [];
  let left = count;
  const begun = performance.now();
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (left > 0) {
        left -= 1;
        const at = performance.now();
        await one();
        milliseconds.push(performance.now() - at);
      }
    }),
  );
  return { rate: (count * 1000) / (performance.now() - begun), milliseconds };
}

const quantile = (values: readonly number[], part: number) =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * part))] ??
  Number.NaN;

it('accepts triggers', { timeout: 900_000 }, async () => {
  await measure(overHttp, WARM);
  await measure(bare, WARM);
  const ours: Measured[] = [];
  const theirs: Measured[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    // In turns, and each first as often as the other: the server has more to carry with every release.
    const ways: [() => Promise<void>, Measured[]][] = [
      [overHttp, ours],
      [bare, theirs],
    ];
    for (const [way, into] of round % 2 === 0 ? ways : ways.reverse())
      into.push(await measure(way, TRIGGERS));
  }
  const all = (measured: readonly Measured[]) => measured.flatMap(({ milliseconds }) => milliseconds);
  const rate = (measured: readonly Measured[]) =>
    quantile(
      measured.map((one) => one.rate),
      0.5,
    );
  expect(all(ours)).toHaveLength(ROUNDS * TRIGGERS);
  const row = (name: string, a: number, b: number) =>
    `${name.padEnd(24)} ${a.toFixed(1).padStart(9)} ${b.toFixed(1).padStart(9)} ${(a / b).toFixed(2).padStart(7)}`;
  process.stdout.write(
    [
      `\ngateway: ${ROUNDS} rounds of ${TRIGGERS} triggers in turns, ${AT_ONCE} at once, with token, allow-list and audit log`,
      `${''.padEnd(24)} ${'gateway'.padStart(9)} ${'bare'.padStart(9)} ${'ratio'.padStart(7)}`,
      row('accepted a second', rate(ours), rate(theirs)),
      row('p50, ms', quantile(all(ours), 0.5), quantile(all(theirs), 0.5)),
      row('p99, ms', quantile(all(ours), 0.99), quantile(all(theirs), 0.99)),
      '',
    ].join('\n'),
  );
});
