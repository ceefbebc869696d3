// Pull requests on a real Gitea: what its rules refuse, what people and itself merge, and what happens meanwhile.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { awaitMerge } from '../../src/activities/forge/await-merge.js';
import { pullRequestText } from '../../src/activities/forge/body.js';
import { branchOf, branchPrefixOf } from '../../src/activities/forge/branch.js';
import type { PullRequestSpec } from '../../src/activities/forge/forge.js';
import { GiteaForge } from '../../src/activities/forge/gitea.js';
import { closeSuperseded } from '../../src/activities/forge/supersede.js';
import { ThroughlineError } from '../../src/domain/errors.js';
import { releaseIdOf } from '../../src/domain/ids.js';
import { classifyPushFailure, isProtectedBranch } from '../../src/git/index.js';
import { evidence, HOSTILE, ROWS } from '../support/evidence.js';
import { Gitea, type GiteaRepository, type GiteaUser, pathOf } from '../support/gitea.js';

const never = new AbortController().signal;
const MANIFEST = 'k8s/deployment.yaml';
const files = (text: string) => ({ [MANIFEST]: `image: ${text}\n` });
const LINES = Array.from({ length: 20 }, (_, line) => `line: ${line}`).join('\n');

let gitea: Gitea;
/** Whose token Throughline has, and two people. */
let robot: GiteaUser;
let ana: GiteaUser;
let ben: GiteaUser;
let forge: GiteaForge;
let repositories = 0;

beforeAll(async () => {
  gitea = await Gitea.start();
  robot = await gitea.user('robot');
  ana = await gitea.user('ana');
  ben = await gitea.user('ben');
  const scopes = ['write:repository', 'write:issue', 'read:user'];
  forge = new GiteaForge(gitea.apiUrl, await gitea.token(robot, scopes));
});
afterAll(() => gitea?.remove());

/** A repository of Ana's whose main nobody pushes to. */
async function guarded(rule: Readonly<Record<string, unknown>> = {}): Promise<GiteaRepository> {
  repositories += 1;
  const made = await gitea.repository(ana, `gitops-${repositories}`, {
    ...files('one'),
    'other.yaml': LINES,
  });
  await gitea.collaborator(made, robot);
  await gitea.collaborator(made, ben);
  await gitea.protect(made, rule);
  return made;
}

/** A release's branch, pushed, and what is to be opened from it. */
function change(
  repository: GiteaRepository,
  key: string,
  spec: Partial<PullRequestSpec> = {},
): PullRequestSpec & { commit: string } {
  const head = branchOf('production', 'digits', releaseIdOf(key));
  const commit = gitea.commit(repository, robot, head, files(key), `Deploy ${key}\n\nRelease-Id: ${key}`);
  return {
    repository: repository.url,
    base: 'main',
    head,
    title: `Deploy ${key}`,
    body: `The body of ${key}`,
    autoMerge: false,
    ...spec,
    commit,
  };
}

async function problemOf(tried: Promise<unknown>) {
  const error = await tried.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof ThroughlineError)) throw error ?? new Error('it succeeded');
  return error.problem;
}

const soon = () => new Date(Date.now() + 60_000).toISOString();
const wait = (repository: string, number: number, report: (doing: string) => void = () => undefined) =>
  awaitMerge(
    forge,
    { repository, number, deadline: soon() },
    { signal: never, report, pauses: { first: 100, most: 500 } },
  );
const approve = (repository: GiteaRepository, number: number, user: GiteaUser, event = 'APPROVED') =>
  gitea.ask('POST', `${pathOf(repository)}/pulls/${number}/reviews`, { event, body: 'seen' }, user);
const mergeBy = (repository: GiteaRepository, number: number, user: GiteaUser) =>
  gitea.ask('POST', `${pathOf(repository)}/pulls/${number}/merge`, { Do: 'merge' }, user);

