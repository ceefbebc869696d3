// Who may do what through the gateway: every route, every role, every binding, from the API's own description; and by which
// credentials.
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, get, type Server } from 'node:http';
import { join } from 'node:path';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openApiDocument } from '../../../src/gateway/openapi.js';
import type { Gateway } from '../../../src/gateway/server.js';
import {
  archivedRelease,
  LineageStore,
  lineageOf,
  StoreHandle,
  StoreReader,
} from '../../../src/lineage/index.js';
import { type Grant, ROLES, type Role, readConfiguration } from '../../../src/policy/index.js';
import { ReleaseService } from '../../../src/releases/service.js';
import { runsOf } from '../../../src/telemetry/delivery.js';
import { bearer, type Holder, holder, writeConfiguration } from '../../support/access.js';
import { World } from '../../support/world.js';

let world: World;
let gateway: Gateway;
let store: StoreHandle;
/** Releases of a model in an environment: one that has ended, one that waits for an approval. */
let done: string;
let waiting: string;
let doneImage: string;
let waitingUrl: string;

const MODEL = 'seen';
const UNKNOWN = 'rel-aaaaaaaaaaaaaaaaaaaa';

/** How a grant can be bound, and whether that covers the releases of this test. */
const BINDINGS: Readonly<Record<string, { readonly to: Omit<Grant, 'roles'>; readonly covers: boolean }>> = {
  everything: { to: {}, covers: true },
  'the model': { to: { models: ['other', MODEL] }, covers: true },
  'another model': { to: { models: ['other'] }, covers: false },
  'the environment': { to: { environments: ['production'] }, covers: true },
  'another environment': { to: { environments: ['staging'] }, covers: false },
  'the model elsewhere': { to: { models: [MODEL], environments: ['staging'] }, covers: false },
};

const holders = new Map<string, Holder>();
for (const role of ROLES) {
  for (const [binding, { to }] of Object.entries(BINDINGS)) {
    holders.set(`${role} of ${binding}`, holder(`${role}-${holders.size}`, { roles: [role], ...to }));
  }
}
const holderOf = (role: Role, binding: string) => holders.get(`${role} of ${binding}`) as Holder;
const expired = holder('expired', { roles: ['admin'] });
const secret = `whsec_${randomBytes(32).toString('base64')}`;

let issuer: Server;
let issuerUrl: string;
type Key = Awaited<ReturnType<typeof generateKeyPair>>['privateKey'];
const keys = new Map<string, Key>();
const jwks: { keys: object[] } = { keys: [] };

async function addKey(kid: string): Promise<void> {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
  keys.set(kid, privateKey);
  jwks.keys.push({ ...(await exportJWK(publicKey)), kid, alg: 'ES256', use: 'sig' });
}

const jwt = (
  claims: Record<string, unknown>,
  { kid = 'one', expires = '5m', audience = 'throughline' } = {},
) =>
  new SignJWT(claims)
    .setProtectedHeader({ alg: 'ES256', kid })
    .setIssuer(issuerUrl)
    .setAudience(audience)
    .setExpirationTime(expires)
    .sign(keys.get(kid) as Key);

