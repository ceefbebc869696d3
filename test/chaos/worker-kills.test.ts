// The worker is killed again and again over ten concurrent releases: nothing is lost, nothing is done twice.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { random } from '../support/random.js';
import { git, MANIFEST, remote, World } from '../support/world.js';

const RELEASES = 10;
/** `WORKER_KILLS=20 node scripts/test.mjs test/chaos/worker-kills.test.ts` for more. */
const KILLS = Number(process.env.WORKER_KILLS ?? 10);
/** Stages pass quickly: further releases, at most, for the kills and stages that the random moments have missed. */
const EXTRA = 20;
const SEED = Number(process.env.SEED ?? 20261123);

describe(`ten concurrent releases, the worker killed ${KILLS} times (seed ${SEED})`, () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start('kills');
  });
  afterAll(() => world.stop());

  it('all succeed, each with one training process, one image, one commit and one trace', async () => {
    const next = random(SEED);
    // Ten models in one GitOps repository: none is newer than another, and their pushes race.
    const manifests = Array.from({ length: RELEASES + EXTRA }, (_, index) => [
      `k8s/m${index}.yaml`,
      MANIFEST,
    ]);
    const gitopsDirectory = join(world.directory, 'shared.git');
    const gitops = remote(gitopsDirectory, Object.fromEntries(manifests));
    const models = manifests.map((_, index) =>
      world.model(`m${index}`, {
        gitops,
        parameters: { TICKS: 20 },
        plan: (text) => text.replace('k8s/deployment.yaml', `k8s/m${index}.yaml`),
      }),
    );
    const trigger = (index: number) =>
      world.trigger({ repository: models[index]?.url, idempotencyKey: `kills-${index}` });
    let worker = await world.worker();
    const started = await Promise.all(Array.from({ length: RELEASES }, (_, index) => trigger(index)));
    const ids = started.map(({ body }) => body.id);
    expect(new Set(ids).size).toBe(RELEASES);

    const stagesHit = new Set<string>();
    let kills = 0;
    const killNow = async () => {
      const records = await Promise.all(ids.map((id) => world.get(id)));
      for (const { stages } of records) {
        const running = stages.findLast(({ status }) => status === 'RUNNING');
        if (running) stagesHit.add(running.name);
      }
      await world.kill(worker);
      kills += 1;
      worker = await world.worker();
    };
    // Random moments, and then a look for each stage that the moments have not met yet.
    while (kills < KILLS) {
      await sleep(next() * 1500);
      await killNow();
      const records = await Promise.all(ids.map((id) => world.get(id)));
      if (records.every(({ outcome }) => outcome)) break;
    }
    const first = await Promise.all(ids.map((id) => world.ended(id, 180)));
    let extra = 0;
    while (
      (kills < KILLS ||
        ['plan', 'train', 'build', 'deploy production'].some((name) => !stagesHit.has(name))) &&
      extra < EXTRA
    ) {
      const wanted =
        ['plan', 'train', 'build', 'deploy production'].find((name) => !stagesHit.has(name)) ?? 'train';
      const { body } = await trigger(RELEASES + extra);
      extra += 1;
      ids.push(body.id);
      const seen = await world.until(
        body.id,
        ({ stages, outcome }) => outcome !== undefined || stages.at(-1)?.name === wanted,
      );
      if (!seen.outcome) {
        stagesHit.add(wanted);
        await world.kill(worker);
        kills += 1;
        worker = await world.worker();
      }
      first.push(await world.ended(body.id, 120));
    }
    expect(kills).toBeGreaterThanOrEqual(KILLS);
    expect([...stagesHit].sort()).toEqual(
      expect.arrayContaining(['build', 'deploy production', 'plan', 'train']),
    );

    const runs = world.trainingRuns();
    const commits = git(
      gitopsDirectory,
      'log',
      '--format=%(trailers:key=Release-Id,valueonly,separator=)%x20%(trailers:key=Traceparent,valueonly,separator=)',
      'main',
    )
      .split('\n')
      .filter((line) => line.includes('rel-'));
    const images = readdirSync(join(world.data, 'images/registry.example/ml/tiny'));
    for (const record of first) {
      expect(record.status, JSON.stringify(record.outcome)).toBe('SUCCEEDED');
      const own = runs.filter(({ release }) => release === record.release);
      expect(own, `training processes of ${record.release}`).toHaveLength(1);
      expect(own[0]?.traceparent.split('-')[1]).toBe(record.traceId);
      expect(images.filter((tag) => tag === record.release)).toHaveLength(1);
      const deployed = commits.filter((line) => line.includes(record.release));
      expect(deployed, `commits of ${record.release}`).toHaveLength(1);
      expect(deployed[0]?.split('-').at(-3)).toBe(record.traceId);
    }
    expect(commits).toHaveLength(first.length);
    expect(images).toHaveLength(first.length);
    expect(runs).toHaveLength(first.length);
  });
});
