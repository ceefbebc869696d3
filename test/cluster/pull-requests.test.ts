// Whole releases by pull requests on a real Gitea: who merges, who does not, and what dies or moves meanwhile.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { historyFromJSON, historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { branchOf } from '../../src/activities/forge/branch.js';
import { isReleaseId } from '../../src/domain/ids.js';
import type { PresentedRelease } from '../../src/gateway/present.js';
import { lineageOf } from '../../src/lineage/record.js';
import { runsOf } from '../../src/telemetry/delivery.js';
import { projectTrace } from '../../src/telemetry/projection.js';
import { VERSION } from '../../src/version.js';
import { Gitea, type GiteaRepository, type GiteaUser, pathOf } from '../support/gitea.js';
import { HttpGate } from '../support/http-gate.js';
import { MANIFEST, World } from '../support/world.js';

Runtime.install({ logger: new DefaultLogger('ERROR') });

const KEPT = fileURLToPath(new URL('../histories', import.meta.url));
const BUNDLE = { codePath: fileURLToPath(new URL('../../dist/workflow-bundle.js', import.meta.url)) };
const replay = (history: unknown, id: string) =>
  Worker.runReplayHistory({ workflowBundle: BUNDLE, replayName: id }, historyFromJSON(history), id);

let gitea: Gitea;
let world: World;
/** Between the worker and Gitea's API. */
let gate: HttpGate;
let robot: GiteaUser;
let ana: GiteaUser;
let ben: GiteaUser;
let env: Readonly<Record<string, string>>;
let names = 0;

beforeAll(async () => {
  [gitea, world] = await Promise.all([Gitea.start(), World.start('pulls')]);
  gate = await HttpGate.start(gitea.url);
  robot = await gitea.user('robot');
  ana = await gitea.user('ana');
  ben = await gitea.user('ben');
  const configuration = join(world.directory, 'server.yaml');
  writeFileSync(
    configuration,
    `apiVersion: throughline.dev/v1alpha1
kind: ServerConfiguration
git:
  access:
    - { match: "${gitea.url}/", user: robot, token: { env: GIT_TOKEN } }
forges:
  - { match: "${gitea.url}", kind: gitea, tokenEnv: FORGE_TOKEN, apiUrl: "${gate.url}/api/v1" }
`,
  );
  env = {
    THROUGHLINE_CONFIG: configuration,
    GIT_TOKEN: await gitea.token(robot, ['write:repository']),
    FORGE_TOKEN: await gitea.token(robot, ['write:repository', 'write:issue', 'read:user']),
  };
  await world.worker(env);
});
afterAll(async () => {
  await world?.stop();
  await gate?.stop();
  await gitea?.remove();
});

interface Model {
  readonly repository: GiteaRepository;
  readonly url: string;
}

/** A model whose GitOps repository is Ana's, with a main that nobody pushes to. */
async function model(
  entry = '    mode: pullRequest\n',
  rule: Readonly<Record<string, unknown>> = {},
  options: Parameters<World['model']>[1] = {},
): Promise<Model> {
  names += 1;
  const repository = await gitea.repository(ana, `gitops-${names}`, {
    'k8s/deployment.yaml': MANIFEST,
    'README.md': 'others\n',
  });
  await gitea.collaborator(repository, robot);
  await gitea.collaborator(repository, ben);
  await gitea.protect(repository, rule);
  const plan = (text: string) => `${text}${entry}`;
  return { repository, url: world.model(`m${names}`, { gitops: repository.url, plan, ...options }).url };
}

interface Pull {
  readonly number: number;
  readonly state: string;
  readonly title: string;
  readonly body: string;
  readonly labels: readonly { readonly name: string }[];
}

const trigger = async ({ url }: Model, key: string) =>
  (await world.trigger({ repository: url, idempotencyKey: key })).body.id;
const headOf = (id: string) => {
  if (!isReleaseId(id)) throw new Error(id);
  return branchOf('production', `m${names}`, id);
};
const pulls = ({ repository }: Model) => gitea.ask<Pull[]>('GET', `${pathOf(repository)}/pulls?state=all`);
const merge = ({ repository }: Model, number: number, user: GiteaUser, Do = 'merge') =>
  gitea.ask('POST', `${pathOf(repository)}/pulls/${number}/merge`, { Do }, user);
const approve = ({ repository }: Model, number: number, user: GiteaUser) =>
  gitea.ask(
    'POST',
    `${pathOf(repository)}/pulls/${number}/reviews`,
    { event: 'APPROVED', body: 'seen' },
    user,
  );