beforeAll(async () => {
  world = await World.start('access');
  await world.worker();
  const approval = (text: string) =>
    text.replace('    container: inference\n', '    container: inference\n    approval: required\n');
  const record = await world.release(world.model(MODEL).url, 'SUCCEEDED');
  done = record.release;
  doneImage = record.image?.digest ?? '';
  const model = world.model('waits', { name: MODEL, plan: approval });
  waitingUrl = model.url;
  waiting = (await world.trigger({ repository: model.url })).body.id;
  await world.until(waiting, ({ stages }) => stages.at(-1)?.name === 'approve production');

  const directory = join(world.directory, 'lineage');
  const lineage = await LineageStore.open({ directory });
  for (const id of [done, waiting]) {
    await lineage.put([lineageOf(await runsOf(world.client.client, id as never))]);
  }
  await lineage.close();
  store = new StoreHandle({ directory });

  await addKey('one');
  issuer = createServer((request, response) => {
    response.setHeader('content-type', 'application/json');
    const known = request.url === '/.well-known/openid-configuration';
    response.end(JSON.stringify(known ? { issuer: issuerUrl, jwks_uri: `${issuerUrl}/keys` } : jwks));
  });
  await new Promise<void>((resolve) => issuer.listen(0, '127.0.0.1', resolve));
  issuerUrl = `http://127.0.0.1:${(issuer.address() as { port: number }).port}`;
  writeFileSync(join(world.directory, 'hook.secret'), secret);
  const path = writeConfiguration(join(world.directory, 'server.yaml'), {
    gateway: { requestsPerMinute: 100_000 },
    authentication: {
      tokens: [
        ...[...holders.values()].map(({ entry }) => entry),
        { ...expired.entry, expires: '2020-01-01T00:00:00Z' },
      ],
      oidc: [
        {
          issuer: issuerUrl,
          audience: 'throughline',
          nameClaim: 'email',
          grants: [
            { claims: { groups: 'ml' }, roles: ['read', 'approve'] },
            { claims: { groups: 'ops' }, roles: ['admin'] },
          ],
        },
      ],
      webhooks: [{ name: 'forge', secretFile: 'hook.secret', grants: [{ roles: ['trigger'] }] }],
    },
  });
  gateway = await world.gateway({
    configuration: await readConfiguration(path),
    lineage: new StoreReader(store, undefined),
    store,
  });
  await gateway.listen({ host: '127.0.0.1', port: 0 });
});
afterAll(async () => {
  await gateway?.close();
  await store?.close();
  issuer?.close();
  await world?.stop();
});

interface Operation {
  readonly path: string;
  readonly method: 'get' | 'post';
  readonly role: Role;
}

const OPERATIONS: Operation[] = Object.entries(
  openApiDocument().paths as Record<string, Record<string, { security?: { bearer?: Role[] }[] }>>,
).flatMap(([path, methods]) =>
  Object.entries(methods).flatMap(([method, { security }]) => {
    const role = security?.[0]?.bearer?.[0];
    return role ? [{ path, method: method as 'get' | 'post', role }] : [];
  }),
);

/** A request for the operation, about something that there is or that there is not. */
function requestOf(
  { path, method }: Operation,
  there: boolean,
): { method: 'GET' | 'POST'; url: string; payload?: object } {
  const release = path.endsWith('/approve') || path.endsWith('/reject') ? waiting : done;
  const byLineage = /lineage|attestations|impact/.test(path);
  const id = byLineage ? (there ? doneImage : `sha256:${'0'.repeat(64)}`) : there ? release : UNKNOWN;
  const url = path.replace('{id}', encodeURIComponent(id));
  if (method === 'get') {
    const query = path === '/v1/lineage' ? `?environment=${there ? 'production' : 'nowhere'}` : '';
    return { method: 'GET', url: `${url}${query}` };
  }
  if (path === '/v1/releases') return { method: 'POST', url, payload: { repository: waitingUrl } };
  if (path === '/v1/releases/cancel')
    return { method: 'POST', url, payload: { idempotencyKey: there ? 'x' : 'y' } };
  const target = there
    ? { model: MODEL, environment: 'production' }
    : { model: 'nobody', environment: 'nowhere' };
  if (path === '/v1/rollbacks') return { method: 'POST', url, payload: target };
  if (path === '/v1/holds') return { method: 'POST', url, payload: { ...target, reason: 'x' } };
  return { method: 'POST', url, payload: {} };
}

const ask = (operation: Operation, there: boolean, headers: Record<string, string>) =>
  gateway.app.inject({ ...requestOf(operation, there), headers });

