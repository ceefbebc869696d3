// Checks against real servers that are slow, broken, wrong or hostile: what passes, what does not, and what is waited for.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import type { Look } from '../../src/activities/argocd/watcher.js';
import type { JobRunner, TrainingJob } from '../../src/activities/training/runner.js';
import { stayHealthy } from '../../src/activities/verify/health.js';
import { DeploymentVerifier, type Verification } from '../../src/activities/verify/index.js';
import { wrongIn } from '../../src/activities/verify/judge-answer.js';
import { heldOn, judgeSamples, NOT_HELD, readSamples } from '../../src/activities/verify/judge-samples.js';
import type { Answer } from '../../src/activities/verify/requests.js';
import { ThroughlineError } from '../../src/domain/errors.js';
import type { Observation } from '../../src/domain/observation.js';
import type { VerifyResult } from '../../src/domain/verification.js';
import { parsePlan } from '../../src/plan/index.js';
import { modelFiles } from '../support/world.js';

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

async function serve(
  answer: (request: IncomingMessage, response: ServerResponse, body: string) => void,
): Promise<string> {
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (text) => {
      body += text;
    });
    request.on('end', () => answer(request, response, body));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as { port: number }).port}`;
}

const PLAN = modelFiles({ gitops: 'https://git.example/ml/gitops.git', runs: '/tmp/runs' })[
  'throughline.yaml'
];

/** As the workflow makes it of a plan. */
function verification(check: Record<string, unknown>, seconds = 5): Verification {
  const argocd = check.health ? '    argocd: { application: tiny }\n' : '';
  const text = `${PLAN}${argocd}    verify: ${JSON.stringify([{ name: 'check', ...check }])}\n`;
  const [parsed] = parsePlan(text, 'x').plan.deploy[0]?.verify ?? [];
  if (!parsed) throw new Error('no check');
  return {
    environment: 'production',
    check: parsed,
    values: {
      'release.id': 'rel-a',
      'model.name': 'tiny',
      'model.id': 'tiny-1',
      'image.digest': 'sha256:1',
      commit: 'c',
      environment: 'production',
    },
    deadline: new Date(Date.now() + seconds * 1000).toISOString(),
    trace: { traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`, baggage: 'secret=1' },
  };
}

interface Run {
  readonly result: VerifyResult;
  readonly said: string[];
  readonly observed: Map<string, Observation>;
}

/** What heartbeats would have carried, and what came of it. */
let memory: unknown;
async function run(
  one: Verification,
  options: {
    signal?: AbortSignal;
    remembered?: unknown;
    allows?: (url: string) => boolean;
    runner?: JobRunner;
  } = {},
): Promise<Run> {
  const said: string[] = [];
  const observed = new Map<string, Observation>();
  const verifier = new DeploymentVerifier(options.runner ?? ({} as JobRunner), {
    url: options.allows ?? (() => true),
    everything: options.allows === undefined,
  });
  const result = await verifier.verify(one, {
    signal: options.signal ?? new AbortController().signal,
    report: (doing) => said.push(doing),
    remembered: options.remembered,
    remember: (value) => {
      memory = JSON.parse(JSON.stringify(value));
    },
    observe: (...all) => {
      for (const seen of all) observed.set(seen.id, seen);
    },
  });
  return { result, said, observed };
}

const quickly = { interval: '100ms', requestTimeout: '500ms' };
const predict = (url: string, more: Record<string, unknown> = {}) => ({
  http: {
    url: `${url}/predict?model={{ model.id }}`,
    headers: { 'X-Release': '{{ release.id }}' },
    body: { image_data: 'aGk=', model: '{{ model.id }}' },
    expect: { body: { json: { model_id: '{{ model.id }}', confidence: { atLeast: 0.5 } } } },
    ...quickly,
    ...more,
  },
});

