// The gateway under load, under attack, and with others beside it.
import type { ChildProcess } from 'node:child_process';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import v8 from 'node:v8';
import vm from 'node:vm';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../../../src/dev/ports.js';
import { ERROR_KINDS } from '../../../src/domain/errors.js';
import type { Gateway } from '../../../src/gateway/server.js';
import { readConfiguration } from '../../../src/policy/index.js';
import { bearer, holder, writeConfiguration } from '../../support/access.js';
import { random } from '../../support/random.js';
import { World } from '../../support/world.js';

let world: World;

beforeAll(async () => {
  world = await World.start('gateway');
});
afterAll(() => world?.stop());

const started = async (): Promise<number> =>
  (await world.client.client.workflow.count("WorkflowType = 'release'")).count;

describe('three gateways side by side', () => {
  it('start 50 releases of 1,000 triggers, whoever is asked, cut off or restarted', async () => {
    const next = random(7);
    const ports = await Promise.all([freePort(0), freePort(0), freePort(0)]);
    const env = { THROUGHLINE_PUBLIC_URL: 'https://throughline.example' };
    const start = (port: number) => world.gatewayProcess(port, env);
    const gateways: ChildProcess[] = await Promise.all(ports.map(start));
    let done = false;
    let restarts = 0;
    const restarting = (async () => {
      while (!done) {
        await sleep(300 + next() * 700);
        const which = Math.floor(next() * 3);
        const [old, port] = [gateways[which], ports[which]];
        if (!old || port === undefined || done) break;
        await world.kill(old, next() < 0.5 ? 'SIGKILL' : 'SIGTERM');
        gateways[which] = await start(port);
        restarts += 1;
      }
    })();

    /** Asks until there is an answer: cut off at random, refused, reset, or told to come again. */
    const trigger = async (key: string): Promise<string> => {
      for (let tries = 0; tries < 500; tries += 1) {
        const cut = new AbortController();
        const timer = next() < 0.3 ? setTimeout(() => cut.abort(), next() * 30) : undefined;
        try {
          const answer = await fetch(`http://127.0.0.1:${ports[Math.floor(next() * 3)]}/v1/releases`, {
            method: 'POST',
            headers: { 'content-type': 'application/json', 'idempotency-key': key },
            body: JSON.stringify({ repository: 'https://git.example/ml/digits.git' }),
            signal: cut.signal,
          });
          const body = (await answer.json()) as { id: string; error?: { code: string } };
          if (answer.status === 202) return body.id;
          if (answer.status < 500) throw new Error(`${answer.status} ${JSON.stringify(body)}`);
        } catch (error) {
          if (error instanceof Error && /^4\d\d /.test(error.message)) throw error;
          await sleep(next() * 50);
        } finally {
          clearTimeout(timer);
        }
      }
      throw new Error(`no answer for ${key}`);
    };

    const before = await started();
    const wanted = Array.from({ length: 1000 }, (_, n) => `key-${n % 50}`).sort(() => next() - 0.5);
    const ids = new Map<string, Set<string>>();
    await Promise.all(
      Array.from({ length: 40 }, async () => {
        for (let key = wanted.pop(); key !== undefined; key = wanted.pop()) {
          const id = await trigger(key);
          ids.set(key, (ids.get(key) ?? new Set()).add(id));
          if (next() < 0.2) await sleep(next() * 100);
        }
      }),
    );
    done = true;
    await restarting;
    await Promise.all(gateways.map((one) => world.kill(one, 'SIGTERM')));
    expect(ids.size).toBe(50);
    for (const [key, same] of ids) expect([...same], key).toHaveLength(1);
    expect(new Set([...ids.values()].flatMap((same) => [...same])).size).toBe(50);
    await sleep(1_000); // visibility follows
    expect((await started()) - before).toBe(50);
    expect(restarts).toBeGreaterThan(2);
  });
});

