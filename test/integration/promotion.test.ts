// Environments in order: a release goes from one to the next when that has been approved and checked, and where it is no
// good it is taken back, and goes no further.
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OtlpReceiver, startOtlpReceiver } from '../../src/dev/otlp-receiver.js';
import { LineageStore, lineageOf, lineageText, StoreHandle, StoreReader } from '../../src/lineage/index.js';
import { runsOf } from '../../src/telemetry/delivery.js';
import { fileOf, releasesOn } from '../support/gitops.js';
import { MANIFEST, remote, World } from '../support/world.js';

const PATH = 'k8s/deployment.yaml';

let world: World;
let server: Server;
let collector: OtlpReceiver;
let url: string;
/** How many of the served model's answers are right, as a check asks for it. */
let right = 1;

beforeAll(async () => {
  server = createServer((_request, response) => response.end(JSON.stringify({ right })));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  collector = await startOtlpReceiver();
  world = await World.start('promotion');
  await world.instantWorker({
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
    OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
  });
});
afterAll(async () => {
  await world?.stop();
  collector?.stop();
  server?.closeAllConnections();
  server?.close();
});

/** Staging with a check, and production behind an approval, each in a repository of its own. */
function model(name: string): { url: string; staging: string; production: string } {
  const staging = join(world.directory, `${name}-staging.git`);
  const check = {
    name: 'answers',
    http: {
      url: `${url}/quality`,
      expect: { body: { json: { right: { atLeast: 0.9 } } } },
      ...{ interval: '100ms', timeout: '2s' },
    },
  };
  const first = `  - environment: staging
    repository: ${remote(staging, { [PATH]: MANIFEST })}
    manifest: ${PATH}
    container: inference
    rollback: automatic
    verify: ${JSON.stringify([check])}
`;
  const { url: repository, gitops } = world.model(name, {
    plan: (text) =>
      text
        .replace('deploy:\n', `deploy:\n${first}`)
        .replace(/container: inference\n$/, '$&    approval: required\n'),
  });
  return { url: repository, staging, production: gitops };
}

describe('production behind staging, a check and an approval', () => {
  it('is reached when both say so; where the check fails, staging is rolled back and production untouched', async () => {
    const { url: repository, staging, production } = model('promoted');
    right = 1;
    const good = (await world.trigger({ repository })).body.id;
    await world.until(good, ({ stages }) => stages.at(-1)?.name === 'approve production');
    expect([releasesOn(staging), releasesOn(production)]).toEqual([[good], []]);
    await world.releases.decide(good, { decision: 'approved', by: 'bob' });
    expect((await world.ended(good)).status).toBe('SUCCEEDED');
    const before = [fileOf(staging, PATH), fileOf(production, PATH)];

    right = 0.4;
    const { body } = await world.trigger({ repository });
    const bad = await world.ended(body.id);
    expect(bad.outcome).toMatchObject({ status: 'FAILED', problem: { code: 'TL_VERIFICATION_FAILED' } });
    expect(bad.stages.map(({ name, status }) => `${name} ${status}`).slice(-3)).toEqual([
      'deploy staging SUCCEEDED',
      'verify staging FAILED',
      'roll back staging SUCCEEDED',
    ]);
    expect([fileOf(staging, PATH), fileOf(production, PATH)]).toEqual(before);
    expect(releasesOn(production)).toEqual([good]);
    expect(bad.deployments).toMatchObject([
      { environment: 'staging', rolledBack: { reason: expect.stringContaining('TL_VERIFICATION_FAILED') } },
    ]);

    // The trace says why.
    const spans = () => collector.spans.filter(({ traceId }) => traceId === bad.traceId);
    for (let waited = 0; !spans().some(({ name }) => name === 'RUN promoted') && waited < 200; waited += 1)
      await sleep(100);
    const named = (name: string) => spans().find((span) => span.name === name);
    expect(named('verify staging')?.attributes).toMatchObject({ 'error.type': 'TL_VERIFICATION_FAILED' });
    expect(named('roll back staging')?.attributes['deployment.environment.name']).toBe('staging');
    expect(named('approve production')).toBeUndefined();

    // And so does the lineage.
    const directory = join(world.directory, 'lineage');
    const store = await LineageStore.open({ directory });
    await store.put([lineageOf(await runsOf(world.client.client, bad.release))]);
    await store.close();
    const handle = new StoreHandle({ directory });
    const text = lineageText(await new StoreReader(handle, undefined).find(bad.traceId));
    await handle.close();
    expect(text).toContain('TL_VERIFICATION_FAILED');
    expect(text).not.toContain('production ');
  });

  it('I4: is not reached by an older release, once it runs a newer one', async () => {
    const { url: repository, production } = model('overtaken');
    right = 1;
    const older = (await world.trigger({ repository })).body.id;
    await world.until(older, ({ stages }) => stages.at(-1)?.name === 'approve production');
    const newer = (await world.trigger({ repository })).body.id;
    await world.until(newer, ({ stages }) => stages.at(-1)?.name === 'approve production');
    await world.releases.decide(newer, { decision: 'approved', by: 'bob' });
    expect((await world.ended(newer)).status).toBe('SUCCEEDED');
    await world.releases.decide(older, { decision: 'approved', by: 'bob' });
    expect((await world.ended(older)).status).toBe('SUPERSEDED');
    expect(releasesOn(production)).toEqual([newer]);
  });
});