describe('an HTTP probe', () => {
  it('asks with the release’s values and its trace, and passes where the answer names the model', async () => {
    const asked: unknown[] = [];
    const url = await serve(({ url: path, method, headers }, response, body) => {
      asked.push({ path, method, headers, body: JSON.parse(body) });
      response.end(JSON.stringify({ model_id: 'tiny-1', confidence: 0.9 }));
    });
    const one = verification(predict(url));
    const { result, observed } = await run(one);
    expect(result).toMatchObject({
      passed: true,
      kind: 'http',
      name: 'check',
      environment: 'production',
      samples: 1,
    });
    expect(result.expected).toContain('model_id "tiny-1", confidence ≥ 0.5');
    expect(asked).toMatchObject([
      {
        path: '/predict?model=tiny-1',
        method: 'POST',
        headers: {
          'x-release': 'rel-a',
          'content-type': 'application/json',
          traceparent: one.trace.traceparent,
        },
        body: { image_data: 'aGk=', model: 'tiny-1' },
      },
    ]);
    expect(JSON.stringify(asked)).not.toContain('secret');
    const [span] = [...observed.values()];
    expect(span).toMatchObject({ name: 'verify check', start: result.startedAt, end: result.endedAt });
    expect(span?.error).toBeUndefined();
  });

  it('waits for a server that is broken, and then for another model’s pods to be gone', async () => {
    const answers = [
      [500, 'oops'],
      [200, '{"model_id":"old","confidence":1}'],
      [200, '{"model_id":"tiny-1","confidence":0.9}'],
      [200, '{"model_id":"old","confidence":1}'],
    ] as const;
    let asked = 0;
    const url = await serve((_, response) => {
      const [status, text] = answers[asked++] ?? [200, '{"model_id":"tiny-1","confidence":0.9}'];
      response.writeHead(status).end(text);
    });
    const { result, said } = await run(verification(predict(url, { successes: 3 })));
    expect(result).toMatchObject({ passed: true, samples: 7 }); // the third one did not count: another followed
    expect(said.join('\n')).toMatch(/status 500: oops/);
    expect(said.join('\n')).toMatch(/model_id "old"/);
  });

  it('does not pass with enough wrong answers, or at its timeout, and says what was found', async () => {
    const url = await serve((_, response) => response.end('{"model_id":"old"}'));
    const { result, observed } = await run(verification(predict(url, { attempts: 2 })));
    expect(result).toMatchObject({ passed: false, samples: 2, found: 'model_id "old", no confidence' });
    expect([...observed.values()][0]?.error).toBe('TL_VERIFICATION_FAILED');
    const late = await run(verification(predict(url), 0.4));
    expect(late.result.passed).toBe(false);
    expect(late.result.samples).toBeGreaterThan(1);
  });

  it.each([
    ['nothing listens', undefined, /ECONNREFUSED/],
    ['it hangs', () => {}, /no answer within 0.5 s/],
    [
      'it hangs up',
      (_: IncomingMessage, response: ServerResponse) => response.destroy(),
      /other side closed|socket/i,
    ],
    [
      'it stops in the middle',
      (_: IncomingMessage, response: ServerResponse) => response.writeHead(200).write('{"model_id"'),
      /no answer within 0.5 s/,
    ],
    [
      'it redirects elsewhere',
      (_: IncomingMessage, response: ServerResponse) =>
        response.writeHead(302, { location: 'http://169.254.169.254/latest/meta-data' }).end(),
      /^status 302 to http:\/\/169/,
    ],
    [
      'it is no JSON',
      (_: IncomingMessage, response: ServerResponse) => response.end('<html>'),
      /no JSON: <html>/,
    ],
    ['it is null', (_: IncomingMessage, response: ServerResponse) => response.end('null'), /no model_id/],
    [
      'it never ends',
      (_: IncomingMessage, response: ServerResponse) => {
        const more = () => {
          while (!response.destroyed && response.write('x'.repeat(100_000)));
          if (!response.destroyed) response.once('drain', more);
        };
        more();
      },
      /more than 1 MiB/,
    ],
  ])('does not pass where %s', async (_, answer, found) => {
    const url = await serve(answer ?? (() => {}));
    if (!answer) await new Promise((resolve) => servers.pop()?.close(resolve));
    const { result } = await run(verification(predict(url), 0.8));
    expect(result.passed).toBe(false);
    expect(result.found).toMatch(found);
  });

  it('goes on where the last attempt was', async () => {
    const url = await serve((_, response) => response.end('{"model_id":"tiny-1","confidence":1}'));
    const stopped = new AbortController();
    const one = verification(predict(url, { successes: 1000, interval: '100ms' }));
    setTimeout(() => stopped.abort(new Error('the worker ends')), 350);
    await expect(run(one, { signal: stopped.signal })).rejects.toThrow();
    const before = memory as { startedAt: string; state: { inARow: number } };
    expect(before.state.inARow).toBeGreaterThan(1);
    const remembered = { ...before, state: { ...before.state, inARow: 999, samples: 999 } };
    const { result } = await run(one, { remembered });
    expect(result).toMatchObject({ passed: true, samples: 1000, startedAt: before.startedAt });
  });

  it('asks nobody whom the operator did not allow, and no cloud’s metadata by any name', async () => {
    const metadata = await run(verification({ http: { url: 'http://169.254.169.254/latest' } }));
    expect(metadata.result).toMatchObject({ passed: false, found: expect.stringMatching(/link-local/) });
    const mapped = await run(verification({ http: { url: 'http://[::ffff:169.254.169.254]/latest' } }));
    expect(mapped.result.found).toMatch(/link-local/);
    const decimal = await run(verification({ http: { url: 'http://2852039166/latest' } }));
    expect(decimal.result.found).toMatch(/link-local/);
    const other = await run(verification({ http: { url: 'http://127.0.0.1:1/{{ model.id }}' } }), {
      allows: (url) => url === 'http://127.0.0.1:1/other',
    });
    expect(other.result.found).toMatch(/allow\.verifyUrls/);
  });
});

