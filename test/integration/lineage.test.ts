// Lineage of real releases: written while they run, found by every id, and made again from what Temporal still knows.
import { execFile } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DriftSummary } from '../../src/domain/drift.js';
import type { LineageAnswer } from '../../src/lineage/answer.js';
import { LineageStore, type StoreHandle, StoreReader } from '../../src/lineage/index.js';
import type { RunEvent } from '../../src/lineage/openlineage-event.js';
import { dump } from '../support/lineage.js';
import { Postgres } from '../support/postgres.js';
import { git, World } from '../support/world.js';

const run = promisify(execFile);
const CLI = fileURLToPath(new URL('../../bin/throughline.js', import.meta.url));
/** Releases during which the database is away, and for how long at least. `LINEAGE_AWAY=60 LINEAGE_RELEASES=20` for more. */
const RELEASES = Number(process.env.LINEAGE_RELEASES ?? 3);
const AWAY_SECONDS = Number(process.env.LINEAGE_AWAY ?? 5);

let world: World;
let postgres: Postgres;
let url: string;
let store: LineageStore;
let catalog: Catalog;
let reader: StoreReader;

beforeAll(async () => {
  postgres = await Postgres.start();
  url = await postgres.database('lineage');
  world = await World.start('lineage');
  catalog = await Catalog.start();
  await world.worker({
    THROUGHLINE_DATABASE_URL: url,
    OPENLINEAGE_URL: catalog.url,
    OPENLINEAGE_API_KEY: 'key',
    THROUGHLINE_GITOPS_SCAN: '2',
  });
  store = await LineageStore.open({ url });
  reader = new StoreReader({ open: async () => store, close: async () => {} } as StoreHandle, undefined);
});
afterAll(async () => {
  await store?.close();
  await world?.stop();
  await catalog?.stop();
  await postgres?.stop();
});

/** A data catalogue's endpoint: keeps what it takes. */
class Catalog {
  readonly events: RunEvent[] = [];
  /** How often it is away before it answers. */
  away = 0;
  refuses: (event: RunEvent) => boolean = () => false;
  readonly url: string;

