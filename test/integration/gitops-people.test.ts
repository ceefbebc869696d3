// People come first: what they hold, or have changed by hand, the GitOps writer leaves alone.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Written } from '../../src/activities/gitops/change.js';
import { gitOpsChange } from '../../src/activities/gitops/deployment.js';
import { GitGitOpsRepository } from '../../src/activities/gitops/writer.js';
import type { WriterRequest } from '../../src/activities/index.js';
import { applications, deploymentOf, fileOf, pathOf } from '../support/gitops.js';
import { git, temporaryDirectory } from '../support/world.js';

const APP = 'app-1';
const DAY = (day: number) => new Date(Date.UTC(2026, 0, day)).toISOString();

let directory: string;
let bare: string;
let work: string;
let repository: string;
beforeEach(() => {
  directory = temporaryDirectory('people');
  bare = join(directory, 'gitops.git');
  work = join(directory, 'work');
  repository = applications(bare, 5);
  git(directory, 'clone', '--quiet', bare, work);
});
afterEach(() => rmSync(directory, { recursive: true, force: true, maxRetries: 10 }));

const write = async (...requests: WriterRequest[]): Promise<Written[]> =>
  new GitGitOpsRepository(join(directory, 'cache'), { name: 'T', email: 't@localhost' }).write(
    { repository, branch: 'main' },
    requests.map(gitOpsChange),
    { signal: new AbortController().signal, report: () => {} },
  );
const release = (name: string, day: number) =>
  deploymentOf(repository, APP, name, { requestedAt: DAY(day), committedAt: DAY(day) });
const hold = (held: boolean, reason: string): WriterRequest => {
  const { manifest, container, branch, model, environment } = deploymentOf(repository, APP, 'hold');
  const request = { release: `hold-${reason}`, requestedAt: DAY(9), by: 'alice' };
  return { ...request, repository, branch, model, environment, manifest, container, held, reason };
};
async function codeOf(written: Promise<Written[]>): Promise<string> {
  const [one] = await written;
  return one && 'refused' in one ? one.refused.code : 'written';
}

/** Somebody changes the manifest by hand. */
function byHand(change: (text: string) => string, message: string, day: number): string {
  git(work, 'pull', '--quiet', '--rebase', 'origin', 'main');
  const path = join(work, pathOf(APP));
  writeFileSync(path, change(readFileSync(path, 'utf8')));
  const date = DAY(day);
  process.env.GIT_COMMITTER_DATE = date;
  try {
    git(work, 'commit', '--quiet', '--all', '--allow-empty', '--date', date, '--message', message);
  } finally {
    delete process.env.GIT_COMMITTER_DATE;
  }
  git(work, 'push', '--quiet', 'origin', 'HEAD:main');
  return git(work, 'rev-parse', 'HEAD').trim();
}

const pin = (text: string) => text.replace(/image: .*/, 'image: registry.example/ml/app-1:pinned');
const text = () => fileOf(bare, pathOf(APP));

describe('a target', () => {
  it('that is held by `throughline hold` takes no release, until it is let go of', async () => {
    await write(release('rel-1', 1));
    await write(hold(true, 'bad predictions on Monday'));
    expect(text()).toContain('throughline.dev/hold: bad predictions on Monday');
    const [refused] = await write(release('rel-2', 2));
    expect(refused).toMatchObject({
      refused: {
        problem: { code: 'TL_TARGET_HELD', message: expect.stringContaining('bad predictions on Monday') },
      },
    });
    expect(git(bare, 'log', '-1', '--format=%B', 'main')).toContain(
      'Throughline-Hold: bad predictions on Monday',
    );
    await write(hold(false, 'mended'));
    expect(text()).not.toContain('throughline.dev/hold');
    expect(await codeOf(write(release('rel-2', 2)))).toBe('written');
  });

  it('that is held is so once, whoever asks again', async () => {
    await write(hold(true, 'once'));
    const [again] = await write(hold(true, 'once'));
    expect(again).toEqual({ commit: git(bare, 'rev-parse', 'main').trim() });
    await write(hold(false, 'enough'));
    await write(hold(false, 'enough'));
    expect(git(bare, 'rev-list', '--count', 'main').trim()).toBe('3');
  });

  it('is held in the order in which it is asked for, also within one round', async () => {
    const [first, held, second] = await write(release('rel-1', 1), hold(true, 'now'), release('rel-2', 2));
    expect([first, held].every((one) => one && 'commit' in one)).toBe(true);
    expect(second).toMatchObject({ refused: { problem: { code: 'TL_TARGET_HELD' } } });
  });

  it('whose annotation somebody writes by hand is held', async () => {
    await write(release('rel-1', 1));
    const annotate = (before: string) =>
      before.replace(
        '  labels: { app',
        '  annotations: { throughline.dev/hold: "ask alice" }\n  labels: { app',
      );
    byHand(annotate, 'Keep it', 1);
    expect(await codeOf(write(release('rel-2', 5)))).toBe('TL_TARGET_HELD');
  });

  it('that is rolled back by hand with the trailer is held, and let go of by `throughline unhold`', async () => {
    await write(release('rel-1', 1));
    const before = text();
    await write(release('rel-2', 2));
    byHand(() => before, 'Back to Monday’s model\n\nThroughline-Hold: it sees cats everywhere', 3);
    const [refused] = await write(release('rel-3', 9)); // asked for later: the hold counts all the same
    expect(refused).toMatchObject({ refused: { problem: { code: 'TL_TARGET_HELD' } } });
    expect(text()).toBe(before);
    await write(hold(false, 'mended'));
    expect(await codeOf(write(release('rel-3', 9)))).toBe('written');
  });

  it('that was changed by hand after a release was asked for is not changed back by that', async () => {
    await write(release('rel-1', 1));
    const commit = byHand(pin, 'Pin it for now', 3);
    const [refused] = await write(release('rel-2', 2));
    expect(refused).toMatchObject({
      refused: {
        problem: { code: 'TL_CHANGED_BY_HAND', found: expect.stringContaining(commit.slice(0, 12)) },
      },
    });
    expect(text()).toContain(':pinned');
    // Who asks for a release afterwards means it.
    expect(await codeOf(write(release('rel-3', 4)))).toBe('written');
  });

  it('that was reverted by hand is not deployed again by an older release', async () => {
    await write(release('rel-1', 1));
    await write(release('rel-2', 2));
    git(work, 'pull', '--quiet', '--rebase', 'origin', 'main');
    git(work, 'revert', '--no-edit', 'HEAD'); // now, which is after
    git(work, 'push', '--quiet', 'origin', 'HEAD:main');
    expect(await codeOf(write(release('rel-3', 3)))).toBe('TL_CHANGED_BY_HAND');
    expect(text()).toContain('rel-1');
  });

  it('takes releases where people changed what is not ours', async () => {
    await write(release('rel-1', 1));
    byHand((before) => before.replace('replicas: 2', 'replicas: 5'), 'More of it', 8);
    byHand((before) => before, 'Nothing at all', 8);
    expect(await codeOf(write(release('rel-2', 2)))).toBe('written');
    expect(text()).toContain('replicas: 5');
  });

  it('of another model in the same repository is no matter', async () => {
    await write(release('rel-1', 1));
    await write(hold(true, 'mine'));
    const other = deploymentOf(repository, 'app-2', 'rel-2', { requestedAt: DAY(2) });
    expect(await codeOf(write(other))).toBe('written');
  });
});
