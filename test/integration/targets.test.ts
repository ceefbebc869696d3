// What somebody does to a target: a rollback by command, a hold, and what a release says that comes upon one.
import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OtlpReceiver, startOtlpReceiver } from '../../src/dev/otlp-receiver.js';
import type { PresentedRelease } from '../../src/gateway/present.js';
import { fileOf, releasesOn } from '../support/gitops.js';
import { git, World } from '../support/world.js';

const CLI = fileURLToPath(new URL('../../bin/throughline.js', import.meta.url));
const MANIFEST_PATH = 'k8s/deployment.yaml';

let world: World;
let collector: OtlpReceiver;
beforeAll(async () => {
  collector = await startOtlpReceiver();
  world = await World.start('targets');
  await world.instantWorker({
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
    OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
  });
});
afterAll(async () => {
  await world?.stop();
  collector?.stop();
});

async function throughline(
  ...parameters: string[]
): Promise<{ stdout: string; stderr: string; code: number }> {
  const env = { ...world.environment(), TEMPORAL_ADDRESS: world.temporalAddress };
  return promisify(execFile)(process.execPath, [CLI, ...parameters], { env }).then(
    ({ stdout, stderr }) => ({ stdout, stderr, code: 0 }),
    (error: { stdout: string; stderr: string; code: number }) => error,
  );
}

