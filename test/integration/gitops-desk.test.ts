// The writer of a branch as a workflow: whoever dies, what releases ask of it is written once, or taken back.
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { WrittenDeployment } from '../../src/domain/gitops.js';
import { WRITER_STATE_QUERY, writerIdOf } from '../../src/domain/temporal-names.js';
import { type AskOptions, GitOpsDesk } from '../../src/releases/gitops-desk.js';
import { createLogger } from '../../src/telemetry/log.js';
import { applications, deploymentOf, releasesOn } from '../support/gitops.js';
import { World } from '../support/world.js';

let world: World;
let count = 0;
beforeAll(async () => {
  world = await World.start('gitops-desk');
});
afterAll(async () => {
  await sleep(3_000); // what a desk still asks ends by then
  await world?.stop();
});

const deskOf = (idleSeconds?: number) =>
  new GitOpsDesk({
    client: world.client.client,
    taskQueue: 'throughline',
    log: createLogger('test', 'silent'),
    idleSeconds,
  });
const options = (more: Partial<AskOptions> = {}): AskOptions => ({
  signal: new AbortController().signal,
  report: () => {},
  ...more,
});

function branch(): { bare: string; repository: string; id: string } {
  count += 1;
  const bare = join(world.directory, `gitops-${count}.git`);
  const repository = applications(bare, 60);
  return { bare, repository, id: writerIdOf(repository, 'main') };
}

const statusOf = (id: string) =>
  world.client.client.workflow
    .getHandle(id)
    .describe()
    .then(({ status }) => status.name);

describe('the writer of a branch', () => {
  it('I3: writes what three processes ask for once each, its workers killed all the while', {
    timeout: 180_000,
  }, async () => {
    const { bare, repository } = branch();
    const desks = [deskOf(), deskOf(), deskOf()];
    const asked: Promise<WrittenDeployment>[] = [];
    let workers = [await world.worker(), await world.worker()];
    const ask = (index: number) => {
      const change = deploymentOf(repository, `app-${index}`, `rel-${index}`);
      for (const desk of desks.slice(index % 2)) asked.push(desk.write(change, options())); // some of them twice
    };
    for (let index = 0; index < 40; index += 1) {
      ask(index);
      await sleep(60);
      if (index % 10 === 5) {
        const [first, ...others] = workers;
        if (first) await world.kill(first);
        workers = [...others, await world.worker()];
      }
    }
    const written = await Promise.all(asked);
    expect(written.filter((one) => !('commit' in one))).toEqual([]);
    const releases = Array.from({ length: 40 }, (_, index) => `rel-${index}`);
    expect(releasesOn(bare).sort()).toEqual(releases.sort());
    for (const desk of desks) desk.close();
  });

  it('ends where nobody asks, and begins again when somebody does', async () => {
    const { bare, repository, id } = branch();
    const desk = deskOf(1);
    await desk.write(deploymentOf(repository, 'app-1', 'rel-1'), options());
    expect(await statusOf(id)).toBe('RUNNING');
    for (let waited = 0; (await statusOf(id)) === 'RUNNING' && waited < 100; waited += 1) await sleep(100);
    expect(await statusOf(id)).toBe('COMPLETED');
    await desk.write(deploymentOf(repository, 'app-2', 'rel-2'), options());
    expect(releasesOn(bare)).toEqual(['rel-2', 'rel-1']);
    desk.close();
  });

  it('tells each what is wrong with its own change, and writes the others', async () => {
    const { bare, repository } = branch();
    const desk = deskOf();
    const [good, missing, other] = await Promise.all([
      desk.write(deploymentOf(repository, 'app-1', 'rel-1'), options()),
      desk.write(deploymentOf(repository, 'app-2', 'rel-2', { manifest: 'no.yaml' }), options()),
      desk.write(deploymentOf(repository, 'app-3', 'rel-3', { container: 'no' }), options()),
    ]);
    expect(good).toHaveProperty('commit');
    expect(missing).toMatchObject({ problem: { code: 'TL_FILE_NOT_FOUND' } });
    expect(other).toMatchObject({ problem: { code: 'TL_MANIFEST_CONTAINER_MISSING' } });
    expect(releasesOn(bare)).toEqual(['rel-1']);
    desk.close();
  });

  it('says what it waits for where the server is away, and takes back what is not wanted any more', {
    timeout: 60_000,
  }, async () => {
    const { bare, repository, id } = branch();
    const desk = deskOf();
    const said: string[] = [];
    const report = (doing: string) => said.push(doing);
    renameSync(bare, `${bare}.away`);
    const unwanted = desk.write(deploymentOf(repository, 'app-1', 'rel-1'), options({ report }));
    const wanted = desk.write(deploymentOf(repository, 'app-2', 'rel-2'), options());
    for (let waited = 0; !said.some((text) => text.includes('TL_REPOSITORY')) && waited < 200; waited += 1)
      await sleep(100);
    expect(said.at(-1)).toContain('TL_REPOSITORY_NOT_FOUND');
    const state = await world.client.client.workflow.getHandle(id).query(WRITER_STATE_QUERY);
    expect(state).toMatchObject({ problem: { code: 'TL_REPOSITORY_NOT_FOUND' } });
    const key = { release: 'rel-1', environment: 'production' };
    const branchOf = { repository, branch: 'main' };
    expect(await desk.withdraw(branchOf, key, options().signal)).toEqual({ withdrawn: true });
    renameSync(`${bare}.away`, bare);
    expect(await wanted).toHaveProperty('commit');
    expect(await unwanted).toEqual({ withdrawn: true });
    expect(releasesOn(bare)).toEqual(['rel-2']);
    // What has been written, and what nobody knows, is not taken back.
    expect(await desk.withdraw(branchOf, key, options().signal)).toBeUndefined();
    desk.close();
  });

  it('I6: sees a push to its end whose release is canceled meanwhile', { timeout: 90_000 }, async () => {
    const model = world.model('pushing');
    writeFileSync(join(model.gitops, 'hooks', 'pre-receive'), '#!/bin/sh\nsleep 3\n', { mode: 0o755 });
    const { body } = await world.trigger({ repository: model.url });
    await world.until(body.id, ({ stages }) => stages.at(-1)?.name === 'deploy production');
    await sleep(1_000);
    await world.releases.cancel(body.id);
    const { deployments } = await world.ended(body.id);
    expect(deployments).toHaveLength(1); // it had got through
    expect(releasesOn(model.gitops)).toEqual([body.id]);
  });

  it('I6: writes nothing any more for a release that is canceled while it waits', {
    timeout: 90_000,
  }, async () => {
    const model = world.model('waiting');
    const { body } = await world.trigger({ repository: model.url });
    await world.until(body.id, ({ stages }) => stages.at(-1)?.name === 'build');
    renameSync(model.gitops, `${model.gitops}.away`);
    await world.until(body.id, ({ stages }) => stages.at(-1)?.name === 'deploy production');
    await sleep(1_000);
    await world.releases.cancel(body.id);
    await sleep(1_000);
    renameSync(`${model.gitops}.away`, model.gitops);
    expect(await world.ended(body.id)).toMatchObject({ status: 'CANCELED', deployments: [] });
    await sleep(3_000);
    expect(releasesOn(model.gitops)).toEqual([]);
  });
});