const commitOf = ({ repository }: Model, sha: string | undefined) =>
  gitea.ask<{ commit: { message: string }; parents: { sha: string }[] }>(
    'GET',
    `${pathOf(repository)}/git/commits/${sha}`,
  );
const fileAt = ({ repository }: Model, ref: string | undefined, path = 'k8s/deployment.yaml') =>
  gitea.ask<string>('GET', `${pathOf(repository)}/raw/${path}?ref=${ref}`);
const comments = async ({ repository }: Model, number: number) =>
  (await gitea.ask<{ body: string }[]>('GET', `${pathOf(repository)}/issues/${number}/comments`)).map(
    ({ body }) => body,
  );

/** The pull request that a release waits for. */
async function opened(id: string, seconds = 60): Promise<{ number: number; record: PresentedRelease }> {
  const record = await world.until(
    id,
    ({ proposed, outcome }) => proposed !== undefined || outcome !== undefined,
    seconds,
  );
  const number = record.proposed?.[0]?.number;
  if (number === undefined) throw new Error(JSON.stringify(record.outcome));
  return { number, record };
}

async function ended(id: string, status: string, code?: string): Promise<PresentedRelease> {
  const record = await world.ended(id);
  const problem = record.outcome && 'problem' in record.outcome ? record.outcome.problem : undefined;
  expect([record.status, problem?.code], JSON.stringify(record.outcome)).toEqual([status, code]);
  return record;
}

describe('a protected branch', () => {
  it('refuses what is pushed, with the hint to go by a pull request', async () => {
    const one = await model('');
    const record = await ended(await trigger(one, 'pushed'), 'FAILED', 'TL_PUSH_REJECTED');
    expect(JSON.stringify(record.outcome)).toContain('Set `mode: pullRequest`');
  });

  it('gets a release by a pull request that somebody reviews and merges', async () => {
    const entry = '    mode: pullRequest\n    pullRequest: { labels: [model, production] }\n';
    const one = await model(entry, { required_approvals: 1 });
    const id = await trigger(one, 'reviewed');
    const { number, record: open } = await opened(id);
    expect(open.result.pullRequest).toBe(`${one.repository.url.replace('.git', '')}/pulls/${number}`);
    const waits = await world.until(id, ({ progress }) => progress.includes('approvals'));
    expect(waits.progress).toContain(`waiting for 1 of 1 approvals: ${open.result.pullRequest}`);
    const [pull] = await pulls(one);
    expect(pull?.title).toBe(`Deploy m${names} tiny\u200b-1 to production`.replace('\u200b', ''));
    expect(pull?.labels.map(({ name }) => name).sort()).toEqual(['model', 'production']);
    for (const told of [
      id,
      open.commit,
      open.image?.digest,
      open.training?.digest,
      'at least 0.95',
      open.traceparent,
    ])
      expect(pull?.body).toContain(told);
    expect(pull?.body).toContain('`spec.template.spec.containers[0].image`');
    await approve(one, number, ben);
    await merge(one, number, ben);
    const record = await ended(id, 'SUCCEEDED');
    const [deployment] = record.deployments;
    const main = gitea.head(one.repository, ana, 'main');
    expect(deployment).toMatchObject({ commit: main, pullRequest: { number, mergedBy: 'ben' } });
    expect(Date.parse(deployment?.pullRequest?.mergedAt ?? '')).toBeGreaterThan(Date.now() - 60_000);
    const { parents } = await commitOf(one, main);
    const { commit } = await commitOf(one, parents[1]?.sha);
    expect(commit.message).toContain(`\nRelease-Id: ${id}\n`);
    expect(await fileAt(one, main)).toContain(record.image?.reference);
    expect(gitea.head(one.repository, ana, headOf(id))).toBeUndefined();
  });

  it('leaves a trace with the times of the forge, a lineage, and a history that replays', async () => {
    const one = await model();
    const id = await trigger(one, 'traced');
    const { number } = await opened(id);
    await merge(one, number, ben);
    const record = await ended(id, 'SUCCEEDED');
    if (!isReleaseId(id)) throw new Error(id);
    const { client } = world.client;
    const runs = await runsOf(client, id);
    const { spans } = projectTrace(runs);
    const span = spans.find(({ name }) => name === 'pull request');
    const pull = await gitea.ask<{ created_at: string; merged_at: string }>(
      'GET',
      `${pathOf(one.repository)}/pulls/${number}`,
    );
    expect(span).toMatchObject({
      attributes: {
        'vcs.change.id': String(number),
        'vcs.change.state': 'merged',
        'vcs.ref.base.name': 'main',
      },
    });
    // The forge tells whole seconds, which are not before the stage began (telemetry/projection.ts).
    const seconds = (time: unknown) => Math.floor(Date.parse(String(time)) / 1000);
    expect([span?.start, span?.end].map(seconds)).toEqual([pull.created_at, pull.merged_at].map(seconds));
    expect(spans.filter(({ name }) => name === 'git push')).toHaveLength(1);
    expect(lineageOf(runs).deployments).toMatchObject([{ commit: record.deployments[0]?.commit }]);
    const history = {
      ...JSON.parse(historyToJSON(await client.workflow.getHandle(id).fetchHistory())),
      workflowId: id,
    };
    await expect(replay(history, id)).resolves.toBeUndefined();
    if (process.env.RECORD === 'pull-request') {
      const text = JSON.stringify(history, null, 1).replaceAll(world.directory, '/work');
      writeFileSync(
        join(KEPT, VERSION, 'pull-request.json'),
        `${text.replaceAll(gitea.url, 'http://gitea')}\n`,
      );
    }
  });

  it('is checked before anything runs: a repository without a forge is refused by name', async () => {
    const strange = world.model('strange', { plan: (text) => `${text}    mode: pullRequest\n` });
    const record = await ended(
      (await world.trigger({ repository: strange.url })).body.id,
      'FAILED',
      'TL_FORGE_UNKNOWN',
    );
    expect(JSON.stringify(record.outcome)).toContain('strange-gitops.git');
    expect(record.training).toBeUndefined();
  });
});

