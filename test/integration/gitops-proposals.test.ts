// Changes on branches of their own, against real git: one commit a release, and nothing of others is written over.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { deployChange } from '../../src/activities/gitops/deployment.js';
import { GitGitOpsRepository } from '../../src/activities/gitops/writer.js';
import { ThroughlineError } from '../../src/domain/errors.js';
import { applications, deploymentOf, fileOf, pathOf, releasesOn } from '../support/gitops.js';
import { git, temporaryDirectory, writeFiles } from '../support/world.js';

const HEAD = 'throughline/production/app-0/rel-one';
const options = { signal: new AbortController().signal, report: () => {} };

let directory: string;
let bare: string;
let url: string;

beforeEach(() => {
  directory = temporaryDirectory('proposals');
  bare = join(directory, 'gitops.git');
  url = applications(bare, 2);
});
afterEach(() => rmSync(directory, { recursive: true, force: true, maxRetries: 10 }));

/** A worker of its own: what one knows another does not. */
const worker = (cache = 'cache') =>
  new GitGitOpsRepository(join(directory, cache), { name: 'T', email: 't@localhost' });
const change = (release: string, more: Parameters<typeof deploymentOf>[3] = {}) =>
  deployChange(deploymentOf(url, 'app-0', release, more));
const tip = (branch: string) => git(bare, 'rev-parse', branch).trim();
const branches = () =>
  git(bare, 'for-each-ref', '--format=%(refname:short)', 'refs/heads').trim().split('\n');

/** Somebody's commit on a branch. */
function others(branch: string, files: Readonly<Record<string, string>>): string {
  const work = join(directory, 'work');
  git(directory, 'clone', '--quiet', '--branch', branch, bare, work);
  writeFiles(work, files);
  git(work, 'add', '--all');
  git(work, 'commit', '--quiet', '--message', 'By hand');
  git(work, 'push', '--quiet', 'origin', `HEAD:${branch}`);
  rmSync(work, { recursive: true });
  return tip(branch);
}

/** As a forge merges. */
function merge(head: string, method: '--no-ff' | '--squash'): void {
  const work = join(directory, 'work');
  git(directory, 'clone', '--quiet', bare, work);
  git(work, 'merge', '--quiet', method, `origin/${head}`);
  if (method === '--squash')
    git(work, 'commit', '--quiet', '--message', git(bare, 'log', '-1', '--format=%B', head));
  git(work, 'push', '--quiet', 'origin', 'HEAD:main');
  rmSync(work, { recursive: true });
}

const codeOf = (tried: Promise<unknown>) =>
  tried.then(
    () => undefined,
    (error) => (error instanceof ThroughlineError ? error.code : error),
  );

describe('a proposal', () => {
  it('is one commit on a branch of its own, whoever makes it again (I3)', async () => {
    const main = tip('main');
    const [first, second] = await Promise.all(
      ['one', 'two'].map((cache) => worker(cache).propose(change('one'), HEAD, options)),
    );
    const third = await worker('three').propose(change('one'), HEAD, options);
    expect([first, second, third]).toMatchObject(Array(3).fill({ commit: tip(HEAD) }));
    expect(third).toEqual({ commit: tip(HEAD) });
    expect(git(bare, 'rev-parse', `${HEAD}^`).trim()).toBe(main);
    expect([tip('main'), branches()]).toEqual([main, ['main', HEAD]]);
  });

  it.each(['--no-ff', '--squash'] as const)(
    'that was merged by %s is not made again (I3)',
    async (method) => {
      await worker().propose(change('one'), HEAD, options);
      merge(HEAD, method);
      await worker().retract(url, HEAD, options.signal);
      const proposed = await worker('other').propose(change('one'), HEAD, options);
      expect(proposed).toEqual({
        landed: git(bare, 'rev-list', '-1', '--grep=Release-Id: one', 'main').trim(),
      });
      expect(branches()).toEqual(['main']);
      expect(await worker().stands(change('one'), tip('main') as never, options.signal)).toBe(true);
      expect(await worker().stands(change('two'), tip('main') as never, options.signal)).toBe(false);
    },
  );

  it('of an older release than what is deployed is not made (I4)', async () => {
    const newer = change('newer', { requestedAt: '2026-01-02T00:00:00.000Z' });
    await worker().write(newer, [newer], options);
    expect(await codeOf(worker().propose(change('one'), HEAD, options))).toBe('TL_RELEASE_SUPERSEDED');
    expect((await worker().supersededBy(change('one'), options))?.code).toBe('TL_RELEASE_SUPERSEDED');
    expect(await worker().supersededBy(newer, options)).toBeUndefined();
    expect(branches()).toEqual(['main']);
  });

  it('stays where the branch that it is for moves elsewhere', async () => {
    await worker().propose(change('one'), HEAD, options);
    const before = tip(HEAD);
    others('main', { [pathOf('app-1')]: 'moved: true\n' });
    const path = pathOf('app-0');
    others('main', { [path]: `${fileOf(bare, path)}# at the end\n` }); // of the same file
    expect(await worker('other').propose(change('one'), HEAD, options)).toEqual({ commit: before });
  });

  it('is made anew where it cannot be merged any more', async () => {
    await worker().propose(change('one'), HEAD, options);
    const before = tip(HEAD);
    const path = pathOf('app-0');
    others('main', { [path]: fileOf(bare, path).replace('app-0:none', 'app-0:by-hand') });
    const again = await worker('other').propose(change('one'), HEAD, options);
    expect(again).toMatchObject({ commit: tip(HEAD), pushed: {} });
    expect(tip(HEAD)).not.toBe(before);
    expect(git(bare, 'rev-parse', `${HEAD}^`).trim()).toBe(tip('main'));
    expect(releasesOn(bare, HEAD)).toEqual(['one']);
    expect(fileOf(bare, path, HEAD)).toContain('app-0:one@sha256');
  });

  it('stays where somebody else has a commit on it, conflict or not (I4)', async () => {
    await worker().propose(change('one'), HEAD, options);
    const theirs = others(HEAD, { 'NOTE.md': 'seen\n' });
    const path = pathOf('app-0');
    others('main', { [path]: fileOf(bare, path).replace('app-0:none', 'app-0:by-hand') });
    expect(await worker('other').propose(change('one'), HEAD, options)).toEqual({ commit: theirs });
  });

  it('is refused where a branch of that name is somebody else’s (I4)', async () => {
    git(bare, 'branch', HEAD, 'main');
    const theirs = others(HEAD, { 'NOTE.md': 'mine\n' });
    expect(await codeOf(worker().propose(change('one'), HEAD, options))).toBe('TL_PUSH_REJECTED');
    expect(tip(HEAD)).toBe(theirs);
  });

  it('is retracted, once or more often, and nothing else is', async () => {
    await worker().propose(change('one'), HEAD, options);
    git(bare, 'branch', `${HEAD}-other`, 'main');
    await Promise.all(['one', 'two'].map((cache) => worker(cache).retract(url, HEAD, options.signal)));
    await worker().retract(url, HEAD, options.signal);
    expect(branches()).toEqual(['main', `${HEAD}-other`]);
  });

  it('tells field by field what it changes', async () => {
    const changes = await worker().changes(change('one'), options.signal);
    expect(changes).toContainEqual({
      file: pathOf('app-0'),
      document: 0,
      path: ['spec', 'template', 'spec', 'containers', 0, 'image'],
      before: 'registry.example/ml/app-0:none',
      after: expect.stringContaining('app-0:one@sha256:'),
    });
  });
});