describe('an answer', () => {
  const { check, values } = verification({ http: { url: 'https://a.example' } });
  const judge = (expect: Record<string, unknown>, answer: Partial<Answer>) =>
    wrongIn(
      { status: 200, body: '', cut: false, seconds: 0.1, ...answer },
      { ...(check.http?.expect ?? { status: [200] }), ...expect },
      values,
    );

  it.each([
    [{ body: { contains: '{{ model.id }}' } }, { body: 'it is tiny-1' }, undefined],
    [{ body: { contains: 'x' } }, { body: 'y' }, /without "x": y/],
    [{ body: { matches: '^tiny-\\d$' } }, { body: 'tiny-1' }, undefined],
    [{ body: { matches: '^{{ model.id }}$' } }, { body: 'tiny.1' }, /does not match/],
    [{ body: { matches: '(a+)+$' } }, { body: `${'a'.repeat(60)}b` }, /takes longer/],
    [{ body: { matches: '.*.*.*.*x' } }, { body: 'a'.repeat(100_000) }, /takes longer/],
    [{ within: 0.05 }, {}, /after 0.10 s/],
    [{ body: { json: { 'a[1].b': 2 } } }, { body: '{"a":[0,{"b":2}]}' }, undefined],
    [{ body: { json: { a: '2' } } }, { body: '{"a":2}' }, /a 2/],
    [{ body: { json: { a: null } } }, { body: '{}' }, /no a/],
    [{ body: { json: { a: { atMost: 1 } } } }, { body: '{"a":"0"}' }, /a "0"/],
    [{ body: { json: { __proto__: 1, constructor: 'x' } } }, { body: '{}' }, /no constructor/],
  ])('held to %j', (expected, answer, wrong) => {
    const found = judge(expected, answer);
    if (wrong === undefined) expect(found).toBeUndefined();
    else expect(found).toMatch(wrong);
  });
});