describe('malformed requests', () => {
  const REQUESTS = Number(process.env.GATEWAY_REQUESTS ?? 20_000);
  const who = holder('somebody', { roles: ['admin'] });
  let gateway: Gateway;
  let port: number;

  beforeAll(async () => {
    const path = writeConfiguration(join(world.directory, 'fuzz.yaml'), {
      gateway: { requestsPerMinute: 10_000_000 },
      authentication: { tokens: [who.entry] },
    });
    gateway = await world.gateway({ configuration: await readConfiguration(path) });
    port = Number(new URL(await gateway.listen({ host: '127.0.0.1', port: 0 })).port);
  });
  afterAll(() => gateway?.close());

  /** Text that is no trigger, whatever comes before and after it. */
  const text = fc.oneof(
    fc.string({ maxLength: 200 }),
    fc.string({ unit: 'binary', maxLength: 50 }),
    fc.constantFrom(
      '${execution.id}',
      '../../etc/passwd',
      '%2e%2e%2f',
      "'; drop table releases; --",
      '$(touch /tmp/pwned)',
      '\u0000',
      '\r\nset-cookie: x=y',
      '{"__proto__":{"admin":true}}',
      'ext::sh -c id',
      'https://user:secret@git.example/x',
      'é'.repeat(3000),
    ),
  );
  const json = fc.jsonValue({ maxDepth: 4 });
  const wrongTrigger = fc.oneof(
    json.filter((value) => typeof value !== 'object' || value === null || !('repository' in value)),
    fc.record({
      repository: fc.oneof(
        fc.integer(),
        fc.constant(null),
        fc.constant(''),
        fc.constant('ext::sh'),
        fc.array(fc.string()),
      ),
    }),
    fc.record({ repository: fc.constant('https://git.example/x'), unknown: json }),
    fc.record({
      repository: fc.constant('https://git.example/x'),
      ref: fc.constantFrom('-x', 'a..b', 'a b', 7, '${x}'),
    }),
    fc.record({
      repository: fc.constant('https://git.example/x'),
      plan: fc.constantFrom('/etc/passwd', '../x', 'a\u0000b'),
    }),
    fc.record({
      repository: fc.constant('https://git.example/x'),
      parameters: fc.constantFrom({ PATH: 'x' }, { 'a b': 1 }, { A: {} }, [1]),
    }),
    fc.record({
      repository: fc.constant('https://git.example/x'),
      traceparent: text.filter((value) => value !== ''),
    }),
    fc.record({
      repository: fc.constant('https://git.example/x'),
      execution: fc.constantFrom({}, { id: '' }, { id: 'x'.repeat(300) }, 'x', []),
    }),
  );
  const brokenBody = fc.oneof(
    wrongTrigger.map((value) => JSON.stringify(value)),
    text.filter((value) => !/^\s*$/.test(value)),
    wrongTrigger.map((value) => JSON.stringify(value).slice(0, -1) || '{'),
    fc.constantFrom(
      '{"repository":"https://git.example/x","__proto__":{"a":1}}',
      '{"repository":"https://git.example/x","constructor":{"prototype":{"a":1}}}',
      '['.repeat(20_000),
      `{"a":${'['.repeat(5_000)}${']'.repeat(5_000)}}`,
      '\ufeff{}',
      '{"repository":"a","repository":"${b}"}',
      'NaN',
      '1e999',
    ),
  );
  const contentType = fc.constantFrom(
    ...[
      'application/json',
      'text/plain',
      'application/json; charset=utf-16',
      'application/xml',
      'multipart/form-data',
    ],
    ...['application/x-www-form-urlencoded', 'application/json;;;', 'x', '', 'application/cloudevents+json'],
  );
  const credentials = fc.oneof(
    fc.constantFrom<Record<string, string>>({}, bearer(who), bearer(who), bearer(who)),
    text.map((value): Record<string, string> => ({ authorization: `Bearer ${printable(value)}` })),
    text.map((value): Record<string, string> => ({ authorization: printable(value) })),
    fc.constant({ authorization: 'Bearer eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0.' }),
    fc.tuple(text, text).map(
      ([id, signature]): Record<string, string> => ({
        'webhook-id': printable(id),
        'webhook-timestamp': String(Math.floor(Date.now() / 1000)),
        'webhook-signature': `v1,${printable(signature)}`,
      }),
    ),
  );
  const headers = fc.oneof(
    fc.constant({}),
    fc.record({ 'idempotency-key': text.map(printable) }),
    fc.record({ baggage: fc.constant('k='.padEnd(9_000, 'v')) }),
    fc.record({ 'last-event-id': text.map(printable) }),
    fc.record({ 'x-filler': fc.constant('x'.repeat(20_000)) }),
    fc.record({ 'content-encoding': fc.constantFrom('gzip', 'br', 'x') }),
    fc.record({ expect: fc.constantFrom('100-continue', 'something') }),
    fc.record({ host: fc.constantFrom('', 'a b', 'evil.example/path', '[::1', 'x'.repeat(300), '$(id)') }),
  );
  const path = fc.oneof(
    fc.constantFrom('/v1/releases', '/v1/releases/cancel'),
    text.map((value) => `/v1/releases/${encodeURIComponent(wellFormed(value))}`),
    text.map((value) => `/v1/releases/${encodeURIComponent(wellFormed(value))}/approve`),
    text.map((value) => `/v1/lineage/${encodeURIComponent(wellFormed(value))}`),
    text.map(
      (value) =>
        `/v1/releases?${encodeURIComponent(wellFormed(value))}=${encodeURIComponent(wellFormed(value))}`,
    ),
    text.map((value) => `/v1/audit?cursor=${encodeURIComponent(wellFormed(value))}`),
    fc.constantFrom(
      '/v1/releases?cursor=AAAA',
      '/v1/releases?cursor=eyJ4IjoxfQ',
      '/v1/releases?limit=-1',
      '/v1/releases?limit=1e9',
    ),
    fc.constantFrom(
      '/%',
      '/%E0%A4%A',
      '//',
      '/..',
      '/v1/../../etc/passwd',
      '/v1/releases/%00',
      '*',
      'http://evil.example/x',
    ),
  );
  /** One that is well formed in every other way but does not say what is asked for. */
  const request = fc.record({
    method: fc.constantFrom(
      'POST',
      'POST',
      'POST',
      'GET',
      'PUT',
      'DELETE',
      'PATCH',
      'OPTIONS',
      'HEAD',
      'TRACE',
      'PROPFIND',
      'BREW',
    ),
    path,
    headers,
    credentials,
    contentType,
    body: brokenBody,
    framing: fc.constantFrom('length', 'length', 'length', 'chunked', 'short', 'both', 'none', 'bad-length'),
  });
  /** One that only its body is wrong of. */
  const polite = wrongTrigger.map((value) => ({
    method: 'POST',
    path: '/v1/releases',
    headers: {},
    credentials: bearer(who),
    contentType: 'application/json',
    body: JSON.stringify(value),
    framing: 'chunked',
  }));
  /** What is no HTTP at all. */
  const garbage = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
    fc
      .constantFrom(
        'GET / HTTP/9.9\r\n\r\n',
        'GET /\r\n\r\n',
        'POST /v1/releases HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcde',
        'POST /v1/releases HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n',
        'POST /v1/releases HTTP/1.1\r\nhost: x\r\n bad: fold\r\n\r\n',
        'GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n',
        `GET / HTTP/1.1\r\n${'x: y\r\n'.repeat(5_000)}\r\n`,
        `GET /${'a'.repeat(70_000)} HTTP/1.1\r\nhost: x\r\n\r\n`,
        '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
      )
      .map((value) => Buffer.from(value, 'latin1')),
  );
  const wire = fc.oneof(
    { weight: 6, arbitrary: request.map(encode) },
    { weight: 3, arbitrary: polite.map(encode) },
    { weight: 1, arbitrary: garbage },
  );

  it(`${REQUESTS} of them: no 5xx, no crash, nothing started, a code in every answer, no memory kept`, async () => {
    const before = await started();
    const codes = new Map<string, number>();
    const take = async (bytes: Buffer) => {
      for (const answer of await exchange(port, bytes)) {
        const said = `${answer.status} ${answer.code}`;
        codes.set(said, (codes.get(said) ?? 0) + 1);
        if (
          answer.status >= 500 ||
          (answer.status >= 400 && answer.hasBody && !(answer.code in ERROR_KINDS))
        ) {
          throw new Error(
            `${said} for ${JSON.stringify(bytes.toString('latin1').slice(0, 600))}: ${answer.text}`,
          );
        }
        if (answer.text.includes('${')) throw new Error(`an expression in ${answer.text}`);
      }
    };
    const seed = Number(process.env.GATEWAY_SEED ?? 42);
    const batch = fc.sample(wire, { numRuns: Math.min(REQUESTS, 2_000), seed });
    await inParallel(batch, 16, take);
    const heapBefore = collected();
    for (let from = 2_000; from < REQUESTS; from += 3_000) {
      const some = fc.sample(wire, { numRuns: Math.min(3_000, REQUESTS - from), seed: seed + from });
      await inParallel(some, 16, take);
    }
    const grown = collected() - heapBefore;
    expect(grown, `${Math.round(grown / 1024)} KiB more`).toBeLessThan(24 * 1024 * 1024);
    expect((await fetch(`http://127.0.0.1:${port}/readyz`)).status).toBe(200);
    await sleep(500);
    expect(await started()).toBe(before);
    // The generator does reach what it is meant to.
    const seen = [...codes.keys()];
    for (const code of [
      'TL_REQUEST_INVALID',
      'TL_UNAUTHENTICATED',
      'TL_ROUTE_NOT_FOUND',
      'TL_RELEASE_NOT_FOUND',
      'TL_REPOSITORY_INVALID',
      'TL_PATH_UNSAFE',
      'TL_REQUEST_TOO_LARGE',
    ])
      expect(
        seen.some((one) => one.endsWith(code)),
        `${code} in ${seen}`,
      ).toBe(true);
  }, 300_000);

  it('a body that is too large, and a client that is too slow, are told so and let go of', async () => {
    const large = await fetch(`http://127.0.0.1:${port}/v1/releases`, {
      method: 'POST',
      headers: { ...bearer(who), 'content-type': 'application/json' },
      body: 'x'.repeat(1024 * 1024 + 1),
    });
    expect([large.status, ((await large.json()) as { error: { code: string } }).error.code]).toEqual([
      413,
      'TL_REQUEST_TOO_LARGE',
    ]);
    // Headers that never end: ten seconds, whatever trickles in.
    const begun = Date.now();
    const socket = connect(port, '127.0.0.1');
    socket.write('GET /healthz HTTP/1.1\r\nhost: x\r\n');
    const trickle = setInterval(() => socket.write('x: y\r\n'), 500);
    let answer = '';
    socket.on('error', () => undefined);
    await new Promise<void>((resolve) => {
      socket.setEncoding('utf8').on('data', (some) => {
        answer += some;
      });
      socket.on('close', () => resolve());
    });
    clearInterval(trickle);
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
    expect(answer).toContain('TL_REQUEST_TIMEOUT');
    expect(Date.now() - begun).toBeLessThan(20_000);
  });
});

