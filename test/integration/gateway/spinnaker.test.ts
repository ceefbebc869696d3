// Spinnaker's webhook stage, row by row (shared FACTS, "Spinnaker's webhook stage"): each test is named after its rule. The
// client follows Orca's own rules (support/orca.ts).
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import type { Gateway } from '../../../src/gateway/server.js';
import { NO_CONFIGURATION } from '../../../src/policy/index.js';
import { ReleaseService } from '../../../src/releases/service.js';
import { temporalClient } from '../../../src/temporal/connect.js';
import { create, evaluates, monitor, type OrcaStage, send, type Verdict } from '../../support/orca.js';
import { World } from '../../support/world.js';

const read = (path: string) =>
  readFileSync(fileURLToPath(new URL(`../../../${path}`, import.meta.url)), 'utf8');
const [preconfigured] = parse(read('deploy/spinnaker/orca-local.yml')).webhook.preconfigured;

let world: World;
let quick: string;
let slow: string;

beforeAll(async () => {
  world = await World.start('spinnaker');
  await world.worker();
  quick = world.model('quick').url;
  slow = world.model('slow', { parameters: { TICKS: 900 } }).url;
});
afterAll(() => world?.stop());

let executions = 0;
const execution = () => ({
  id: `01SPIN${String(++executions).padStart(6, '0')}`,
  application: 'digits',
  name: 'Release',
});

/** What Orca makes of an expression of ours. */
const stageOf = (payload: unknown): OrcaStage => ({
  url: `${world.url}/v1/releases`,
  payload,
  successStatuses: preconfigured.successStatuses,
  canceledStatuses: preconfigured.canceledStatuses,
  terminalStatuses: preconfigured.terminalStatuses,
});

async function ended(
  stage: OrcaStage,
  statusUrl: string,
): Promise<Extract<Verdict, { readonly why: string }>> {
  for (let looks = 0; looks < 120; looks += 1) {
    const verdict = await monitor(stage, statusUrl);
    if ('why' in verdict) return verdict;
    await sleep(500);
  }
  throw new Error('the stage does not end');
}

const idOf = (statusUrl: string) => statusUrl.split('/').at(-1) ?? '';

async function stopped(id: string): Promise<void> {
  await world.releases.cancel(id);
  await world.ended(id);
}