const vector = (...values: string[]) =>
  JSON.stringify({
    status: 'success',
    data: {
      resultType: 'vector',
      result: values.map((value, index) => ({
        metric: { __name__: 'm', pod: `p${index}` },
        value: [1, value],
      })),
    },
  });
const scalar = (value: string) =>
  JSON.stringify({ status: 'success', data: { resultType: 'scalar', result: [1, value] } });

describe('what Prometheus answers', () => {
  const read = (body: string, status = 200) => readSamples({ status, body, cut: false, seconds: 0 });
  const judged = (body: string, threshold = { atMost: 0.01 } as Parameters<typeof judgeSamples>[1]) => {
    const reading = read(body);
    return 'samples' in reading ? judgeSamples(reading.samples, threshold) : reading;
  };

  it.each([
    ['every series', vector('0', '0.01'), { is: 'good', found: '0 of m{pod="p0"} (2 series)' }],
    [
      'one series that does not hold',
      vector('0', '0.02'),
      { is: 'bad', found: '0.02 of m{pod="p1"} (2 series)' },
    ],
    ['an infinite value', vector('+Inf'), { is: 'bad', found: 'Infinity of m{pod="p0"}' }],
    ['a scalar', scalar('1e-3'), { is: 'good', found: '0.001 of the scalar' }],
    ['no series', vector(), { is: 'missing', found: 'no series' }],
    ['a NaN', vector('NaN'), { is: 'missing', found: 'NaN of m{pod="p0"}' }],
    [
      'a NaN beside what does not hold',
      vector('NaN', '1'),
      { is: 'bad', found: '1 of m{pod="p1"} (2 series)' },
    ],
  ])('of %s is judged', (_, body, expected) => expect(judged(body)).toEqual(expected));

  it.each([
    [
      'a matrix',
      '{"status":"success","data":{"resultType":"matrix","result":[]}}',
      200,
      'failed',
      /a matrix/,
    ],
    [
      'a histogram',
      '{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{}]}]}}',
      200,
      'failed',
      /native histogram/,
    ],
    [
      'a query that is wrong',
      '{"status":"error","errorType":"bad_data","error":"parse error"}',
      400,
      'failed',
      /bad_data: parse error/,
    ],
    [
      'a query that cannot be answered',
      '{"status":"error","errorType":"execution","error":"many-to-many"}',
      422,
      'failed',
      /many-to-many/,
    ],
    ['a login page', '<html>', 403, 'failed', /no answer of Prometheus/],
    [
      'a query that took too long',
      '{"status":"error","errorType":"timeout","error":"timed out"}',
      503,
      'away',
      /timed out/,
    ],
    ['a proxy', 'Bad Gateway', 502, 'away', /502/],
    ['too many requests', '', 429, 'away', /429/],
    ['something else', '{"a":1}', 200, 'away', /no answer of Prometheus/],
  ] as const)('of %s', (_, body, status, what, text) => {
    expect(read(body, status)).toEqual({ [what]: expect.stringMatching(text) });
  });

  it('with warnings is told with them', () => {
    const reading = read(vector('0').replace('{', '{"warnings":["partial response"],'));
    expect(reading).toMatchObject({ warnings: ['partial response'] });
  });

  it('counts as held between looks, but for the time in which nobody looked', () => {
    const first = heldOn(NOT_HELD, 0, 10);
    expect(first.seconds).toBe(0);
    const second = heldOn(first, 10_000, 10);
    expect(second.seconds).toBe(10);
    expect(heldOn(second, 600_000, 10).seconds).toBe(30);
    expect(heldOn(second, 5_000, 10).seconds).toBe(10); // a clock that was set back
  });
});

