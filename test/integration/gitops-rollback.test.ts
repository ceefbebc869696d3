// A rollback takes the release's own change back, and nothing that others have written since.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Written } from '../../src/activities/gitops/change.js';
import { gitOpsChange } from '../../src/activities/gitops/deployment.js';
import { GitGitOpsRepository } from '../../src/activities/gitops/writer.js';
import type { RollbackRequest, WriterRequest } from '../../src/activities/index.js';
import { deploymentOf, fileOf } from '../support/gitops.js';
import { git, MANIFEST, remote, temporaryDirectory } from '../support/world.js';

const DAY = (day: number) => new Date(Date.UTC(2026, 0, day)).toISOString();
const KUSTOMIZATION = 'resources: [../base]\nimages:\n  - name: inference\n    newTag: none\n';
const PLAIN = 'k8s/deployment.yaml';
const OVERLAY = 'overlays/production/kustomization.yaml';

let directory: string;
let bare: string;
let repository: string;
let cache: string;
beforeEach(() => {
  directory = temporaryDirectory('rollback');
  bare = join(directory, 'gitops.git');
  cache = 'cache';
  repository = remote(bare, { [PLAIN]: MANIFEST, [OVERLAY]: KUSTOMIZATION });
});
afterEach(() => rmSync(directory, { recursive: true, force: true, maxRetries: 10 }));

const write = async (...requests: WriterRequest[]): Promise<Written[]> =>
  new GitGitOpsRepository(join(directory, cache), { name: 'T', email: 't@localhost' }).write(
    { repository, branch: 'main' },
    requests.map(gitOpsChange),
    { signal: new AbortController().signal, report: () => {} },
  );
const release = (name: string, day: number) =>
  deploymentOf(repository, 'digits', name, { manifest: PLAIN, requestedAt: DAY(day), committedAt: DAY(day) });
const kustomized = (name: string, day: number) => ({
  ...release(name, day),
  manifest: OVERLAY,
  kustomize: { image: 'inference', workload: 'Deployment/digits', container: 'inference' },
});
const back = (of: ReturnType<typeof release>): RollbackRequest => ({
  ...of,
  rollback: { reason: 'it is Degraded', at: DAY(20) },
});

function byHand(path: string, change: (text: string) => string): void {
  const work = join(directory, `work-${Math.random()}`);
  git(directory, 'clone', '--quiet', bare, work);
  writeFileSync(join(work, path), change(readFileSync(join(work, path), 'utf8')));
  git(work, 'commit', '--quiet', '--all', '--message', 'By hand');
  git(work, 'push', '--quiet', 'origin', 'HEAD:main');
}

async function codeOf(written: Promise<Written[]>): Promise<string> {
  const [one] = await written;
  return one && 'refused' in one ? one.refused.code : 'written';
}

describe('a rollback', () => {
  it('brings back what was there, byte by byte, and says whose deployment it takes back', async () => {
    await write(release('rel-1', 1));
    const before = fileOf(bare, PLAIN);
    await write(release('rel-2', 2));
    const [written] = await write(back(release('rel-2', 2)));
    expect(fileOf(bare, PLAIN)).toBe(before);
    const message = git(bare, 'log', '-1', '--format=%B', 'main');
    expect(message).toContain('it is Degraded');
    expect(message).toContain('Rollback-Of: rel-2');
    expect(written).toHaveProperty('commit', git(bare, 'rev-parse', 'main').trim());
  });

  it('of a first deployment leaves the manifest as people had written it', async () => {
    await write(release('rel-1', 1));
    await write(back(release('rel-1', 1)));
    expect(fileOf(bare, PLAIN)).toBe(MANIFEST);
  });

  it('of a kustomization takes the patch file away that came with it', async () => {
    await write(kustomized('rel-1', 1));
    expect(git(bare, 'ls-tree', '-r', '--name-only', 'main').split('\n').filter(Boolean)).toHaveLength(3);
    await write(back(kustomized('rel-1', 1)));
    expect(fileOf(bare, OVERLAY)).toBe(KUSTOMIZATION);
    expect(git(bare, 'ls-tree', '-r', '--name-only', 'main').split('\n').filter(Boolean)).toHaveLength(2);
  });

  it('I3: is one commit, whoever asks again and whatever it knows', async () => {
    await write(release('rel-1', 1));
    await write(release('rel-2', 2));
    const [first] = await write(back(release('rel-2', 2)));
    expect((await write(back(release('rel-2', 2))))[0]).toMatchObject({
      commit: (first as { commit: string }).commit,
    });
    cache = 'another';
    expect((await write(back(release('rel-2', 2))))[0]).toMatchObject({
      commit: (first as { commit: string }).commit,
    });
  });

  it('keeps what others have written since, in the same file too', async () => {
    await write(release('rel-1', 1));
    await write(release('rel-2', 2));
    byHand(PLAIN, (text) =>
      text.replace('metadata: { name: tiny }', 'metadata: { name: tiny, labels: { a: b } }'),
    );
    await write(back(release('rel-2', 2)));
    expect(fileOf(bare, PLAIN)).toContain('labels: { a: b }');
    expect(fileOf(bare, PLAIN)).toContain('digits:rel-1@');
    expect(fileOf(bare, PLAIN)).not.toContain('rel-2');
  });

  it('leaves alone what somebody has changed by hand, and what a newer release has replaced', async () => {
    await write(release('rel-1', 1));
    await write(release('rel-2', 2));
    byHand(PLAIN, (text) => text.replace(/image: .*/, 'image: registry.example/ml/digits:mine'));
    expect(await codeOf(write(back(release('rel-2', 2))))).toBe('TL_CHANGED_BY_HAND');
    expect(fileOf(bare, PLAIN)).toContain('digits:mine');
    await write(release('rel-3', 25 * 400)); // asked for after that
    expect(await codeOf(write(back(release('rel-2', 2))))).toBe('TL_RELEASE_SUPERSEDED');
    expect(fileOf(bare, PLAIN)).toContain('rel-3');
  });

  it('is no change by hand to the releases that come after it', async () => {
    await write(release('rel-1', 1));
    await write(release('rel-2', 2));
    await write(back(release('rel-2', 2)));
    expect(await codeOf(write(release('rel-3', 3)))).toBe('written'); // asked for before the rollback
    cache = 'another';
    expect(await codeOf(write(release('rel-4', 4)))).toBe('written');
  });

  it('I4: makes way for no release that is older than the one that it takes back', async () => {
    await write(release('rel-2', 2));
    await write(back(release('rel-2', 2)));
    cache = 'another';
    expect(await codeOf(write(release('rel-1', 1)))).toBe('TL_RELEASE_SUPERSEDED');
  });
});