describe('the forge', () => {
  for (const [method, parents] of [
    ['merge', 2],
    ['squash', 1],
    ['rebase', 1],
  ] as const) {
    it(`merges by itself, by ${method}, and the commit of that is recorded with its trailers`, async () => {
      const entry = `    mode: pullRequest\n    pullRequest: { autoMerge: true, mergeMethod: ${method} }\n`;
      const one = await model(entry);
      const id = await trigger(one, `auto-${method}`);
      const record = await ended(id, 'SUCCEEDED');
      const main = gitea.head(one.repository, ana, 'main');
      expect(record.deployments[0]).toMatchObject({ commit: main, pullRequest: { mergedBy: 'robot' } });
      const made = await commitOf(one, main);
      expect(made.parents).toHaveLength(parents);
      const own = parents === 1 ? made : await commitOf(one, made.parents[1]?.sha);
      expect(own.commit.message).toContain(`\nRelease-Id: ${id}\n`);
      expect(gitea.head(one.repository, ana, headOf(id))).toBeUndefined();
    });
  }

  it('waits for an approval with its own merge set', async () => {
    const entry = '    mode: pullRequest\n    pullRequest: { autoMerge: true }\n';
    const one = await model(entry, { required_approvals: 1 });
    const id = await trigger(one, 'auto-approved');
    const { number } = await opened(id);
    await world.until(id, ({ progress }) => progress.includes('(auto-merge is set)'));
    await approve(one, number, ben);
    expect((await ended(id, 'SUCCEEDED')).deployments[0]?.pullRequest).toMatchObject({ mergedBy: 'robot' });
  });
});

describe('a worker that is killed', () => {
  it('between the push and the pull request is followed by one that opens it, once', async () => {
    const one = await model();
    const stalled = gate.stall((method, path) => method === 'POST' && path.endsWith('/pulls'));
    const id = await trigger(one, 'killed-pushed');
    await stalled.met;
    const pushed = gitea.head(one.repository, ana, headOf(id));
    expect(pushed).toBeDefined();
    await world.killAll();
    stalled.end();
    await world.worker(env);
    const { number } = await opened(id);
    expect(gitea.head(one.repository, ana, headOf(id))).toBe(pushed);
    expect(await pulls(one)).toHaveLength(1);
    await merge(one, number, ana);
    await ended(id, 'SUCCEEDED');
  });

  it('with the reply of the forge on its way finds the pull request, also merged', async () => {
    const one = await model();
    const stalled = gate.stall((method, path) => method === 'POST' && path.endsWith('/pulls'), 'reply');
    const id = await trigger(one, 'killed-opened');
    await stalled.met;
    await world.killAll();
    stalled.end();
    const [pull] = await pulls(one);
    await merge(one, pull?.number ?? 0, ana);
    await world.worker(env);
    const record = await ended(id, 'SUCCEEDED');
    expect(record.deployments[0]).toMatchObject({
      commit: gitea.head(one.repository, ana, 'main'),
      pullRequest: { number: pull?.number, mergedBy: 'ana' },
    });
    expect(await pulls(one)).toHaveLength(1);
  });

  it('while it waits is followed by one that waits', async () => {
    const one = await model();
    const id = await trigger(one, 'killed-waiting');
    const { number } = await opened(id);
    await world.killAll();
    await merge(one, number, ben);
    await world.worker(env);
    expect((await ended(id, 'SUCCEEDED')).deployments[0]?.pullRequest).toMatchObject({ mergedBy: 'ben' });
  });
});