describe('a protected branch', () => {
  it('refuses a push, in words that are known', async () => {
    const repository = await guarded();
    let said = '';
    try {
      gitea.commit(repository, robot, 'main', files('pushed'));
    } catch (error) {
      said = (error as { stderr: string }).stderr;
    }
    expect(classifyPushFailure(said)).toBe('refused');
    expect(isProtectedBranch(said)).toBe(true);
  });

  it('takes a pull request, opened once however often it is asked for', async () => {
    const repository = await guarded();
    const spec = change(repository, 'once', { labels: ['throughline', 'production'] });
    const [first, second] = await Promise.all([forge.open(spec, never), forge.open(spec, never)]);
    const third = await forge.open(spec, never);
    expect([second.number, third.number]).toEqual([first.number, first.number]);
    expect(third).toMatchObject({ state: 'open', mergeable: true, waitingFor: 'somebody to merge it' });
    const listed = await forge.list(repository.url, branchPrefixOf('production', 'digits'), never);
    expect(listed).toEqual([
      { number: first.number, url: first.url, head: spec.head, base: 'main', body: spec.body },
    ]);
    const { labels } = await gitea.ask<{ labels: { name: string }[] }>(
      'GET',
      `${pathOf(repository)}/pulls/${first.number}`,
    );
    expect(labels.map(({ name }) => name).sort()).toEqual(['production', 'throughline']);
  });

  it('is found by the next attempt where one has died after opening it', async () => {
    const repository = await guarded();
    const spec = change(repository, 'died');
    const worker = new AbortController();
    const dying = forge.open(spec, worker.signal).catch(() => 'dead');
    const opened = () => forge.list(repository.url, spec.head, never);
    await expect.poll(opened, { interval: 20, timeout: 10_000 }).toHaveLength(1);
    worker.abort(new Error('killed'));
    await dying;
    const [{ number } = { number: 0 }] = await opened();
    expect((await forge.open(spec, never)).number).toBe(number);
    expect(await opened()).toHaveLength(1);
  });

  it('is found where its name has slashes', async () => {
    const repository = await guarded();
    gitea.commit(repository, robot, 'release/1.x', files('base'));
    const spec = { ...change(repository, 'slashes'), base: 'release/1.x' };
    const first = await forge.open(spec, never);
    expect((await forge.open(spec, never)).number).toBe(first.number);
  });
});