/** An answer without what was asked for in it. */
const blank = (text: string) =>
  text
    .replaceAll(/rel-[a-z2-7]{20}/g, 'ID')
    .replaceAll(/sha256:[0-9a-f]{64}/g, 'ID')
    .replaceAll(/production|nowhere/g, 'ENV')
    .replaceAll(/\b(?:seen|nobody)\b/g, 'MODEL');

/** What would change what the other tests ask for: asked last, by those who may. */
const CHANGES = /cancel|approve|reject|rollbacks|holds/;

describe('every route of the API', () => {
  it('says which role it takes; the document has them all', () => {
    expect(OPERATIONS.length).toBeGreaterThanOrEqual(14);
    expect(new Set(OPERATIONS.map(({ role }) => role))).toEqual(new Set(ROLES));
    const open = ['/healthz', '/readyz'];
    for (const [path, methods] of Object.entries(openApiDocument().paths as object)) {
      for (const { security } of Object.values(methods as Record<string, { security?: unknown }>))
        expect(security === undefined, path).toBe(open.includes(path));
    }
  });

  describe.each(OPERATIONS)('$method $path', (operation) => {
    it('is refused without credentials, and with wrong ones, in the same words', async () => {
      const answers = [];
      for (const there of [true, false]) {
        for (const headers of [
          {},
          { authorization: 'Bearer nonsense' },
          { authorization: 'Basic dXNlcjpwYXNz' },
          { authorization: 'Bearer ' },
          { authorization: bearer(expired).authorization },
          { authorization: `Bearer ${holderOf('admin', 'everything').token.slice(0, -1)}~` },
          { 'webhook-id': 'x', 'webhook-timestamp': '1', 'webhook-signature': 'v1,AAAA' },
        ] as Record<string, string>[]) {
          const answer = await ask(operation, there, headers);
          expect(answer.statusCode, JSON.stringify(headers)).toBe(401);
          expect(answer.headers['www-authenticate']).toBe('Bearer');
          answers.push(answer.body);
        }
      }
      expect(new Set(answers).size).toBe(1);
    });

    it.each(ROLES.filter((role) => role !== 'admin' && role !== operation.role))(
      'is refused to the role %s, whatever it is bound to, and does not tell whether the thing exists',
      async (role) => {
        for (const binding of Object.keys(BINDINGS)) {
          const headers = bearer(holderOf(role, binding));
          const [there, not] = [await ask(operation, true, headers), await ask(operation, false, headers)];
          expect(there.statusCode, binding).toBe(403);
          expect(there.json().error.code).toBe('TL_FORBIDDEN');
          expect(blank(there.body)).toBe(blank(not.body));
        }
      },
    );

    it.each(Object.entries(BINDINGS).filter(([, { covers }]) => !covers))(
      'with the role, bound to %s, answers as if there were no such thing',
      async (binding) => {
        if (operation.path === '/v1/releases' && operation.method === 'post') return; // below: the plan says the model
        const headers = bearer(holderOf(operation.role, binding));
        const [there, not] = [await ask(operation, true, headers), await ask(operation, false, headers)];
        expect(there.statusCode, there.body).toBe(not.statusCode);
        expect(blank(there.body)).toBe(blank(not.body));
        for (const hidden of [done, waiting, doneImage]) {
          const { url } = requestOf(operation, true);
          if (!decodeURIComponent(url).includes(hidden)) expect(there.body).not.toContain(hidden);
        }
      },
    );

    it.each(Object.entries(BINDINGS).filter(([, { covers }]) => covers))(
      'with the role, bound to %s, is granted',
      async (binding) => {
        if (CHANGES.test(operation.path)) return;
        // It tells of every model: only an administrator of all of them may read it.
        if (operation.path === '/v1/audit' && binding !== 'everything') {
          const answer = await ask(operation, true, bearer(holderOf('admin', binding)));
          expect([answer.statusCode, answer.json().error.code]).toEqual([403, 'TL_FORBIDDEN']);
          return;
        }
        for (const role of [operation.role, 'admin'] as const) {
          const answer = await ask(operation, true, bearer(holderOf(role, binding)));
          const expected = operation.method === 'post' ? 202 : 200;
          expect(answer.statusCode, answer.body).toBe(expected);
          const { url } = requestOf(operation, true);
          if (/releases$|impact|lineage\//.test(url) && operation.method === 'get')
            expect(answer.body).toContain(done);
        }
      },
    );
  });

  it('lets those hold and roll back who may', async () => {
    const post = (url: string, who: Holder, more: object = {}) => {
      const payload = { model: MODEL, environment: 'production', ...more };
      return gateway.app.inject({ method: 'POST', url, payload, headers: bearer(who) });
    };
    for (const held of [true, false]) {
      const who = holderOf('trigger', held ? 'the model' : 'the environment');
      const answer = await post('/v1/holds', who, { held, reason: 'by who may' });
      expect(answer.statusCode, answer.body).toBe(200);
      expect(answer.json()).toMatchObject({ held, model: MODEL });
    }
    // There is one release so far: they are told so, and others that there is nothing.
    const [mine, other] = await Promise.all(
      ['the model', 'another model'].map((binding) => post('/v1/rollbacks', holderOf('trigger', binding))),
    );
    expect(mine?.json().error.message).toContain('has run nothing else of seen');
    expect(other?.json().error.message).toContain('Nothing of seen is known');
  });

  it('lets those decide and cancel who may', async () => {
    const post = (url: string, who: Holder) =>
      gateway.app.inject({ method: 'POST', url, payload: {}, headers: bearer(who) });
    const approved = await post(`/v1/releases/${waiting}/approve`, holderOf('approve', 'the environment'));
    expect(approved.statusCode, approved.body).toBe(200);
    expect(approved.json()).toMatchObject({
      by: holderOf('approve', 'the environment').name,
      decision: 'approved',
    });
    expect((await world.ended(waiting)).status).toBe('SUCCEEDED');
    const canceled = await post(`/v1/releases/${done}/cancel`, holderOf('trigger', 'the model'));
    expect(canceled.json()).toEqual({ id: done, status: 'CANCELING' });
  });
});

describe('a trigger', () => {
  it.each([
    ['another model', /may not release seen/],
    ['another environment', /may not release seen to production/],
    ['the model elsewhere', /may not release seen to production/],
  ] as const)(
    'of somebody bound to %s ends before anything runs, and only they are told',
    async (binding, message) => {
      const runs = world.trainingRuns().length;
      const who = holderOf('trigger', binding);
      const answer = await gateway.app.inject({
        method: 'POST',
        url: '/v1/releases',
        payload: { repository: waitingUrl, idempotencyKey: `bound to ${binding}` },
        headers: bearer(who),
      });
      expect(answer.statusCode).toBe(202);
      const record = await world.ended(answer.json().id);
      expect(record.outcome).toMatchObject({
        status: 'FAILED',
        problem: { code: 'TL_NOT_ALLOWED', message: expect.stringMatching(message) },
      });
      expect(record.request.triggeredBy).toBe(who.name);
      expect(world.trainingRuns()).toHaveLength(runs);
      const other = await gateway.app.inject({
        url: `/v1/releases/${answer.json().id}`,
        headers: bearer(holderOf('read', 'the model')),
      });
      expect(other.statusCode).toBe(404);
    },
  );

  it('with a key that somebody else used is told nothing of theirs', async () => {
    const start = (who: Holder, key: string) =>
      gateway.app.inject({
        method: 'POST',
        url: '/v1/releases',
        payload: { repository: waitingUrl, idempotencyKey: key },
        headers: bearer(who),
      });
    const first = await start(holderOf('trigger', 'everything'), 'theirs');
    expect(first.statusCode).toBe(202);
    const second = await start(holderOf('trigger', 'another model'), 'theirs');
    expect([second.statusCode, second.json().error.code]).toEqual([409, 'TL_IDEMPOTENCY_KEY_REUSED']);
    await world.releases.cancel(first.json().id);
  });
});

describe('OpenID Connect', () => {
  const get = (token: string, url = `/v1/releases/${done}`) =>
    gateway.app.inject({ url, headers: { authorization: `Bearer ${token}` } });

  it('grants by claims, names people by theirs, and takes new keys', async () => {
    expect((await get(await jwt({ email: 'ann@example', groups: ['ml', 'x'] }))).statusCode).toBe(200);
    expect((await get(await jwt({ email: 'ann@example', groups: 'ops' }), '/v1/audit')).statusCode).toBe(200);
    await addKey('two');
    // Keys are fetched again for one that is new, though not at every question.
    for (let tries = 0; tries < 30; tries += 1) {
      const { statusCode } = await get(await jwt({ email: 'ann@example', groups: ['ml'] }, { kid: 'two' }));
      if (statusCode === 200) return;
      expect(statusCode).toBe(401);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    throw new Error('the new key is not taken');
  });

  it('refuses what is expired, for others, of others, unsigned, or nobody’s', async () => {
    const claims = { email: 'ann@example', groups: ['ops'] };
    const good = await jwt(claims);
    const [head = '', body = '', signature = ''] = good.split('.');
    const none = Buffer.from(JSON.stringify({ alg: 'none' })).toString('base64url');
    const hmac = Buffer.from(JSON.stringify({ alg: 'HS256', kid: 'one' })).toString('base64url');
    const other = Buffer.from(JSON.stringify({ ...claims, iss: issuerUrl, aud: 'throughline', exp: 9e9 }));
    for (const token of [
      await jwt(claims, { expires: '-5m' }),
      await jwt(claims, { audience: 'somebody-else' }),
      await jwt({ groups: ['ops'] }),
      await jwt({ email: 'a\nb', groups: ['ops'] }),
      `${none}.${body}.`,
      `${hmac}.${body}.${signature}`,
      `${head}.${other.toString('base64url')}.${signature}`,
      `${head}.${body}.${signature.slice(0, -2)}AA`,
      '..',
      'a.b.c',
    ]) {
      expect((await get(token)).statusCode, token).toBe(401);
    }
    expect((await get(await jwt({ email: 'ann@example', groups: ['nobody'] }))).statusCode).toBe(403);
  });
});

describe('a signed message', () => {
  const hook = new Webhook(secret);
  const send = (body: string, { id = 'msg_1', at = new Date(), signed = body, url = '/v1/releases' } = {}) =>
    gateway.app.inject({
      method: 'POST',
      url,
      payload: body,
      headers: {
        'content-type': 'application/json',
        'webhook-id': id,
        'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
        'webhook-signature': hook.sign(id, at, signed),
      },
    });

  it('starts a release, and sent again, starts nothing new', async () => {
    const body = JSON.stringify({ repository: waitingUrl });
    const first = await send(body, { id: 'msg_first' });
    expect(first.statusCode, first.body).toBe(202);
    const again = await send(body, { id: 'msg_first' });
    expect(again.json()).toMatchObject({ id: first.json().id, created: false });
    expect((await world.get(first.json().id)).request.triggeredBy).toBe('forge');
    await world.releases.cancel(first.json().id);
  });

  it('is refused where it is old, early, changed, signed for something else, or may not be signed', async () => {
    const body = JSON.stringify({ repository: waitingUrl });
    const minutes = (count: number) => new Date(Date.now() + count * 60_000);
    for (const [why, answer] of Object.entries({
      old: await send(body, { at: minutes(-6) }),
      early: await send(body, { at: minutes(6) }),
      changed: await send(body, { signed: `${body} ` }),
      elsewhere: await send('{}', { url: `/v1/releases/${waiting}/cancel` }),
      decides: await send('{}', { url: `/v1/releases/${waiting}/approve` }),
    })) {
      expect(answer.statusCode, why).toBe(401);
    }
    // A trigger’s message does not cancel, nor the other way round: each has what the other has not.
    expect((await send(body, { id: 'm', url: '/v1/releases/cancel' })).statusCode).toBe(400);
    expect((await send(JSON.stringify({ idempotencyKey: 'k' }), { id: 'm' })).statusCode).toBe(400);
  });
});

describe('the audit log', () => {
  it('has every accepted and every refused action, and cannot be changed', async () => {
    const administrator = bearer(holderOf('admin', 'everything'));
    const get = async (query: string) =>
      (await gateway.app.inject({ url: `/v1/audit${query}`, headers: administrator })).json() as {
        entries: {
          actor: string | null;
          action: string;
          outcome: string;
          release: string | null;
          code: string | null;
        }[];
        cursor?: string;
      };
    const { entries } = await get(`?release=${waiting}&outcome=accepted`);
    expect(entries).toMatchObject([
      {
        actor: holderOf('approve', 'the environment').name,
        action: 'approve',
        outcome: 'accepted',
        code: null,
      },
    ]);
    const refused = await get('?outcome=refused&limit=500');
    expect(new Set(refused.entries.map(({ code }) => code))).toContain('TL_FORBIDDEN');
    expect(refused.entries.some(({ actor, code }) => actor === null && code === 'TL_UNAUTHENTICATED')).toBe(
      true,
    );
    // Page by page it is the same.
    const paged: unknown[] = [];
    let cursor: string | undefined;
    do {
      const page = await get(`?outcome=accepted&limit=3${cursor ? `&cursor=${cursor}` : ''}`);
      paged.push(...page.entries);
      cursor = page.cursor;
    } while (cursor);
    expect(paged).toEqual((await get('?outcome=accepted&limit=500')).entries);

    const { database } = await store.open();
    for (const statement of ['update audit set actor = null', 'delete from audit', 'truncate audit']) {
      await expect(database.execute(statement), statement).rejects.toMatchObject({
        cause: { message: expect.stringContaining('append-only') },
      });
    }
  });
});

describe('a release that Temporal has forgotten', () => {
  it('is the same for its key, starts nothing new, and can still be looked at (I1, I8)', async () => {
    const body = { repository: world.model('forgotten').url, idempotencyKey: 'long ago' };
    const { release } = await world.ended((await world.trigger(body)).body.id);
    const lineage = await store.open();
    await lineage.put([lineageOf(await runsOf(world.client.client, release))]);
    await world.client.connection.workflowService.deleteWorkflowExecution({
      namespace: 'default',
      workflowExecution: { workflowId: release },
    });
    for (let waited = 0; await world.releases.knows(release); waited += 200) {
      expect(waited).toBeLessThan(90_000);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    const remembering = await world.gateway({
      releases: new ReleaseService({
        ...world.client,
        taskQueue: 'throughline',
        archive: (id) => archivedRelease(lineage.database, id),
      }),
    });
    const post = (payload: object) =>
      remembering.app.inject({ method: 'POST', url: '/v1/releases', payload });
    const again = await post(body);
    expect([again.statusCode, again.json().id, again.json().created]).toEqual([202, release, false]);
    expect((await post({ ...body, ref: 'other' })).json().error.code).toBe('TL_IDEMPOTENCY_KEY_REUSED');
    const found = (await remembering.app.inject(`/v1/releases/${release}`)).json();
    expect(found).toMatchObject({
      status: 'SUCCEEDED',
      model: 'forgotten',
      progress: expect.stringMatching(/^SUCCEEDED/),
    });
    expect(found.result).toMatchObject({
      imageDigest: expect.stringMatching(/^sha256:/),
      commit: found.commit,
    });
    expect(await world.releases.knows(release)).toBe(false);
    await remembering.close();
  });
});

describe('a caller', () => {
  it('is held to its rate, and told when it is taken again; others are not', async () => {
    const [one, other] = [holder('one', { roles: ['read'] }), holder('other', { roles: ['read'] })];
    const path = writeConfiguration(join(world.directory, 'rate.yaml'), {
      gateway: { requestsPerMinute: 20 },
      authentication: { tokens: [one.entry, other.entry] },
    });
    const limited = await world.gateway({ configuration: await readConfiguration(path) });
    const get = (who: Holder) => limited.app.inject({ url: `/v1/releases/${done}`, headers: bearer(who) });
    const statuses: number[] = [];
    for (let count = 0; count < 25; count += 1) statuses.push((await get(one)).statusCode);
    expect(statuses).toEqual([...Array(20).fill(200), ...Array(5).fill(429)]);
    const last = await get(one);
    expect(last.json().error.code).toBe('TL_RATE_LIMITED');
    expect(Number(last.headers['retry-after'])).toBeGreaterThan(0);
    expect((await get(other)).statusCode).toBe(200);
    // Guessing has its limit as well, and those who may are none the worse for it.
    const guess = () => limited.app.inject({ url: '/v1/releases', headers: { authorization: 'Bearer x' } });
    const guesses: number[] = [];
    for (let count = 0; count < 22; count += 1) guesses.push((await guess()).statusCode);
    expect(guesses).toEqual([...Array(20).fill(401), 429, 429]);
    expect((await get(other)).statusCode).toBe(200);
    expect((await limited.app.inject('/healthz')).statusCode).toBe(200);
    await limited.close();
  });

  it('gets answers with security headers, that tell no version and no directory', async () => {
    for (const [url, headers] of [
      ['/healthz', {}],
      ['/nothing/here', {}],
      ['/openapi.json', {}],
      [`/v1/releases/${done}`, bearer(holderOf('read', 'everything'))],
      ['/v1/releases?limit=x', bearer(holderOf('read', 'everything'))],
      ['/%E0%A4%A', {}],
    ] as const) {
      const answer = await gateway.app.inject({ url, headers });
      expect(answer.headers['x-content-type-options'], url).toBe('nosniff');
      expect(answer.headers['content-security-policy']).toMatch(/default-src 'none'/);
      expect(answer.headers['cache-control']).toBe('no-store');
      expect(answer.headers).not.toHaveProperty('server');
      expect(answer.headers).not.toHaveProperty('x-powered-by');
      const version = JSON.parse(readFileSync('package.json', 'utf8')).version;
      if (!url.startsWith('/v1/releases/')) expect(answer.body).not.toContain(version);
      expect(answer.body).not.toMatch(/node_modules|\/src\/|fastify|at \w+ \(/i);
    }
  });

  it('that is a page of another origin is refused where nobody is asked who they are', async () => {
    const open = await world.gateway();
    const url = await open.listen({ host: '127.0.0.1', port: 0 });
    const post = (headers: Record<string, string>) =>
      open.app.inject({
        method: 'POST',
        url: '/v1/releases',
        payload: '{}',
        headers: { 'content-type': 'text/plain', ...headers },
      });
    expect((await post({ origin: 'https://evil.example' })).statusCode).toBe(403);
    expect((await fetch(`${url}/v1/releases`)).status).toBe(200);
    // By a name of the attacker's own for this machine, and whatever such a page may add.
    const { port } = new URL(url);
    const rebound = await new Promise<number | undefined>((resolve) => {
      const headers = {
        host: `evil.example:${port}`,
        'x-forwarded-for': '10.0.0.1',
        origin: `http://evil.example:${port}`,
      };
      get({ port, host: '127.0.0.1', path: '/v1/releases', headers }, (answer) => resolve(answer.statusCode));
    });
    expect(rebound).toBe(403);
    await open.close();
  });
});