describe('a Prometheus query', () => {
  const query = (url: string, more: Record<string, unknown> = {}) => ({
    prometheus: {
      url: `${url}/prometheus/`,
      query: 'errors{model="{{ model.id }}"}',
      atMost: 0.01,
      every: '100ms',
      ...more,
    },
  });

  it('is asked by the documented API, and passes where it holds once', async () => {
    const asked: (string | undefined)[] = [];
    const url = await serve((request, response) => {
      asked.push(request.url);
      response.end(vector('0'));
    });
    const allows = (place: string) => place === `${url}/prometheus/`;
    const { result } = await run(verification(query(url)), { allows });
    expect(result).toMatchObject({ passed: true, kind: 'prometheus', found: '0 of m{pod="p0"}' });
    expect(new URL(asked[0] ?? '', url).pathname).toBe('/prometheus/api/v1/query');
    expect(new URL(asked[0] ?? '', url).searchParams.get('query')).toBe('errors{model="tiny-1"}');
  });

  it('has to hold for the whole window, is waited for while away, and begins anew when it breaks', async () => {
    const answers = [vector(), '503', vector('0'), vector('0'), vector('1')];
    let asked = 0;
    const url = await serve((_, response) => {
      const text = answers[asked++] ?? vector('0');
      response.writeHead(text === '503' ? 503 : 200).end(text);
    });
    const begun = Date.now();
    const { result, said } = await run(verification(query(url, { for: '500ms' })));
    expect(result.passed).toBe(true);
    expect(Date.now() - begun).toBeGreaterThan(900); // five looks, and the window after them
    expect(said.some((text) => text.includes('no series'))).toBe(true);
    expect(said.some((text) => text.startsWith('waiting for Prometheus at'))).toBe(true);
    expect(said.some((text) => text.includes('has held for'))).toBe(true);
  });

  it('does not pass where it breaks too late to hold again, or where there is no data and the plan wants some', async () => {
    const url = await serve((_, response) => response.end(vector('1')));
    const begun = Date.now();
    const { result } = await run(verification(query(url, { for: '30s', timeout: '31s' }), 20));
    expect(result).toMatchObject({ passed: false, found: '1 of m{pod="p0"}', samples: 1 });
    expect(Date.now() - begun).toBeLessThan(5_000);
    const empty = await serve((_, response) => response.end(vector()));
    expect((await run(verification(query(empty, { noData: 'fail' })))).result.found).toBe('no series');
    expect((await run(verification(query(empty), 0.3))).result).toMatchObject({
      passed: false,
      found: 'no series',
    });
  });

  it('goes on with its window in another attempt', async () => {
    const url = await serve((_, response) => response.end(vector('0')));
    const one = verification(query(url, { for: '2s', timeout: '20s' }), 20);
    const stopped = new AbortController();
    setTimeout(() => stopped.abort(new Error('the worker ends')), 1_200);
    const begun = Date.now();
    await expect(run(one, { signal: stopped.signal })).rejects.toThrow();
    const { result } = await run(one, { remembered: memory });
    expect(result.passed).toBe(true);
    expect(Date.now() - begun).toBeLessThan(3_000);
    expect(Date.parse(result.startedAt) - begun).toBeLessThan(500);
  });
});

describe('a Job', () => {
  const job = { name: 'tiny-a-000000', timeout: 60 } as TrainingJob;
  const runner = (complete: JobRunner['complete']) => ({ complete }) as JobRunner;
  const one = { ...verification({ job: { manifest: 'checks/job.yaml' } }), job };

  it('passes where it succeeds, and does not where it cannot', async () => {
    const passed = await run(one, { runner: runner(async () => ({ attempts: 2 })) });
    expect(passed.result).toMatchObject({ passed: true, kind: 'job', samples: 2 });
    const failed = await run(one, {
      runner: runner(async () => {
        throw new ThroughlineError('TL_POD_UNSTARTABLE', 'No pod could start', { found: 'cannot pull x' });
      }),
    });
    expect(failed.result).toMatchObject({ passed: false, found: 'No pod could start; cannot pull x' });
    const away = run(one, {
      runner: runner(async () => {
        throw new ThroughlineError('TL_KUBERNETES_UNREACHABLE', 'away');
      }),
    });
    await expect(away).rejects.toThrow('away');
  });
});