describe('the text of a pull request', () => {
  const rendered = (text: string) =>
    gitea.ask<string>('POST', '/markdown', { Text: text, Mode: 'gfm', Context: 'ana/gitops' });

  it('does nothing when Gitea renders it, whatever the names in it try', async () => {
    // What the test is after is there to be found.
    expect(await rendered('@ana and <https://evil.example>')).toMatch(/<a [^>]*\/ana".*<a [^>]*evil/s);
    for (const hostile of HOSTILE) {
      const html = await rendered(pullRequestText(evidence(hostile)).body);
      expect(html.match(/<a /g)).toHaveLength(1 + headings(html));
      expect(html).not.toMatch(/<(?:img|script|input|b|h1)\b/);
      const cells = [...html.matchAll(/<tr>(.*?)<\/tr>/gs)].map(
        ([, row = '']) => row.match(/<t[dh]/g)?.length,
      );
      expect([hostile, cells]).toEqual([hostile, ROWS]);
    }
  });
});

/** Gitea links every heading to itself. */
const headings = (html: string) => html.match(/<a [^>]*class="anchor"/g)?.length ?? 0;

describe('people', () => {
  it('approve and merge, and the merge is found with who and when', async () => {
    const repository = await guarded({ required_approvals: 1 });
    const spec = change(repository, 'approved');
    const opened = await forge.open(spec, never);
    expect(opened).toMatchObject({ state: 'open', waitingFor: '1 of 1 approvals' });
    const said: string[] = [];
    const waiting = wait(repository.url, opened.number, (doing) => said.push(doing));
    await approve(repository, opened.number, ben, 'REQUEST_CHANGES');
    await expect.poll(() => said.at(-1)).toContain('changes that ben asked for');
    await approve(repository, opened.number, ben);
    await expect.poll(() => said.at(-1)).toContain('somebody to merge it');
    await mergeBy(repository, opened.number, ben);
    const merged = await waiting;
    expect(merged).toMatchObject({ state: 'merged', by: 'ben', commit: gitea.head(repository, ana, 'main') });
    expect(Date.parse('at' in merged ? (merged.at ?? '') : '')).toBeGreaterThan(Date.now() - 60_000);
    // Opened again, and merged again, it is the same.
    expect(await forge.open(spec, never)).toEqual(merged);
    expect(await forge.merge(repository.url, opened.number, {}, never)).toEqual(merged);
  });

  it('close it by hand: it stays closed', async () => {
    const repository = await guarded();
    const spec = change(repository, 'by-hand');
    const { number } = await forge.open(spec, never);
    const waiting = wait(repository.url, number);
    await gitea.ask('PATCH', `${pathOf(repository)}/pulls/${number}`, { state: 'closed' }, ben);
    expect(await waiting).toMatchObject({ state: 'closed', number, by: 'ben' });
    expect(await forge.open(spec, never)).toMatchObject({ state: 'closed', number });
  });
});

describe('auto-merge', () => {
  it('waits for a check and merges when it is green', async () => {
    const repository = await guarded({ enable_status_check: true, status_check_contexts: ['ci/policy'] });
    const spec = change(repository, 'checked', { autoMerge: true });
    const opened = await forge.open(spec, never);
    expect(opened).toMatchObject({
      state: 'open',
      waitingFor: 'checks: ci/policy (not begun) (auto-merge is set)',
    });
    const again = await forge.open(spec, never); // asked for twice
    expect(again).toEqual(opened);
    const status = (state: string) =>
      gitea.ask(
        'POST',
        `${pathOf(repository)}/statuses/${spec.commit}`,
        { context: 'ci/policy', state },
        ana,
      );
    await status('pending');
    expect(await forge.state(repository.url, opened.number, never)).toMatchObject({
      waitingFor: 'checks: ci/policy (pending) (auto-merge is set)',
    });
    await status('success');
    const merged = await wait(repository.url, opened.number);
    expect(merged).toMatchObject({
      state: 'merged',
      by: 'robot',
      commit: gitea.head(repository, ana, 'main'),
    });
  });

  it('merges by itself once somebody has approved', async () => {
    const repository = await guarded({ required_approvals: 1 });
    const opened = await forge.open(change(repository, 'approved-auto', { autoMerge: true }), never);
    expect(opened).toMatchObject({ waitingFor: '1 of 1 approvals (auto-merge is set)' });
    await approve(repository, opened.number, ana);
    expect(await wait(repository.url, opened.number)).toMatchObject({ state: 'merged', by: 'robot' });
  });

  for (const mergeMethod of ['merge', 'squash', 'rebase'] as const) {
    it(`merges at once by ${mergeMethod} where nothing is in the way, and finds the commit`, async () => {
      const repository = await guarded();
      const spec = change(repository, `by-${mergeMethod}`, {
        autoMerge: true,
        mergeMethod,
        squashMessage: 'Deploy squashed\n\nRelease-Id: rel-squashed',
      });
      // So that a rebase makes another commit than the branch has.
      const elsewhere = gitea.commit(repository, ana, 'elsewhere', { 'other.yaml': `${LINES}\nmore` });
      const others = await forge.open(
        { ...spec, head: 'elsewhere', title: 'Another', mergeMethod: 'rebase' },
        never,
      );
      expect(others).toMatchObject({ state: 'merged', commit: elsewhere });
      const merged = await forge.open(spec, never);
      expect(merged).toMatchObject({ state: 'merged', commit: gitea.head(repository, ana, 'main') });
      expect(gitea.head(repository, ana, spec.head)).toBeUndefined();
      const commit = await gitea.ask<{ commit: { message: string }; parents: unknown[] }>(
        'GET',
        `${pathOf(repository)}/git/commits/${'commit' in merged ? merged.commit : ''}`,
      );
      expect(commit.parents).toHaveLength(mergeMethod === 'merge' ? 2 : 1);
      if (mergeMethod === 'squash') expect(commit.commit.message).toContain('\nRelease-Id: rel-squashed');
      if (mergeMethod === 'rebase') expect(commit.commit.message).toContain('\nRelease-Id: by-rebase');
    });
  }

  it('says so where the repository does not allow the method', async () => {
    const repository = await guarded();
    await gitea.ask('PATCH', pathOf(repository), { has_pull_requests: true, allow_rebase: false }, ana);
    const problem = await problemOf(
      forge.open(change(repository, 'no-rebase', { autoMerge: true, mergeMethod: 'rebase' }), never),
    );
    expect(problem).toMatchObject({
      code: 'TL_PULL_REQUEST_REFUSED',
      found: 'rebase',
      expected: 'merge, squash',
    });
  });

  it('tells of conflicts, and does not ask for what cannot be', async () => {
    const repository = await guarded();
    const first = change(repository, 'first');
    const second = change(repository, 'second', { autoMerge: true });
    await forge.open({ ...first, autoMerge: true }, never);
    expect(await forge.open(second, never)).toMatchObject({
      state: 'open',
      mergeable: false,
      waitingFor: 'conflicts with main to be resolved',
    });
  });
});

describe('what is superseded', () => {
  it('is closed with a comment, once, and its branch is deleted', async () => {
    const repository = await guarded();
    const bodyOf = (key: string, requestedAt: string) =>
      pullRequestText({ ...evidence('digits'), release: { id: releaseIdOf(key) }, requestedAt }).body;
    const older = change(repository, 'older', { body: bodyOf('older', '2026-01-01T11:00:00Z') });
    const newer = change(repository, 'newer', { body: bodyOf('newer', '2026-01-01T12:00:00Z') });
    const { number, url } = await forge.open(older, never);
    const next = await forge.open(newer, never);
    const own = { repository: repository.url, base: 'main', environment: 'production', model: 'digits' };
    const late = { ...own, release: releaseIdOf('older'), requestedAt: '2026-01-01T11:00:00Z', number };
    expect(await closeSuperseded(forge, late, never)).toEqual({
      closed: [],
      by: { number: next.number, url: next.url },
    });
    const now = { ...own, release: releaseIdOf('newer'), requestedAt: '2026-01-01T12:00:00Z' };
    const superseded = () => closeSuperseded(forge, { ...now, number: next.number }, never);
    expect(await superseded()).toEqual({ closed: [{ number, url }], by: undefined });
    expect(await superseded()).toEqual({ closed: [], by: undefined });
    const comment = `Superseded by ${releaseIdOf('newer')}.`;
    await forge.close(repository.url, number, comment, never); // again
    expect(await forge.state(repository.url, number, never)).toMatchObject({ state: 'closed', by: 'robot' });
    const comments = await gitea.ask<{ body: string }[]>(
      'GET',
      `${pathOf(repository)}/issues/${number}/comments`,
    );
    expect(comments.map(({ body }) => body)).toEqual([comment]);
    expect(gitea.head(repository, ana, older.head)).toBeUndefined();
    const left = await forge.list(repository.url, branchPrefixOf('production', 'digits'), never);
    expect(left.map(({ head }) => head)).toEqual([newer.head]);
  });

  it('keeps branches that were not made for releases', async () => {
    const repository = await guarded();
    gitea.commit(repository, ana, 'topic', files('topic'));
    const { number } = await forge.open({ ...change(repository, 'x'), head: 'topic' }, never);
    await forge.close(repository.url, number, 'Superseded', never);
    expect(gitea.head(repository, ana, 'topic')).toBeDefined();
  });
});

describe('a token', () => {
  it('without the right to write is told so', async () => {
    const repository = await guarded();
    const reads = new GiteaForge(gitea.apiUrl, await gitea.token(robot, ['read:repository']));
    const problem = await problemOf(reads.open(change(repository, 'reads'), never));
    expect(problem.code).toBe('TL_FORGE_DENIED');
    expect(problem.found).toContain('403');
  });

  it('of somebody who may not merge is told so', async () => {
    const repository = await guarded({ enable_merge_whitelist: true, merge_whitelist_usernames: ['ana'] });
    const spec = change(repository, 'may-not-merge', { autoMerge: true });
    expect((await problemOf(forge.open(spec, never))).code).toBe('TL_FORGE_DENIED');
  });

  it('of somebody who may not see the repository finds nothing', async () => {
    const repository = await guarded();
    await gitea.ask('PATCH', pathOf(repository), { private: true }, ana);
    const stranger = await gitea.user(`stranger`);
    const strange = new GiteaForge(gitea.apiUrl, stranger.token);
    const problem = await problemOf(strange.list(repository.url, 'throughline/', never));
    expect(problem).toMatchObject({ code: 'TL_FORGE_DENIED' });
  });

  it('that is wrong is refused, and said nowhere', async () => {
    const repository = await guarded();
    const token = 'feedfacefeedfacefeedfacefeedfacefeedface';
    const problem = await problemOf(new GiteaForge(gitea.apiUrl, token).state(repository.url, 1, never));
    expect(problem).toMatchObject({ code: 'TL_FORGE_DENIED' });
    expect(JSON.stringify(problem)).not.toContain(token);
  });
});

describe('a Gitea that goes away', () => {
  it('is waited for, and the merge is seen when it is back', async () => {
    const repository = await guarded();
    const opened = await forge.open(change(repository, 'outage'), never);
    const said: string[] = [];
    const waiting = wait(repository.url, opened.number, (doing) => said.push(doing));
    await expect.poll(() => said.at(-1)).toContain('somebody to merge it');
    await gitea.halt();
    await expect
      .poll(() => said.at(-1), { timeout: 10_000 })
      .toMatch(/waiting for the forge .*last seen: waiting for somebody to merge it/);
    expect((await problemOf(forge.state(repository.url, opened.number, never))).code).toBe(
      'TL_FORGE_UNREACHABLE',
    );
    await gitea.run();
    await sleep(200);
    await mergeBy(repository, opened.number, ana);
    expect(await waiting).toMatchObject({ state: 'merged', by: 'ana' });
  });
});