const printable = (value: string) => value.replaceAll(/[^\x20-\x7e]/g, '?');
const wellFormed = (value: string) => value.replaceAll(/[\ud800-\udfff]/g, '?');

/** A request as bytes, by hand: no client would send it. */
function encode(given: {
  method: string;
  path: string;
  headers: Record<string, string>;
  credentials: Record<string, string>;
  contentType: string;
  body: string;
  framing: string;
}): Buffer {
  const body = Buffer.from(given.body);
  const lines = [`${given.method} ${given.path.replaceAll(/[^\x21-\x7e]/g, '?')} HTTP/1.1`];
  const all: Record<string, string> = { host: 'throughline.example', ...given.credentials, ...given.headers };
  if (given.contentType) all['content-type'] = given.contentType;
  for (const [name, value] of Object.entries(all))
    lines.push(`${name}: ${value.replaceAll(/[^\x20-\x7e]/g, '?')}`);
  lines.push('connection: close');
  const length =
    given.framing === 'short' ? body.length + 7 : given.framing === 'bad-length' ? -3 : body.length;
  if (given.framing !== 'chunked' && given.framing !== 'none') lines.push(`content-length: ${length}`);
  if (given.framing === 'chunked' || given.framing === 'both') lines.push('transfer-encoding: chunked');
  const head = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
  if (given.framing !== 'chunked' && given.framing !== 'both') return Buffer.concat([head, body]);
  const chunk = Buffer.from(`${body.length.toString(16)}\r\n`);
  return Buffer.concat([
    head,
    ...(body.length > 0 ? [chunk, body, Buffer.from('\r\n')] : []),
    Buffer.from('0\r\n\r\n'),
  ]);
}

