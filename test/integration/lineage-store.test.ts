// The lineage store, over both databases: what goes in is found again by every id, in whatever order it came.
import { rmSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { expectedStates, putDrift } from '../../src/lineage/drift.js';
import { LineageStore, StoreHandle, StoreReader } from '../../src/lineage/index.js';
import { type LineageRecord, lineageOf } from '../../src/lineage/record.js';
import { another, dump, keptHistories, keptRun } from '../support/lineage.js';
import { Postgres } from '../support/postgres.js';
import { random } from '../support/random.js';
import { temporaryDirectory } from '../support/world.js';

const whole = lineageOf([keptRun('0.1.0/kubernetes-succeeded.json')]);
const { release } = whole;
const [deployment] = whole.deployments;
const digest = (letter: string) => `sha256:${letter.repeat(64)}`;
const commit = (letter: string) => letter.repeat(40);

let postgres: Postgres;
beforeAll(async () => {
  postgres = await Postgres.start();
});
const directories: string[] = [];
afterAll(async () => {
  await postgres?.stop();
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

let databases = 0;
const nextName = () => {
  databases += 1;
  return `store-${databases}`;
};
const engines = {
  embedded: async () => {
    const directory = temporaryDirectory('lineage');
    directories.push(directory);
    return { directory };
  },
  PostgreSQL: async () => ({ url: await postgres.database(nextName()) }),
};

describe.each(Object.keys(engines) as (keyof typeof engines)[])('%s', (engine) => {
  let store: LineageStore;
  let reader: StoreReader;
  beforeAll(async () => {
    store = await LineageStore.open(await engines[engine]());
    reader = new StoreReader({ open: async () => store, close: async () => {} } as StoreHandle, undefined);
  });
  afterAll(() => store?.close());
  beforeEach(() => store.clear());

  const found = async (id: string) => (await reader.find(id)).releases.map((one) => one.release);

  it('finds a release by every id that anybody could have in hand', async () => {
    await store.put([whole]);
    const [training] = whole.pods.filter(({ environment }) => environment === '');
    const [serving] = whole.pods.filter(({ environment }) => environment !== '');
    const span = release.ids.find((id) => /^[0-9a-f]{16}$/.test(id));
    const ids: Record<string, string> = {
      release: release.id,
      trace: release.traceId,
      traceparent: release.traceparent,
      'traceparent of a span': `00-${release.traceId}-${span}-01`,
      span: span ?? '',
      run: release.ids.find((id) => id.length === 36) ?? '',
      commit: release.commit ?? '',
      'commit, abbreviated': release.commit?.slice(0, 7) ?? '',
      'commit, in capitals': release.commit?.toUpperCase() ?? '',
      'GitOps commit': deployment?.commit ?? '',
      'GitOps commit, abbreviated': deployment?.commit.slice(0, 9) ?? '',
      dataset: `${release.datasetName}@${release.datasetVersion}`,
      'dataset’s digest': `dataset:${digest('d')}`,
      Job: `${release.jobNamespace}/${release.job}`,
      'Job without its namespace': release.job ?? '',
      'model id': release.modelId ?? '',
      'model digest': release.modelDigest ?? '',
      'model name': release.model ?? '',
      image: `${release.image}@${release.imageDigest}`,
      'image without digest': release.image ?? '',
      'image without tag': release.imageRepository ?? '',
      'image digest': release.imageDigest ?? '',
      'trainer’s image': release.trainerImage ?? '',
      'base image': digest('9'),
      'training pod': training?.name ?? '',
      'training pod, with namespace': `${training?.namespace}/${training?.name}`,
      'training pod that was never seen': `${release.job}-zzzzz`,
      'serving pod': serving?.name ?? '',
      'serving pod that came later': serving?.name.replace(/[a-z0-9]{5}$/, 'zzzzz') ?? '',
      execution: '0123456789ABCDEF0123456789', // as upper-case as a commit is not
    };
    await store.put([
      {
        ...whole,
        release: {
          ...release,
          execution: ids.execution,
          datasetDigest: digest('d'),
          ids: [...release.ids, digest('9')],
        },
      },
      another(whole, {
        id: 'rel-bbbbbbbbbbbbbbbbbbbb',
        digest: digest('b'),
        commit: commit('b'),
        model: 'other',
      }),
    ]);
    for (const [what, id] of Object.entries(ids)) {
      expect(id, what).not.toBe('');
      const answer = await reader.find(id);
      expect(
        answer.releases.map((one) => one.release),
        `${what} ${id}`,
      ).toContain(release.id);
      expect(answer.matches.length, what).toBeGreaterThan(0);
    }
  });

  it('answers with the whole chain', async () => {
    await store.put([whole]);
    const { releases, matches, query, more } = await reader.find(release.traceId);
    expect({ query, matches, more }).toEqual({
      query: release.traceId,
      matches: [{ kind: 'trace', id: release.traceId }],
      more: false,
    });
    expect(releases).toHaveLength(1);
    expect(releases[0]).toMatchObject({
      release: release.id,
      model: release.model,
      commit: release.commit,
      dataset: `${release.datasetName}@${release.datasetVersion}`,
      training: { job: `${release.jobNamespace}/${release.job}`, image: release.trainerImage },
      modelDigest: release.modelDigest,
      imageDigest: release.imageDigest,
      gitopsCommits: [deployment?.commit],
      deployments: [{ environment: 'production', from: deployment?.servedFrom?.toISOString(), to: null }],
      traceId: release.traceId,
    });
  });

  it('says what an unknown id could have been', async () => {
    await store.put([whole]);
    for (const id of [
      'deadbeef',
      'rel-zzzzzzzzzzzzzzzzzzzz',
      'no such thing',
      "'; drop table releases; --",
      '\0',
      '%',
    ])
      await expect(reader.find(id), id).rejects.toMatchObject({ code: 'TL_LINEAGE_UNKNOWN' });
    await expect(reader.find('deadbeef')).rejects.toThrow(/deadbeef/);
    await expect(reader.servedAt('no-such-environment', new Date())).rejects.toMatchObject({
      code: 'TL_LINEAGE_UNKNOWN',
      problem: { expected: 'one of: production' },
    });
  });

  it('names every commit that an abbreviated one could be', async () => {
    const one = { ...whole, release: { ...release, commit: `abcdef1${'0'.repeat(33)}` } };
    const two = another(whole, { id: 'rel-bbbbbbbbbbbbbbbbbbbb', digest: digest('b'), commit: commit('b') });
    const second = { ...two, release: { ...two.release, commit: `abcdef1${'f'.repeat(33)}` } };
    await store.put([one, second]);
    const { matches } = await reader.find('abcdef1');
    expect(matches.map(({ id }) => id).sort()).toEqual([one.release.commit, second.release.commit].sort());
    expect((await reader.find('abcdef1f')).matches).toHaveLength(1);
  });

  it('tells what was served when, by what was rolled out', async () => {
    const at = (hour: number) => `2026-03-01T${String(hour).padStart(2, '0')}:00:00.000Z`;
    const made = ['b', 'c', 'd'].map((letter, index) =>
      another(whole, {
        id: `rel-${letter.repeat(20)}`,
        digest: digest(letter),
        commit: commit(letter),
        servedFrom: letter === 'c' ? undefined : at(10 + index), // c was committed, and never rolled out
      }),
    );
    const elsewhere = another(whole, {
      id: `rel-${'e'.repeat(20)}`,
      digest: digest('e'),
      commit: commit('e'),
      servedFrom: at(11),
      environment: 'staging',
    });
    await store.put([...made, elsewhere]);
    const served = async (hour: number, environment = 'production') =>
      (await reader.servedAt(environment, new Date(at(hour)))).releases.map((one) => one.release);
    expect(await served(9)).toEqual([]);
    expect(await served(10)).toEqual([`rel-${'b'.repeat(20)}`]);
    expect(await served(11)).toEqual([`rel-${'b'.repeat(20)}`]);
    expect(await served(12)).toEqual([`rel-${'d'.repeat(20)}`]);
    expect(await served(12, 'staging')).toEqual([`rel-${'e'.repeat(20)}`]);
    const windows = async (id: string) => (await reader.find(id)).releases[0]?.deployments[0];
    expect(await windows(`rel-${'b'.repeat(20)}`)).toMatchObject({ from: at(10), to: at(12) });
    expect(await windows(`rel-${'c'.repeat(20)}`)).toMatchObject({ from: null, to: null });
    expect(await windows(`rel-${'d'.repeat(20)}`)).toMatchObject({ from: at(12), to: null });
  });

  it('tells what descends from a dataset, and what of it is served', async () => {
    const ids = ['b', 'c'].map((letter) => `rel-${letter.repeat(20)}`);
    await store.put(
      ['b', 'c'].map((letter, index) =>
        another(whole, {
          id: ids[index] ?? '',
          digest: digest(letter),
          commit: commit(letter),
          servedFrom: `2026-03-01T1${index}:00:00.000Z`,
        }),
      ),
    );
    const answer = await reader.impact(`dataset:${release.datasetName}@${release.datasetVersion}`);
    expect(answer.releases).toBe(2);
    expect(answer.images.map(({ imageDigest }) => imageDigest).sort()).toEqual([digest('b'), digest('c')]);
    expect(answer.deployments).toHaveLength(2);
    expect(answer.serving.map((one) => one.release)).toEqual([ids[1]]);
    expect((await reader.impact(release.commit ?? '')).releases).toBe(2);
    expect((await reader.impact(release.trainerImage ?? '')).releases).toBe(2);
    await expect(reader.impact('dataset:none@v0')).rejects.toMatchObject({ code: 'TL_LINEAGE_UNKNOWN' });
  });

  it('ends the same, in whatever order and however often the states of releases come', async () => {
    const moments = keptHistories.flatMap((name) => {
      const { events, runId } = keptRun(name);
      return [1, Math.ceil(events.length / 3), Math.ceil(events.length / 2), events.length].map((count) =>
        lineageOf([keptRun(name, runId, count)]),
      );
    });
    const last = new Map<string, LineageRecord>();
    for (const moment of moments) {
      const before = last.get(moment.release.id);
      if (!before || before.release.events <= moment.release.events) last.set(moment.release.id, moment);
    }
    await store.put([...last.values()]);
    const expected = await dump(store);
    expect(expected.deployments?.length).toBeGreaterThan(0);
    const next = random(7);
    for (let round = 0; round < 5; round += 1) {
      await store.clear();
      const order = [...moments, ...moments].sort(() => next() - 0.5);
      for (const one of order) await store.put([one]);
      expect(await dump(store)).toEqual(expected);
    }
  });

  it('says what should run, and keeps what was found of it', async () => {
    const { database } = store;
    await store.put([whole]);
    const [state, ...others] = await expectedStates(database);
    expect(others).toEqual([]);
    expect(state).toMatchObject({
      environment: deployment?.environment,
      release: release.id,
      commit: deployment?.commit,
      imageDigest: release.imageDigest,
      modelId: release.modelId,
      traceId: release.traceId,
      workload: { kind: deployment?.workloadKind, name: deployment?.workload },
      deploying: null,
    });
    if (!state) return;
    // The next release of it is committed, and not rolled out.
    const next = another(whole, { id: 'rel-next', digest: digest('e'), commit: commit('e') });
    const environment = deployment?.environment ?? '';
    const open = {
      ...next,
      release: { ...next.release, status: 'RUNNING' as const, endedAt: null },
      deployments: next.deployments.map((one) => ({ ...one, environment })),
    };
    await store.put([open]);
    expect(await expectedStates(database)).toMatchObject([{ release: release.id, deploying: 'rel-next' }]);
    await store.put([{ ...open, release: { ...open.release, status: 'FAILED', endedAt: new Date() } }]);
    expect(await expectedStates(database)).toMatchObject([{ release: release.id, deploying: null }]);

    // Somebody has brought it back, and nobody waits for that.
    const [back] = open.deployments;
    if (!back) return;
    const servedFrom = new Date('2030-01-01T00:00:00Z');
    const byHand = {
      ...back,
      release: release.id,
      cause: 'rollback' as const,
      commit: commit('b'),
      servedFrom,
    };
    await store.putByHand(state, [byHand], commit('b'));
    const whenOld = (minutes: number) =>
      expectedStates(database, new Date(Number(servedFrom) + minutes * 60_000));
    expect(await whenOld(5)).toMatchObject([{ release: release.id, deploying: `commit ${'b'.repeat(12)}` }]);
    expect(await whenOld(11)).toMatchObject([{ release: release.id, deploying: null }]);

    const { model, repository, branch, manifest } = state;
    const seen = {
      environment,
      model,
      repository,
      branch,
      manifest,
      release: release.id,
      unchecked: ['the cluster'],
    };
    const drift = { what: 'image' as const, where: 'here', expected: 'a', found: 'b' };
    const times = ['2026-01-01T00:00:00.000Z', '2026-01-01T00:15:00.000Z'] as const;
    for (const at of times) await putDrift(database, [{ ...seen, drifts: [drift] }], new Date(at));
    expect(await reader.drift()).toEqual({
      checkedAt: times[1],
      targets: [{ ...seen, drifts: [drift], since: times[0] }],
    });
    expect(await reader.drift('elsewhere')).toEqual({ checkedAt: null, targets: [] });
    await putDrift(database, [{ ...seen, drifts: [] }], new Date(times[1]));
    expect((await reader.drift(environment)).targets).toMatchObject([{ since: null, drifts: [] }]);
  });

  it('keeps what was signed, and takes it back with the rest', async () => {
    const signed = ['gate', 'provenance'].map((predicateType, index) => ({
      release: release.id,
      statement: `${index}`.repeat(64),
      predicateType,
      beside: `${release.imageRepository}@${release.imageDigest}`,
      bundle: { dsseEnvelope: { payload: 'e30=' } },
    }));
    await store.put([{ ...whole, attestations: signed }]);
    await store.put([{ ...whole, attestations: signed }]);
    const query = release.imageDigest ?? '';
    expect(await reader.attestations(query)).toEqual({ query, attestations: signed });
    await store.put([whole]);
    expect(await reader.attestations(query)).toEqual({ query, attestations: [] });
    await expect(reader.attestations('rel-77777777777777777777')).rejects.toMatchObject({
      problem: { code: 'TL_LINEAGE_UNKNOWN' },
    });
  });

  it('takes back what a reset took back', async () => {
    await store.put([whole]);
    const later = new Date(Number(release.runStartedAt) + 1000);
    const reset = {
      ...release,
      runStartedAt: later,
      events: 3,
      imageDigest: null,
      status: 'RUNNING' as const,
    };
    await store.put([{ release: reset, pods: [], deployments: [], attestations: [] }]);
    const [again] = (await reader.find(release.id)).releases;
    expect(again).toMatchObject({ status: 'RUNNING', imageDigest: null, deployments: [], pods: [] });
    await store.put([whole]); // the run before, once more
    expect((await reader.find(release.id)).releases[0]).toMatchObject({ status: 'RUNNING', pods: [] });
  });

  it('never goes back in its position', async () => {
    const at = (day: number) => new Date(`2026-03-0${day}T00:00:00.000Z`);
    expect(await store.position('default')).toBeUndefined();
    await store.put([], { source: 'default', closedUntil: at(3) });
    await store.put([], { source: 'default', closedUntil: at(2) });
    expect(await store.position('default')).toEqual(at(3));
    expect(await store.position('another')).toBeUndefined();
  });

  it('shows the newest of very many, and says that there are more', async () => {
    const many = Array.from({ length: 30 }, (_, index) => {
      const letter = String.fromCharCode(97 + (index % 26));
      const id = `rel-${letter.repeat(10)}${index < 26 ? 'a' : 'b'}${'a'.repeat(9)}`;
      const one = another(whole, { id, digest: digest('b'), commit: commit('b'), model: 'many' });
      const requestedAt = new Date(Date.parse('2026-03-01T00:00:00Z') + index * 1000);
      return { ...one, deployments: [], release: { ...one.release, requestedAt } };
    });
    await store.put(many);
    const answer = await reader.find('many');
    expect(answer.more).toBe(true);
    expect(answer.releases).toHaveLength(20);
    expect(answer.releases[0]?.requestedAt).toBe('2026-03-01T00:00:29.000Z');
    expect(await found('many')).not.toContain(many[0]?.release.id);
  });
});

describe('a store that several open at once', () => {
  it('is migrated once, and serves all', async () => {
    const url = await postgres.database('many');
    const stores = await Promise.all(Array.from({ length: 8 }, () => LineageStore.open({ url })));
    await Promise.all(stores.map((store) => store.put([whole])));
    const [first] = stores;
    if (!first) throw new Error('no store');
    expect((await dump(first)).releases).toHaveLength(1);
    await Promise.all(stores.map((store) => store.close()));
  });
});

describe('a database that is away', () => {
  it('is said, and found again when it is back', async () => {
    const handle = new StoreHandle({ url: 'postgres://throughline@127.0.0.1:1/none' });
    await expect(handle.open()).rejects.toMatchObject({ code: 'TL_STORE_UNREACHABLE' });
    const wrong = new StoreHandle({ url: 'mysql://user:hunter2@127.0.0.1/x' });
    const refused = await wrong.open().catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'TL_CONFIG_INVALID' });
    expect(JSON.stringify(refused)).not.toContain('hunter2');
    const url = await postgres.database('away');
    const store = await LineageStore.open({ url });
    await store.put([whole]);
    await postgres.kill();
    await expect(store.put([whole])).rejects.toMatchObject({ code: 'TL_STORE_UNREACHABLE' });
    await postgres.run();
    await store.put([whole]);
    expect((await dump(store)).releases).toHaveLength(1);
    await store.close();
  });
});