async function post(path: string, body: unknown, headers: Record<string, string> = {}) {
  const response = await fetch(`${world.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
  return {
    status: response.status,
    body: (await response.json()) as Record<string, unknown> & { id: string },
  };
}

/** Two releases of a model, one after the other. */
async function twice(
  name: string,
): Promise<{ gitops: string; url: string; first: PresentedRelease; second: PresentedRelease }> {
  const { url, gitops } = world.model(name);
  const first = await world.release(url, 'SUCCEEDED');
  const second = await world.release(url, 'SUCCEEDED');
  return { gitops, url, first, second };
}

describe('a rollback', () => {
  it('by command brings back what ran before, with a release, a trace and a commit of its own', async () => {
    const { gitops, first, second } = await twice('back');
    const before = fileOf(gitops, MANIFEST_PATH, `${second.result.gitopsCommit}~1`);
    const { stdout, stderr, code } = await throughline(
      ...['rollback', 'back', '--environment', 'production', '--reason', 'sees cats', '--wait', '--json'],
    );
    expect(stderr).toContain(`${second.release} back to ${first.release}`);
    expect(code).toBe(0);
    const record = JSON.parse(stdout) as PresentedRelease;
    expect(record).toMatchObject({
      status: 'SUCCEEDED',
      rollback: { from: { release: second.release }, to: { release: first.release }, reason: 'sees cats' },
      image: first.image,
      training: { digest: first.training?.digest },
    });
    expect(record.stages.map(({ name }) => name)).toEqual(['plan', 'deploy production']);
    expect(fileOf(gitops, MANIFEST_PATH)).toBe(before); // the pods say again what they are
    const message = git(gitops, 'log', '-1', '--format=%B', 'main');
    expect(message).toContain(`Release-Id: ${record.release}`);
    expect(message).toContain(`Rolls-Back-To: ${first.release}`);
    expect(message).toContain('Reason: sees cats');
    const root = () =>
      collector.spans.find((one) => one.traceId === record.traceId && one.name === 'RUN back');
    for (let waited = 0; !root() && waited < 200; waited += 1) await sleep(100);
    expect(root()?.links.map(({ traceId }) => traceId)).toEqual([first.traceId, second.traceId]);
  });

  it('over the gateway is one release a key, also when it is asked for again afterwards', async () => {
    const { gitops, first } = await twice('again');
    const ask = () =>
      post(
        '/v1/rollbacks',
        { model: 'again', environment: 'production' },
        { 'idempotency-key': 'incident-7' },
      );
    const [one, two] = await Promise.all([ask(), ask()]);
    expect([one.status, two.status, two.body.id]).toEqual([202, 202, one.body.id]);
    await world.ended(one.body.id);
    const three = await ask();
    expect(three.body).toMatchObject({ id: one.body.id, created: false });
    expect(fileOf(gitops, MANIFEST_PATH)).toContain(first.image?.digest);
    expect(releasesOn(gitops)).toHaveLength(3);
  });

  it('of a rollback goes further back, and to a release by name', async () => {
    const { gitops, url, first, second } = await twice('further');
    const third = await world.release(url, 'SUCCEEDED');
    const target = { model: 'further', environment: 'production' };
    const back = async (more: object) =>
      world.ended((await post('/v1/rollbacks', { ...target, ...more })).body.id);
    expect((await back({})).rollback?.to.release).toBe(second.release);
    expect((await back({})).rollback?.to.release).toBe(first.release);
    const named = await back({ to: third.release });
    expect(named.rollback).toMatchObject({ to: { release: third.release } });
    expect(fileOf(gitops, MANIFEST_PATH)).toContain(third.image?.digest);
  });

  it('is refused where there is nothing to go back to, before anything runs', async () => {
    const { url } = world.model('only');
    const only = await world.release(url, 'SUCCEEDED');
    const { release: other } = await world.release(world.model('other').url, 'SUCCEEDED');
    const target = { model: 'only', environment: 'production' };
    for (const body of [
      target,
      { ...target, environment: 'nowhere' },
      { ...target, model: 'nobody' },
      { ...target, to: other },
    ]) {
      const { status, body: answer } = await post('/v1/rollbacks', body);
      expect({ status, answer }).toMatchObject({
        status: 409,
        answer: { error: { code: 'TL_ROLLBACK_IMPOSSIBLE' } },
      });
    }
    expect((await post('/v1/rollbacks', { ...target, to: 'rel-aaaaaaaaaaaaaaaaaaaa' })).status).toBe(404);
    expect((await post('/v1/rollbacks', { ...target, too: 'much' })).status).toBe(400);
    expect(only.status).toBe('SUCCEEDED');
  });
});

describe('a hold', () => {
  it('keeps releases away with its reason, before they train anything, until it is lifted', async () => {
    const { url, gitops } = world.model('held');
    await world.release(url, 'SUCCEEDED');
    const held = await throughline(
      'hold',
      'held',
      '--environment',
      'production',
      '--reason',
      'audit on Friday',
    );
    expect(held.stdout).toContain('held in production is held: GitOps commit');
    expect(fileOf(gitops, MANIFEST_PATH)).toMatch(/throughline.dev\/hold\W+audit on Friday/);
    const refused = await world.release(url, 'REJECTED');
    expect(refused.outcome).toMatchObject({
      problem: { code: 'TL_TARGET_HELD', message: expect.stringContaining('audit on Friday') },
    });
    expect(refused.stages.map(({ name }) => name)).toEqual(['plan']);
    const lifted = await post('/v1/holds', {
      ...{ model: 'held', environment: 'production', held: false, reason: 'audit passed' },
    });
    expect(lifted).toMatchObject({ status: 200, body: { held: false } });
    await world.release(url, 'SUCCEEDED');
    const target = { model: 'held', environment: 'production' };
    expect(await post('/v1/holds', target)).toMatchObject({ status: 400 }); // for no reason
    // The words of the refusal: lifting takes none.
    await throughline('hold', 'held', '--environment', 'production', '--reason', 'again');
    const free = await throughline('unhold', 'held', '--environment', 'production');
    expect(free.stdout).toContain('held no longer');
    await world.release(url, 'SUCCEEDED');
    const log = git(gitops, 'log', '--format=%s', 'main').split('\n');
    expect(log.filter((subject) => /^(?:Hold|Let)/.test(subject))).toEqual([
      'Let releases into held in production',
      'Hold held in production',
      'Let releases into held in production',
      'Hold held in production',
    ]);
  });

  it('that comes while a release trains stops it at the door', async () => {
    const { url, gitops } = world.model('late', { parameters: { TICKS: 40 } });
    await world.release(url, 'SUCCEEDED');
    const { body } = await world.trigger({ repository: url });
    await world.until(body.id, ({ stages }) => stages.at(-1)?.name === 'train');
    await post('/v1/holds', { model: 'late', environment: 'production', reason: 'not today' });
    expect((await world.ended(body.id)).outcome).toMatchObject({
      status: 'REJECTED',
      problem: { code: 'TL_TARGET_HELD' },
    });
    expect(releasesOn(gitops)).toHaveLength(1);
  });

  it('of what is not deployed is refused', async () => {
    const { status, body } = await post('/v1/holds', { model: 'x', environment: 'y', reason: 'z' });
    expect({ status, body }).toMatchObject({
      status: 409,
      body: { error: { code: 'TL_ROLLBACK_IMPOSSIBLE' } },
    });
  });
});