interface Answer {
  readonly status: number;
  readonly code: string;
  readonly text: string;
  readonly hasBody: boolean;
}

/** Sends bytes, says that no more will come, and reads what is answered. */
function exchange(port: number, bytes: Buffer): Promise<Answer[]> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    const parts: Buffer[] = [];
    socket.on('data', (some) => parts.push(some));
    socket.on('error', () => undefined);
    socket.on('end', () => socket.end());
    socket.on('close', () => resolve(answersIn(Buffer.concat(parts).toString('utf8'), bytes)));
    socket.write(bytes, () => socket.end());
    socket.setTimeout(15_000, () => socket.destroy());
  });
}

function answersIn(text: string, bytes: Buffer): Answer[] {
  return text
    .split(/(?=^HTTP\/1\.1 \d{3})/m)
    .filter((one) => one.startsWith('HTTP/1.1 '))
    .map((one) => ({
      status: Number(one.slice(9, 12)),
      code: /"code":"(TL_\w+)"/.exec(one)?.[1] ?? '',
      text: one,
      hasBody: !bytes.toString('latin1').startsWith('HEAD'),
    }));
}

async function inParallel<T>(
  all: readonly T[],
  width: number,
  run: (one: T) => Promise<void>,
): Promise<void> {
  const left = [...all];
  await Promise.all(
    Array.from({ length: width }, async () => {
      for (let one = left.pop(); one !== undefined; one = left.pop()) await run(one);
    }),
  );
}

/** Bytes of the heap after everything was collected that can be. */
function collected(): number {
  v8.setFlagsFromString('--expose-gc');
  const gc = vm.runInNewContext('gc') as () => void;
  for (let times = 0; times < 3; times += 1) gc();
  return process.memoryUsage().heapUsed;
}