  private constructor(private readonly server: Server) {
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  static async start(): Promise<Catalog> {
    const server = createServer(async (request, response) => {
      const body = JSON.parse(Buffer.concat(await request.toArray()).toString('utf8')) as RunEvent;
      catalog.away -= 1;
      const status =
        request.url !== '/api/v1/lineage' || request.headers.authorization !== 'Bearer key'
          ? 404
          : catalog.away >= 0
            ? 503
            : catalog.refuses(body)
              ? 422
              : 201;
      if (status === 201) catalog.events.push(body);
      response.writeHead(status).end('{}');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new Catalog(server);
  }

  of(release: string): string[] {
    return this.events
      .filter(({ run: { facets } }) => facets.throughline_release?.release === release)
      .map(({ eventType, job }) => `${eventType} ${job.name}`);
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

async function until<T>(look: () => Promise<T | undefined>, seconds = 60): Promise<T> {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const found = await look().catch(() => undefined);
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error('it did not come');
    await sleep(200);
  }
}

/** The answer when the release is there with this status. */
const recorded = (id: string, status: string, seconds?: number): Promise<LineageAnswer> =>
  until(async () => {
    const answer = await reader.find(id);
    return answer.releases[0]?.status === status ? answer : undefined;
  }, seconds);

/** Two releases of a model, the second one recorded. */
async function twice(name: string) {
  const model = world.model(name);
  const first = await world.release(model.url, 'SUCCEEDED');
  git(model.directory, 'commit', '--quiet', '--allow-empty', '--message', 'Again');
  const second = await world.release(model.url, 'SUCCEEDED');
  await recorded(second.release, 'SUCCEEDED');
  return { model, first, second };
}

const throughline = async (...words: string[]) => {
  const { stdout } = await run(process.execPath, [CLI, ...words], {
    env: world.environment({ THROUGHLINE_DATABASE_URL: url }),
  });
  return stdout;
};

describe('a release', () => {
  it('is found by what it consumed and made, as soon as it has ended', async () => {
    const model = world.model('tiny');
    const execution = { id: '01HXYZABCDEFGHJKMNPQRSTVWX', application: 'ml', name: 'release' };
    const record = await world.release(model.url, 'SUCCEEDED', { execution, stage: { id: 's', refId: '1' } });
    const { releases } = await recorded(record.release, 'SUCCEEDED');
    const [deployment] = record.deployments;
    expect(releases[0]).toMatchObject({
      release: record.release,
      model: 'tiny',
      commit: git(model.directory, 'rev-parse', 'HEAD').trim(),
      dataset: 'numbers@v1',
      parameters: { TICKS: '3', ACCURACY: '0.97' },
      metrics: { accuracy: 0.97 },
      training: { job: record.training?.job },
      modelId: record.training?.id,
      modelDigest: record.training?.digest,
      imageDigest: record.image?.digest,
      gitopsCommits: [deployment?.commit],
      deployments: [{ environment: 'production', commit: deployment?.commit, to: null }],
      traceId: record.traceId,
      execution: execution.id,
    });
    const { runId } = await world.client.client.workflow.getHandle(record.release).describe();
    for (const id of [
      record.traceId,
      record.traceparent,
      ...record.stages.map(({ spanId }) => spanId ?? ''),
      runId,
      execution.id,
      record.commit?.slice(0, 8) ?? '',
      deployment?.commit ?? '',
      record.training?.digest ?? '',
      record.training?.job ?? '',
      record.image?.reference ?? '',
      'numbers@v1',
    ]) {
      const found = await reader.find(id);
      expect(
        found.releases.map(({ release }) => release),
        id,
      ).toContain(record.release);
    }
  });

  it('is there while it runs, as far as it has come', async () => {
    const model = world.model('slow', { parameters: { TICKS: 150 } });
    const { body } = await world.trigger({ repository: model.url });
    const { releases } = await recorded(body.id, 'RUNNING');
    expect(releases[0]).toMatchObject({
      model: 'slow',
      modelDigest: null,
      imageDigest: null,
      deployments: [],
    });
    await world.ended(body.id);
    await recorded(body.id, 'SUCCEEDED');
  });

  it('is there when it was rejected, failed, or was ended from outside', async () => {
    const rejected = await world.release(
      world.model('bad', { parameters: { ACCURACY: 0.1 } }).url,
      'REJECTED',
    );
    expect((await recorded(rejected.release, 'REJECTED')).releases[0]).toMatchObject({
      modelDigest: rejected.training?.digest,
      imageDigest: null,
    });
    const failed = await world.release(world.model('broken', { train: 'exit 1\n' }).url, 'FAILED');
    await recorded(failed.release, 'FAILED');
    const { body } = await world.trigger({
      repository: world.model('ended', { parameters: { TICKS: 300 } }).url,
    });
    await world.until(body.id, ({ stages }) => stages.at(-1)?.name === 'train');
    await world.client.client.workflow.getHandle(body.id).terminate('enough');
    await recorded(body.id, 'FAILED');
  });

  it('ends the window of the one before it', async () => {
    const { first, second } = await twice('twice');
    const [before] = (await recorded(first.release, 'SUCCEEDED')).releases;
    const [after] = (await reader.find(second.release)).releases;
    expect(before?.deployments[0]?.to).toBe(after?.deployments[0]?.from);
    expect(after?.deployments[0]?.to).toBeNull();
    const answer = await reader.impact('numbers@v1');
    expect(answer.serving.map(({ release }) => release)).toContain(second.release);
    expect(answer.serving.map(({ release }) => release)).not.toContain(first.release);
  });
});

describe('a release that somebody takes back by hand', () => {
  /** A clone of the GitOps repository, to do with as a person does. */
  const clone = (gitops: string, name: string) => {
    const directory = join(world.directory, name);
    git(world.directory, 'clone', '--quiet', gitops, directory);
    return directory;
  };
  const windows = async (id: string) => (await reader.find(id)).releases[0]?.deployments ?? [];

  it('ends its window, and opens another one of the release before it', async () => {
    const { model, first, second } = await twice('reverted');
    const hands = clone(model.gitops, 'hands');
    await sleep(1_000 - (Date.now() % 1_000)); // git's dates are whole seconds
    git(hands, 'revert', '--no-edit', 'HEAD');
    git(hands, 'push', '--quiet');
    const revert = git(hands, 'rev-parse', 'HEAD').trim();
    const at = new Date(git(hands, 'show', '--no-patch', '--format=%cI').trim()).toISOString();
    const [, back] = await until(async () => {
      const found = await windows(first.release);
      return found.length > 1 ? found : undefined;
    });
    expect(back).toEqual({
      environment: 'production',
      repository: `file://${model.gitops}`,
      manifest: 'k8s/deployment.yaml',
      commit: revert,
      from: at,
      to: null,
      rollback: true,
    });
    expect(await windows(second.release)).toMatchObject([{ to: at }]);
    expect((await reader.impact(`model:${second.training?.digest}`)).serving).toEqual([]);
    expect((await reader.find(revert)).releases.map(({ release }) => release)).toEqual([first.release]);

    // The later one again, by a commit that has the trailers of the release's own.
    git(hands, 'cherry-pick', second.deployments[0]?.commit ?? '');
    git(hands, 'push', '--quiet');
    const forth = await until(async () => (await windows(second.release))[1]);
    expect(forth).toMatchObject({ rollback: true, to: null });
    expect((await windows(first.release))[1]?.to).toBe(forth.from);
  });
});

describe('the commands', () => {
  it('print the chain, and as JSON what the contract says', async () => {
    const [{ release, traceId } = { release: '', traceId: '' }] = (await reader.find('model:twice')).releases;
    const text = await throughline('lineage', traceId);
    expect(text).toContain(release);
    expect(text).toContain('numbers@v1');
    const answer = JSON.parse(await throughline('lineage', traceId, '--json')) as LineageAnswer;
    expect(answer).toMatchObject({ query: traceId, matches: [{ kind: 'trace', id: traceId }] });
    expect(answer.releases[0]).toMatchObject({ release, traceId, gitopsCommits: [expect.any(String)] });
    expect(await throughline('lineage', release, '--dot')).toMatch(/^digraph lineage \{/);
    expect(await throughline('lineage', release, '--mermaid')).toMatch(/^flowchart LR/);
    expect(await throughline('impact', 'dataset:numbers@v1')).toContain('serving now');
    expect(await throughline('lineage', '--environment', 'production')).toContain(release);
  });

  it('say what to do about an id that nobody knows', async () => {
    await expect(throughline('lineage', 'deadbeef')).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/TL_LINEAGE_UNKNOWN[\s\S]*a source commit/),
    });
    await expect(throughline('lineage', '--environment', 'nowhere')).rejects.toMatchObject({
      stderr: expect.stringContaining('one of: production'),
    });
    await expect(throughline('lineage')).rejects.toMatchObject({ code: 2 });
  });
});

describe('drift', () => {
  const check = async (model: string) => {
    const words = ['drift', 'check', '--settle', '1', '--json'];
    const ended = await run(process.execPath, [CLI, ...words], { env: world.environment({}) }).catch(
      (error: { code: number; stdout: string }) => error,
    );
    const { drifted } = JSON.parse(ended.stdout) as DriftSummary;
    return {
      code: 'code' in ended ? ended.code : 0,
      drifts: drifted.find((one) => one.model === model)?.drifts.map(({ what }) => what) ?? [],
    };
  };

  it('is what somebody has changed of a release, until it is taken back', async () => {
    const model = world.model('drifting');
    const { release } = await world.release(model.url, 'SUCCEEDED');
    await recorded(release, 'SUCCEEDED');
    expect((await check('drifting')).drifts).toEqual([]);

    const change = (edit: (manifest: string) => string) => {
      const checkout = join(world.directory, `drifting-${Date.now()}`);
      git(world.directory, 'clone', '--quiet', model.gitops, checkout);
      const file = join(checkout, 'k8s/deployment.yaml');
      writeFileSync(file, edit(readFileSync(file, 'utf8')));
      git(checkout, 'commit', '--quiet', '--all', '--message', 'By hand');
      git(checkout, 'push', '--quiet', 'origin', 'HEAD:main');
    };
    change((manifest) => manifest.replace(/(ml\.dataset\.version: ).*/, '$1v9'));
    expect(await check('drifting')).toEqual({ code: 1, drifts: ['annotation'] });
    const { targets } = await reader.drift('production');
    expect(targets.find((target) => target.model === 'drifting')).toMatchObject({
      release,
      since: expect.any(String),
      drifts: [{ what: 'annotation', found: 'v9', expected: 'v1' }],
      unchecked: [expect.stringContaining('the cluster'), expect.stringContaining('attestations')],
    });
    expect(await throughline('drift', '--json').catch(({ stdout }) => stdout)).toContain('v9');

    change((manifest) => manifest.replace(/(ml\.dataset\.version: ).*/, '$1v1'));
    expect((await check('drifting')).drifts).toEqual([]);

    change((manifest) => manifest.replace(/@sha256:[0-9a-f]{64}/, `@sha256:${'f'.repeat(64)}`));
    expect((await check('drifting')).drifts).toContain('image'); // whether it is known already as nobody's, or not
  });

  it('is looked for on a schedule', async () => {
    const { schedule } = world.client.client;
    const { action, spec } = await schedule.getHandle('throughline-drift').describe();
    expect(action).toMatchObject({ workflowType: 'checkDrift' });
    expect(spec.intervals).toMatchObject([{ every: 900_000 }]);
  });
});

describe('a data catalogue', () => {
  const told = (release: string, count: number) =>
    until(async () => (catalog.of(release).length >= count ? catalog.of(release) : undefined));
  const whole = (name: string) => [
    `START ${name}`,
    ...['train', 'build', 'deploy.production'].flatMap((job) => [
      `START ${name}.${job}`,
      `COMPLETE ${name}.${job}`,
    ]),
    `COMPLETE ${name}`,
  ];

  it('is told of everything, in its order and once, though it was away', async () => {
    catalog.away = 2;
    const { release } = await world.release(world.model('catalogued').url, 'SUCCEEDED');
    expect(await told(release, 8)).toEqual(whole('catalogued'));
    const [parent, train] = catalog.events.filter(
      ({ run: { facets } }) => facets.throughline_release?.release === release,
    );
    expect(train?.run.facets.parent).toMatchObject({ run: { runId: parent?.run.runId } });
    expect(train?.inputs).toMatchObject([{ name: 'numbers', facets: { version: { datasetVersion: 'v1' } } }]);
  });

  it('is told of the rest where it refuses an event', async () => {
    catalog.refuses = ({ eventType, job }) => eventType === 'START' && job.name === 'refused.build';
    const { release } = await world.release(world.model('refused').url, 'SUCCEEDED');
    expect(await told(release, 7)).toEqual(
      whole('refused').filter((event) => event !== 'START refused.build'),
    );
  });

  it('is told how it ended otherwise', async () => {
    const { release } = await world.release(
      world.model('unfit', { parameters: { ACCURACY: 0.1 } }).url,
      'REJECTED',
    );
    expect(await told(release, 4)).toEqual([
      'START unfit',
      'START unfit.train',
      'COMPLETE unfit.train',
      'FAIL unfit',
    ]);
  });
});

describe('a database that is away', () => {
  it('delays no release, and has all of them afterwards', { timeout: 600_000 }, async () => {
    await postgres.kill();
    const begun = Date.now();
    const ids: string[] = [];
    for (let number = 0; number < RELEASES; number += 1) {
      ids.push((await world.release(world.model(`away-${number}`).url, 'SUCCEEDED')).release);
    }
    await sleep(Math.max(0, AWAY_SECONDS * 1000 - (Date.now() - begun)));
    await postgres.run();
    for (const id of ids) await recorded(id, 'SUCCEEDED', 90);
  });
});

describe('a store that was lost', () => {
  it('is made again, row by row the same', async () => {
    await until(async () => {
      const late = (await store.targets()).filter(
        ({ repository, scanned }) =>
          git(repository.replace('file://', ''), 'rev-parse', 'main').trim() !== scanned,
      );
      return late.length === 0 || undefined;
    });
    const again = await postgres.database('again');
    await throughline('lineage', 'rebuild', '--database', again);
    const rebuilt = await LineageStore.open({ url: again });
    const [before, after] = [await dump(store), await dump(rebuilt)];
    await rebuilt.close();
    expect(after).toEqual(before);
    expect(after.releases?.length).toBeGreaterThan(5);
  });

  it('and what Temporal has forgotten stays', async () => {
    const [known] = (await reader.find('model:twice')).releases;
    if (!known) throw new Error('no release');
    const { client } = world.client;
    await client.workflowService.deleteWorkflowExecution({
      namespace: 'default',
      workflowExecution: { workflowId: known.release },
    });
    await until(async () =>
      client.workflow
        .getHandle(known.release)
        .describe()
        .then(
          () => undefined,
          () => true,
        ),
    );
    // Jobs, models, images; the worker may be writing to its mirrors meanwhile.
    await until(async () => {
      try {
        rmSync(world.data, { recursive: true, force: true });
        return true;
      } catch {
        return undefined;
      }
    });
    await throughline('lineage', 'rebuild');
    expect((await reader.find(known.traceId)).releases[0]).toEqual(known);
  });
});