describe('create', () => {
  it('takes a map payload, which arrives chunked with no Content-Length, and answers 2xx', async () => {
    const { answer } = await create(
      stageOf({ repository: quick, execution: execution(), stage: { refId: '1' } }),
    );
    expect(answer.status).toBe(202);
  });

  it('takes a string payload without a content type, which arrives as text/plain', async () => {
    const { statusUrl } = await create(
      stageOf(JSON.stringify({ repository: quick, execution: execution() })),
    );
    expect((await monitor(stageOf(''), statusUrl)).state).not.toBe('TERMINAL');
  });

  it('takes text in the charset that it says it is in: Spring sends ISO-8859-1', async () => {
    const payload = Buffer.from(
      JSON.stringify({ repository: quick, execution: execution(), trigger: { user: 'Jürgen' } }),
      'latin1',
    );
    const answer = await fetch(`${world.url}/v1/releases`, {
      method: 'POST',
      headers: { 'content-type': 'text/plain;charset=ISO-8859-1' },
      body: payload,
    });
    expect(answer.status).toBe(202);
    const { id } = (await answer.json()) as { id: string };
    expect((await world.ended(id)).request.requestedBy).toBe('Jürgen');
    const unknown = await fetch(`${world.url}/v1/releases`, {
      method: 'POST',
      headers: { 'content-type': 'text/plain;charset=klingon' },
      body: payload,
    });
    expect(unknown.status).toBe(400);
  });

  it('takes a string payload that was encoded once more', async () => {
    const payload = JSON.stringify(JSON.stringify({ repository: quick, execution: execution() }));
    const { statusUrl } = await create(stageOf(payload));
    expect(idOf(statusUrl)).toMatch(/^rel-/);
  });

  it('answers with an absolute Location: as the caller reached it, or as configured', async () => {
    const { statusUrl } = await create(stageOf({ repository: quick, execution: execution() }));
    expect(statusUrl.startsWith(`${world.url}/v1/releases/rel-`)).toBe(true);
    const configured = await world.gateway({ publicUrl: 'https://throughline.example/base/' });
    const answer = await configured.app.inject({
      method: 'POST',
      url: '/v1/releases',
      payload: { repository: quick, execution: execution() },
    });
    expect(answer.headers.location).toMatch(/^https:\/\/throughline\.example\/base\/v1\/releases\/rel-/);
    expect(answer.json().statusUrl).toBe(answer.headers.location);
    await configured.close();
  });

  it('believes X-Forwarded-… of trusted proxies only', async () => {
    const headers = {
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'public.example',
      host: 'inside.example',
    };
    const location = async (trustedProxies: string[]) => {
      const configuration = { ...NO_CONFIGURATION, gateway: { ...NO_CONFIGURATION.gateway, trustedProxies } };
      const gateway: Gateway = await world.gateway({ configuration });
      const payload = { repository: quick, execution: execution() };
      const answer = await gateway.app.inject({ method: 'POST', url: '/v1/releases', headers, payload });
      await gateway.close();
      return answer.headers.location;
    };
    expect(await location([])).toMatch(/^http:\/\/inside\.example\//);
    expect(await location(['10.0.0.0/8'])).toMatch(/^http:\/\/inside\.example\//);
    expect(await location(['127.0.0.0/8'])).toMatch(/^https:\/\/public\.example\//);
  });

  it('answers before any slow work, and the status URL works before the answer is there', async () => {
    // No worker of this queue runs: nothing but Temporal has to do with the answer.
    const releases = new ReleaseService({ ...world.client, taskQueue: 'nobody' });
    const gateway = await world.gateway({ releases });
    const url = await gateway.listen({ host: '127.0.0.1', port: 0 });
    const stage = { ...stageOf({ repository: quick, execution: execution() }), url: `${url}/v1/releases` };
    const { statusUrl } = await create(stage);
    expect(await monitor(stage, statusUrl)).toMatchObject({ state: 'RUNNING' });
    await releases.cancel(idOf(statusUrl));
    await world.client.client.workflow.getHandle(idOf(statusUrl)).terminate();
    await gateway.close();
  });

  it('refuses a bad request with a 4xx whose body tells the user what to do', async () => {
    const answer = await send('POST', `${world.url}/v1/releases`, { repositry: quick });
    expect(answer.status).toBe(400);
    const { error } = JSON.parse(answer.text);
    expect(error).toMatchObject({ code: 'TL_REQUEST_INVALID', hint: expect.any(String) });
    expect(error.message + JSON.stringify(error.also)).toContain('repositry');
  });

  it('refuses an unresolved expression, wherever it stands, and sends none back', async () => {
    for (const body of [
      { repository: quick, execution: { id: '${execution.id}' } },
      { repository: quick, trigger: { deep: { down: [{ here: 'a ${b} c' }] } } },
      { repository: quick, trigger: { '${name}': 1 } },
      `{"repository": "\\u0024{x}"}`,
    ]) {
      const answer = await send('POST', `${world.url}/v1/releases`, body);
      expect([answer.status, evaluates(answer)]).toEqual([400, false]);
    }
  });

  it('answers 503 where Temporal is away, with a Retry-After that the client does not repeat at once on', async () => {
    const away = temporalClient({ address: '127.0.0.1:1' });
    const gateway = await world.gateway({ releases: new ReleaseService({ ...away, taskQueue: 'q' }) });
    const answer = await gateway.app.inject({
      method: 'POST',
      url: '/v1/releases',
      payload: { repository: quick },
    });
    expect(answer.statusCode).toBe(503);
    expect(Number(answer.headers['retry-after'])).toBeGreaterThanOrEqual(1);
    expect(answer.body).not.toContain('127.0.0.1'); // where it is, is nobody's business
    await gateway.close();
    await away.connection.close();
  });
});

describe('duplicates', () => {
  it('are the same release by execution.id and refId, also at once, and in another gateway', async () => {
    const payload = { repository: slow, execution: execution(), stage: { refId: '1', id: '01A' } };
    const other = await world.gateway();
    const url = await other.listen({ host: '127.0.0.1', port: 0 });
    const both = [stageOf(payload), { ...stageOf(payload), url: `${url}/v1/releases` }];
    const created = await Promise.all(
      Array.from({ length: 20 }, (_, n) => create(both[n % 2] ?? stageOf(payload))),
    );
    const ids = new Set(created.map(({ statusUrl }) => idOf(statusUrl)));
    expect(ids.size).toBe(1);
    expect(created.filter(({ answer }) => JSON.parse(answer.text).created)).toHaveLength(1);
    await other.close();
    await stopped([...ids][0] ?? '');
  });

  it('are other releases for another stage of the execution', async () => {
    const one = execution();
    const first = await create(stageOf({ repository: slow, execution: one, stage: { refId: '1' } }));
    const second = await create(stageOf({ repository: slow, execution: one, stage: { refId: '2' } }));
    expect(first.statusUrl).not.toBe(second.statusUrl);
    await stopped(idOf(first.statusUrl));
    await stopped(idOf(second.statusUrl));
  });

  it('of a release that has ended start nothing new', async () => {
    const payload = { repository: quick, execution: execution(), stage: { refId: '1' } };
    const stage = stageOf(payload);
    const { statusUrl } = await create(stage);
    await ended(stage, statusUrl);
    const again = await create(stage);
    expect(again.statusUrl).toBe(statusUrl);
    expect(JSON.parse(again.answer.text).created).toBe(false);
  });
});

describe('restart', () => {
  it('of a stage keeps its id and sends restartDetails.restartTime: another release, once', async () => {
    const one = execution();
    const payload = (restartDetails: unknown) => ({
      repository: slow,
      execution: one,
      stage: { refId: '1', id: '01A', context: { restartDetails } },
    });
    const first = await create(stageOf(payload(null)));
    const restart = { restartTime: 1_764_072_000_000, restartedBy: 'ann', previousException: { a: [1] } };
    const second = await create(stageOf(payload(restart)));
    expect(second.statusUrl).not.toBe(first.statusUrl);
    expect((await create(stageOf(payload(restart)))).statusUrl).toBe(second.statusUrl);
    await stopped(idOf(first.statusUrl));
    await stopped(idOf(second.statusUrl));
  });
});

describe('monitor', () => {
  it('has one flat status and a progress that is text, at every look, until success; then result has every id', async () => {
    const stage = stageOf({ repository: quick, execution: execution(), stage: { refId: '1' } });
    const { statusUrl } = await create(stage);
    const seen: string[] = [];
    let verdict = await monitor(stage, statusUrl);
    while (verdict.state === 'RUNNING') {
      seen.push(verdict.progress ?? '');
      await sleep(100);
      verdict = await monitor(stage, statusUrl);
    }
    expect(verdict).toMatchObject({ state: 'SUCCEEDED' });
    expect(seen.length).toBeGreaterThan(3);
    for (const progress of seen) expect(progress).toContain(statusUrl);
    expect(seen.some((progress) => /^train/.test(progress))).toBe(true);
    const { result } = (verdict as { body: { result: Record<string, unknown> } }).body;
    expect(result).toMatchObject({
      release: idOf(statusUrl),
      modelDigest: expect.stringMatching(/^sha256:/),
      imageDigest: expect.stringMatching(/^sha256:/),
      gitopsCommits: { production: expect.stringMatching(/^[0-9a-f]{40}$/) },
      traceId: expect.stringMatching(/^[0-9a-f]{32}$/),
      commit: expect.stringMatching(/^[0-9a-f]{40}$/),
    });
  });

  it('is terminal for a refused gate, which is no success, and says why', async () => {
    const url = world.model('gated', { parameters: { ACCURACY: 0.1 } }).url;
    const stage = stageOf({ repository: url, execution: execution() });
    const { statusUrl } = await create(stage);
    const verdict = await ended(stage, statusUrl);
    expect(verdict).toMatchObject({ state: 'TERMINAL', why: 'REJECTED' });
    expect(verdict.body?.progress).toMatch(/^REJECTED: .*TL_METRIC_BELOW_GATE/);
    expect(verdict.body?.result.error).toMatch(/^TL_METRIC_BELOW_GATE/);
  });

  it('sends no ${ though a program printed one', async () => {
    const train = 'echo "expected ${HOME} and \\${nothing}" >&2; echo "\\${evil}"; exit 3\n';
    const url = world.model('evil', { train }).url;
    const stage = stageOf({ repository: url, execution: execution() });
    const { statusUrl } = await create(stage);
    const verdict = await ended(stage, statusUrl);
    expect(verdict).toMatchObject({ state: 'TERMINAL', why: 'FAILED' });
    const answer = await send('GET', statusUrl, undefined);
    expect(answer.text).toContain('$ {evil}');
    const events = await send('GET', `${statusUrl}/events`, undefined);
    expect([events.status, evaluates(events)]).toEqual([200, false]);
    expect(evaluates(answer)).toBe(false);
  });

  it('is retried while Temporal is away: never a 4xx, never another content type', async () => {
    const away = temporalClient({ address: '127.0.0.1:1' });
    const gateway = await world.gateway({ releases: new ReleaseService({ ...away, taskQueue: 'q' }) });
    const url = await gateway.listen({ host: '127.0.0.1', port: 0 });
    expect(await monitor(stageOf(''), `${url}/v1/releases/rel-aaaaaaaaaaaaaaaaaaaa`)).toEqual({
      state: 'RETRY',
    });
    await gateway.close();
    await away.connection.close();
  });

  it('never meets a refused connection while a gateway is replaced: it answers until the last moment', async () => {
    const first = await world.gateway();
    const url = await first.listen({ host: '127.0.0.1', port: 0 });
    const stage = { ...stageOf({ repository: slow, execution: execution() }), url: `${url}/v1/releases` };
    const { statusUrl } = await create(stage);
    const closing = first.close(4);
    const begun = Date.now();
    while (Date.now() - begun < 2_000) {
      expect((await monitor(stage, statusUrl)).state).toBe('RUNNING');
      await sleep(150);
    }
    await closing;
    await stopped(idOf(statusUrl));
  });
});

describe('cancel', () => {
  it('is idempotent, and 2xx for an unknown and for a finished release', async () => {
    const stage = stageOf({ repository: quick, execution: execution() });
    const { statusUrl } = await create(stage);
    await ended(stage, statusUrl);
    for (const id of [idOf(statusUrl), idOf(statusUrl), 'rel-aaaaaaaaaaaaaaaaaaaa', 'nonsense', '..%2f..']) {
      const answer = await send('POST', `${world.url}/v1/releases/${id}/cancel`, undefined);
      expect(answer.status, id).toBe(202);
    }
    expect((await world.get(idOf(statusUrl))).status).toBe('SUCCEEDED');
  });

  it('reaches a release by the caller’s own key, and by the payload that Orca sends', async () => {
    const one = execution();
    const stage = stageOf({ repository: slow, execution: one, stage: { refId: '1' } });
    const { statusUrl } = await create(stage);
    const cancel = { execution: { id: one.id }, stage: { refId: '1', context: { restartDetails: null } } };
    for (let times = 0; times < 3; times += 1) {
      expect((await send('POST', `${world.url}/v1/releases/cancel`, JSON.stringify(cancel))).status).toBe(
        202,
      );
    }
    expect(await ended(stage, statusUrl)).toMatchObject({ state: 'CANCELED' });

    const { body } = await world.trigger({ repository: slow, idempotencyKey: 'my-own' });
    const answer = await send('POST', `${world.url}/v1/releases/cancel`, { idempotencyKey: 'my-own' });
    expect(JSON.parse(answer.text)).toEqual({ id: body.id, status: 'CANCELING' });
    expect((await world.ended(body.id)).status).toBe('CANCELED');
  });

  it('of a POST whose answer was lost is 2xx also where nothing was started', async () => {
    const answer = await send('POST', `${world.url}/v1/releases/cancel`, {
      execution: { id: 'never-seen' },
      stage: { refId: '1' },
    });
    expect([answer.status, JSON.parse(answer.text).status]).toEqual([202, 'UNKNOWN']);
  });
});

describe('headers', () => {
  it('of the trace are joined; without them a release may join the trace that Echo derives from the execution', async () => {
    const trace = '0af7651916cd43dd8448eb211c80319c';
    const stage = { ...stageOf({ repository: slow, execution: execution() }) };
    const { answer } = await create({
      ...stage,
      headers: { TRACEPARENT: `00-${trace}-b7ad6b7169203331-01` },
    });
    expect(JSON.parse(answer.text).traceId).toBe(trace);
    // "01J0" → sha256, first 16 bytes (sha256sum)
    const derived = { repository: slow, execution: { id: '01J0' }, executionTrace: true };
    const joined = await create({ ...stageOf(derived), headers: { TRACEPARENT: '' } });
    const { createHash } = await import('node:crypto');
    const hash = createHash('sha256').update('01J0').digest('hex');
    expect(JSON.parse(joined.answer.text).traceId).toBe(hash.slice(0, 32));
    await stopped(JSON.parse(answer.text).id);
    await stopped(JSON.parse(joined.answer.text).id);
  });
});

describe('the files in deploy/spinnaker', () => {
  /** What a release's expressions come to, as Orca would evaluate them. */
  const values: Record<string, unknown> = {
    "#toJson(parameterValues['repository'])": () => quick,
    "#toJson(parameterValues['ref'])": () => '',
    "#toJson(parameterValues['plan'])": () => 'throughline.yaml',
    '#toJson(execution.id)': () => '01FILES',
    '#toJson(execution.application)': () => 'digits',
    '#toJson(execution.name)': () => null,
    "#toJson(#currentStage()['refId'])": () => '1',
    "#toJson(#currentStage()['context']['restartDetails'])": () => null,
    '#toJson(trigger)': () => ({ type: 'git', hash: '', branch: 'main', user: '[anonymous]', extra: [1] }),
  };
  const evaluate = (text: string) =>
    text.replace(/\$\{([^}]*)\}/g, (_, expression: string) => {
      const value = values[expression];
      if (typeof value !== 'function') throw new Error(`no value for ${expression}`);
      return JSON.stringify(value());
    });

  it('the preconfigured stage has only properties that Orca knows, and no colon in an expression', () => {
    const known = new Set(
      (
        'label description type url payload statusUrlJsonPath statusJsonPath progressJsonPath successStatuses ' +
        'canceledStatuses terminalStatuses cancelEndpoint cancelPayload enabled waitForCompletion signalCancellation ' +
        'waitBeforeMonitor failFastStatusCodes retryStatusCodes method cancelMethod statusUrlResolution customHeaders ' +
        'sensitiveHeaders permissions parameters'
      ).split(' '),
    );
    for (const name of Object.keys(preconfigured)) expect(known, name).toContain(name);
    for (const [, expression] of JSON.stringify(preconfigured).matchAll(/\$\{([^}]*)\}/g))
      expect(expression).not.toContain(':');
    const statuses = [
      preconfigured.successStatuses,
      preconfigured.canceledStatuses,
      preconfigured.terminalStatuses,
    ];
    expect(statuses.join(',').split(',').sort()).toEqual(
      ['CANCELED', 'FAILED', 'REJECTED', 'SUCCEEDED', 'SUPERSEDED'].sort(),
    );
  });

  it('the preconfigured stage’s payload starts a release, and its cancel payload ends that', async () => {
    const stage = stageOf(evaluate(preconfigured.payload));
    const { statusUrl } = await create({ ...stage, headers: { 'Content-Type': 'application/json' } });
    const answer = await send(
      'POST',
      `${world.url}/v1/releases/cancel`,
      evaluate(preconfigured.cancelPayload),
    );
    expect(JSON.parse(answer.text)).toEqual({ id: idOf(statusUrl), status: 'CANCELING' });
    await world.ended(idOf(statusUrl));
  });

  it('the plain stage’s payload is a trigger; the pipeline’s later stages name what result has', async () => {
    const { payload } = JSON.parse(read('deploy/spinnaker/stage.json'));
    const { statusUrl } = await create(
      stageOf({
        ...payload,
        repository: quick,
        execution: execution(),
        trigger: { branch: 'main', user: 'ann' },
      }),
    );
    const { result } = await world.ended(idOf(statusUrl));
    const pipeline = read('deploy/spinnaker/pipeline.json');
    const names = [...pipeline.matchAll(/\['result'\]\['(\w+)'\]/g)].map(([, name]) => name ?? '');
    expect(names.length).toBeGreaterThan(3);
    for (const name of names) expect(result).toHaveProperty(name);
    expect(JSON.parse(pipeline).stages[0].type).toBe(preconfigured.type);
  });
});