describe('a pull request', () => {
  it('that somebody closes ends the release as REJECTED, and its branch is gone', async () => {
    const one = await model();
    const id = await trigger(one, 'closed');
    const { number } = await opened(id);
    await gitea.ask('PATCH', `${pathOf(one.repository)}/pulls/${number}`, { state: 'closed' }, ben);
    const record = await ended(id, 'REJECTED', 'TL_PULL_REQUEST_CLOSED');
    expect(JSON.stringify(record.outcome)).toContain('by ben');
    expect(record.deployments).toEqual([]);
    expect(gitea.head(one.repository, ana, headOf(id))).toBeUndefined();
  });

  it('that nobody merges in time is closed', async () => {
    const one = await model('    mode: pullRequest\n    pullRequest: { timeout: 3s }\n');
    const id = await trigger(one, 'expired');
    await ended(id, 'FAILED', 'TL_PULL_REQUEST_EXPIRED');
    const [pull] = await pulls(one);
    expect(pull?.state).toBe('closed');
    expect(await comments(one, pull?.number ?? 0)).toEqual([
      `Release ${id} ended FAILED (TL_PULL_REQUEST_EXPIRED): this is not waited for any more.`,
    ]);
  });

  it('is closed with a comment when the release is canceled', async () => {
    const one = await model();
    const id = await trigger(one, 'canceled');
    const { number } = await opened(id);
    await fetch(`${world.url}/v1/releases/${id}/cancel`, { method: 'POST' });
    await ended(id, 'CANCELED');
    const [pull] = await pulls(one);
    expect(pull?.state).toBe('closed');
    expect(await comments(one, number)).toEqual([
      `Release ${id} ended CANCELED: this is not waited for any more.`,
    ]);
    expect(gitea.head(one.repository, ana, headOf(id))).toBeUndefined();
  });

  it('of an older release is superseded by a newer one', async () => {
    const one = await model();
    const older = await trigger(one, 'older');
    const first = await opened(older);
    const newer = await trigger(one, 'newer');
    const second = await opened(newer);
    const record = await ended(older, 'SUPERSEDED', 'TL_RELEASE_SUPERSEDED');
    expect(record.deployments).toEqual([]);
    expect(await comments(one, first.number)).toEqual([`Superseded by ${newer}.`]);
    expect(gitea.head(one.repository, ana, headOf(older))).toBeUndefined();
    await merge(one, second.number, ben);
    await ended(newer, 'SUCCEEDED');
  });

  it('has its branch made anew where main moves and it cannot be merged any more', async () => {
    const one = await model();
    const id = await trigger(one, 'moved');
    const { number } = await opened(id);
    const before = gitea.head(one.repository, ana, headOf(id));
    const by = (text: string, file: string) => gitea.commit(one.repository, ana, 'topic', { [file]: text });
    const others = MANIFEST.replace('tiny:none', 'tiny:by-hand').replace('# kept', '# changed');
    by(others, 'k8s/deployment.yaml');
    const topic = await gitea.ask<Pull>(
      'POST',
      `${pathOf(one.repository)}/pulls`,
      { base: 'main', head: 'topic', title: 'By hand' },
      ana,
    );
    await merge(one, topic.number, ana);
    await expect
      .poll(() => gitea.head(one.repository, ana, headOf(id)), { timeout: 40_000, interval: 500 })
      .not.toBe(before);
    await expect
      .poll(() => merge(one, number, ben).then(() => 'merged', String), { timeout: 20_000, interval: 500 })
      .toBe('merged');
    const record = await ended(id, 'SUCCEEDED');
    const text = await fileAt(one, record.deployments[0]?.commit);
    expect(text).toContain('# changed as it is');
    expect(text).toContain(record.image?.reference);
  });

  it('keeps its branch where main moves elsewhere', async () => {
    const one = await model();
    const id = await trigger(one, 'kept');
    const { number } = await opened(id);
    const before = gitea.head(one.repository, ana, headOf(id));
    gitea.commit(one.repository, ana, 'topic', { 'README.md': 'moved\n' });
    const topic = { base: 'main', head: 'topic', title: 'Elsewhere' };
    const { number: other } = await gitea.ask<Pull>('POST', `${pathOf(one.repository)}/pulls`, topic, ana);
    await merge(one, other, ana);
    await world.until(id, ({ progress }) => progress.includes('somebody to merge it'));
    expect(gitea.head(one.repository, ana, headOf(id))).toBe(before);
    await expect
      .poll(() => merge(one, number, ben, 'squash').then(() => 'merged', String), { timeout: 20_000 })
      .toBe('merged');
    const record = await ended(id, 'SUCCEEDED');
    expect(await fileAt(one, record.deployments[0]?.commit, 'README.md')).toBe('moved\n');
  });

  it('keeps a branch on which somebody else has a commit, conflict or not', async () => {
    const one = await model();
    const id = await trigger(one, 'helped');
    await opened(id);
    const note = { content: btoa('seen\n'), message: 'A note', branch: headOf(id) };
    await gitea.ask('POST', `${pathOf(one.repository)}/contents/NOTE.md`, note, ben);
    const before = gitea.head(one.repository, ana, headOf(id));
    gitea.commit(one.repository, ana, 'topic', {
      'k8s/deployment.yaml': MANIFEST.replace('tiny:none', 'tiny:x'),
    });
    const topic = { base: 'main', head: 'topic', title: 'By hand' };
    const { number: other } = await gitea.ask<Pull>('POST', `${pathOf(one.repository)}/pulls`, topic, ana);
    await merge(one, other, ana);
    await world.until(id, ({ progress }) => progress.includes('conflicts with main'));
    await sleep(4000);
    expect(gitea.head(one.repository, ana, headOf(id))).toBe(before);
    await fetch(`${world.url}/v1/releases/${id}/cancel`, { method: 'POST' });
    await ended(id, 'CANCELED');
  });

  it('that is merged without the release’s change says so', async () => {
    const one = await model();
    const id = await trigger(one, 'emptied');
    const { number } = await opened(id);
    const path = `${pathOf(one.repository)}/contents/k8s/deployment.yaml`;
    const { sha } = await gitea.ask<{ sha: string }>('GET', `${path}?ref=${headOf(id)}`);
    const emptied = { sha, content: btoa(MANIFEST), message: 'Not now', branch: headOf(id) };
    await gitea.ask('PUT', path, emptied, ben);
    await expect
      .poll(() => merge(one, number, ben).then(() => 'merged', String), { timeout: 20_000, interval: 500 })
      .toBe('merged');
    expect((await ended(id, 'FAILED', 'TL_PULL_REQUEST_CHANGED')).deployments).toEqual([]);
  });

  it('does nothing when Gitea renders it, whatever the training calls its results', async () => {
    const hostile = '@ana | [x](https://evil.example) <img src=x> `y`';
    const metrics = JSON.stringify({ accuracy: 0.97, [`${hostile}\n\n# evil`]: 1 });
    const train = `echo w > "$MODEL_OUTPUT/w"
printf %s '{"model":{"id":"tiny-1"},"metrics":${metrics}}' > "$RESULT_FILE"`;
    const entry = '    mode: pullRequest\n';
    const plan = (text: string) =>
      `${text.replace('version: v1', `version: ${JSON.stringify(hostile)}`)}${entry}`;
    const one = await model(entry, {}, { train, plan });
    const id = await trigger(one, 'hostile');
    await opened(id);
    const [pull] = await pulls(one);
    expect(pull?.body).toContain('evil.example');
    const html = await gitea.ask<string>('POST', '/markdown', {
      Text: pull?.body ?? '',
      Mode: 'gfm',
      Context: 'ana/gitops',
    });
    expect(html).not.toMatch(/<img|href="[^"]*evil|href="[^"]*\/ana"/);
    await fetch(`${world.url}/v1/releases/${id}/cancel`, { method: 'POST' });
    await ended(id, 'CANCELED');
  });
});