describe('health', () => {
  async function* after(looks: readonly Look[]): AsyncGenerator<Look> {
    for (const look of looks) {
      yield look;
      await sleep(30);
    }
  }
  const healthy: Look = { is: 'healthy' };
  const ailing: Look = { is: 'ailing', why: '0 of 1 pods are available' };
  const unseen: Look = { is: 'unseen', why: 'away' };
  const many = (look: Look, count = 100) => Array.from({ length: count }, () => look);
  /** As the workflow says when it is decided at the latest. */
  const check = (seconds: number, tolerance: number) => {
    const times = { for: `${seconds * 1000}ms`, tolerance: `${tolerance * 1000}ms` };
    const one = verification({ health: times });
    const { health } = one.check;
    if (!health) throw new Error('no health');
    return {
      health,
      verification: { ...one, deadline: new Date(Date.now() + health.timeout * 1000).toISOString() },
    };
  };
  const decide = (
    { health, verification }: ReturnType<typeof check>,
    looks: readonly Look[],
    remembered?: unknown,
  ) => {
    const memory: unknown[] = [];
    const options = {
      signal: new AbortController().signal,
      report: () => {},
      observe: () => {},
      remembered,
      remember: (state: unknown) => void memory.push(state),
    };
    return stayHealthy(health, verification, after(looks), options).then((verdict) => ({ verdict, memory }));
  };

  it('passes at the end of its window, and not where it ails then', async () => {
    const { verdict } = await decide(check(0.2, 0.1), many(healthy));
    expect(verdict).toMatchObject({ passed: true, found: 'it stayed healthy' });
    expect(verdict.samples).toBeGreaterThan(4);
    const ill = await decide(check(0.2, 0.1), [...many(healthy, 5), ...many(ailing)]);
    expect(ill.verdict).toMatchObject({ passed: false, found: '0 of 1 pods are available' });
  });

  it('bears what does not last, on end and not in sum', async () => {
    const wavering = Array.from({ length: 100 }, (_, index) => (index % 3 === 2 ? healthy : ailing));
    expect((await decide(check(0.5, 0.2), wavering)).verdict.passed).toBe(true);
    expect((await decide(check(0.5, 0.001), wavering)).verdict.passed).toBe(false);
  });

  it('says nothing of a time in which nobody could look, and goes on with the next attempt', async () => {
    const { verdict } = await decide(check(0.1, 0.1), [...many(unseen, 20), healthy]);
    expect(verdict).toMatchObject({ passed: true, samples: 1 });
    const one = check(10, 0.5);
    const hour = 3_600_000;
    const before = { samples: 7, ailing: { seconds: 0.2, at: Date.now() - hour } };
    // At most twice the pause between two looks counts of it, which is enough here; without a look before nothing counts.
    expect((await decide(one, many(ailing), before)).verdict).toMatchObject({ passed: false, samples: 8 });
    const fresh = await decide(one, [...many(ailing, 3), ...many(healthy, 1), ...many(ailing, 40)]);
    expect(fresh.verdict).toMatchObject({ passed: false });
    expect(fresh.memory).toContainEqual({ samples: 4, ailing: { seconds: 0 } });
  });

  it('is asked only where Argo CD deploys', () => {
    const text = `${PLAN}    verify: [{ name: check, health: { for: 10m } }]\n`;
    expect(() => parsePlan(text, 'x')).toThrow(
      expect.objectContaining({
        problem: expect.objectContaining({ expected: expect.stringContaining('argocd') }),
      }),
    );
  });
});
