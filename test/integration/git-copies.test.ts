// Copies of repositories: what they leave out, what they leave alone, and that they stay fast.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { gitIn, Mirror } from '../../src/git/index.js';
import { tidy } from '../../src/git/tidy.js';
import { git, remote, temporaryDirectory, writeFiles } from '../support/world.js';

const SUBMODULE = '1111111111111111111111111111111111111111';
const POINTER = `version https://git-lfs.github.com/spec/v1\noid sha256:${'a'.repeat(64)}\nsize 12345\n`;

let directory: string;
let bare: string;
let url: string;
beforeEach(() => {
  directory = temporaryDirectory('copies');
  bare = join(directory, 'remote.git');
  url = remote(bare, {
    'k8s/deployment.yaml': 'image: none\n',
    'k8s/other.yaml': 'other\n',
    'models/weights.bin': POINTER,
    '.gitattributes': '*.bin filter=lfs diff=lfs merge=lfs -text\n*.crlf text eol=crlf\n',
    'windows/a.crlf': 'one\ntwo\n',
    'large/file.bin': 'x'.repeat(1_000_000),
  });
  git(bare, 'config', 'uploadpack.allowFilter', 'true');
});
afterEach(() => rmSync(directory, { recursive: true, force: true, maxRetries: 10 }));

const open = (purpose: 'source' | 'gitops') => Mirror.open(join(directory, 'cache'), url, purpose);

/** Objects that the copy does not have. */
const missing = (mirror: Mirror, commit: string) =>
  git(mirror.directory, 'rev-list', '--objects', '--missing=print', commit)
    .split('\n')
    .filter((line) => line.startsWith('?'));

/** A commit on the remote, with entries of a tree that no work tree could make. */
function commitTree(entries: readonly string[]): string {
  const tree = execFileSync('git', ['mktree', '--missing'], {
    cwd: bare,
    input: `${entries.join('\n')}\n`,
    encoding: 'utf8',
  }).trim();
  const commit = git(bare, 'commit-tree', tree, '-p', 'main', '-m', 'With a submodule').trim();
  git(bare, 'update-ref', 'refs/heads/main', commit);
  return commit;
}

const withSubmodule = () =>
  commitTree([
    ...git(bare, 'ls-tree', 'main').split('\n').filter(Boolean),
    `160000 commit ${SUBMODULE}\tvendor`,
  ]);

describe('a copy of a GitOps repository', () => {
  it('has all of history and none of the files, until one is read', async () => {
    const mirror = await open('gitops');
    const tip = await mirror.fetchBranch('main');
    expect(missing(mirror, tip).length).toBe(6);
    expect(existsSync(join(mirror.directory, 'shallow'))).toBe(false);
    expect(await mirror.files(tip).kind('large/file.bin')).toBe('file');
    expect(missing(mirror, tip).length).toBe(6);
    expect(await mirror.files(tip).read('k8s/deployment.yaml', 100)).toBe('image: none\n');
    expect(missing(mirror, tip).length).toBe(5);
    await expect(mirror.files(tip).read('k8s/deployment.yaml', 3)).rejects.toThrow(/too large/);
  });

  it('brings several files at once, and what is here not again', async () => {
    const mirror = await open('gitops');
    const tip = await mirror.fetchBranch('main');
    const packs = () =>
      readdirSync(join(mirror.directory, 'objects/pack')).filter((name) => name.endsWith('.pack')).length;
    const before = packs();
    const paths = ['k8s/deployment.yaml', 'k8s/other.yaml', 'large/file.bin', 'not/there', 'k8s'];
    await mirror.fetchFiles(tip, paths);
    expect([missing(mirror, tip).length, packs() - before]).toEqual([3, 1]);
    await mirror.fetchFiles(tip, paths);
    expect(await mirror.files(tip).read('k8s/other.yaml', 100)).toBe('other\n');
    expect([missing(mirror, tip).length, packs() - before]).toEqual([3, 1]);
    rmSync(bare, { recursive: true });
    await mirror.fetchFiles(tip, ['k8s/other.yaml']); // it asks nobody
    await expect(mirror.fetchFiles(tip, ['windows/a.crlf'])).rejects.toMatchObject({
      code: 'TL_REPOSITORY_NOT_FOUND',
    });
  });

  it('is pushed from, with what it lacks left where it is', async () => {
    const mirror = await open('gitops');
    const tip = await mirror.fetchBranch('main');
    await mirror.files(tip).read('k8s/deployment.yaml', 100);
    const blob = (
      await gitIn(mirror.directory, undefined, {}, 'image: new\n').raw(['hash-object', '-w', '--stdin'])
    ).trim();
    const index = { GIT_INDEX_FILE: join(directory, 'index') };
    const here = gitIn(mirror.directory, undefined, index);
    await here.raw(['read-tree', tip]);
    await here.raw(['update-index', '--cacheinfo', `100644,${blob},k8s/deployment.yaml`]);
    const tree = (await here.raw(['write-tree', '--missing-ok'])).trim();
    const commit = git(mirror.directory, 'commit-tree', tree, '-p', tip, '-m', 'Deploy').trim();
    const pushing = await mirror.git();
    await pushing.raw(['push', '--porcelain', '--', mirror.repository, `${commit}:refs/heads/main`]);
    expect(git(bare, 'diff', '--name-only', tip, 'main').trim()).toBe('k8s/deployment.yaml');
    expect(missing(mirror, commit).length).toBe(5);
    git(bare, 'fsck', '--strict');
  });

  it('has everything where the server knows no filter, and works the same', async () => {
    git(bare, 'config', 'uploadpack.allowFilter', 'false');
    const mirror = await open('gitops');
    const tip = await mirror.fetchBranch('main');
    expect(missing(mirror, tip)).toEqual([]);
    expect(await mirror.files(tip).read('k8s/deployment.yaml', 100)).toBe('image: none\n');
  });

  it('says that the server is away where a file is asked for that is not here', async () => {
    const mirror = await open('gitops');
    const tip = await mirror.fetchBranch('main');
    rmSync(bare, { recursive: true });
    await expect(mirror.files(tip).read('k8s/deployment.yaml', 100)).rejects.toMatchObject({
      code: 'TL_REPOSITORY_NOT_FOUND',
    });
  });

  it('and one of a source of the same URL do not meet', async () => {
    const [gitops, source] = [await open('gitops'), await open('source')];
    const tip = await gitops.fetchBranch('main');
    await source.fetchBranch('main');
    expect(missing(gitops, tip).length).toBe(6);
    expect(missing(source, tip)).toEqual([]);
  });

  it('leaves a submodule where it is: nothing of it is fetched, and a push keeps it', async () => {
    withSubmodule();
    const mirror = await open('gitops');
    const tip = await mirror.fetchBranch('main');
    expect(await mirror.files(tip).kind('vendor')).toBeUndefined();
    expect(git(mirror.directory, 'ls-tree', tip, 'vendor')).toContain(`160000 commit ${SUBMODULE}`);
    const commit = git(mirror.directory, 'commit-tree', `${tip}^{tree}`, '-p', tip, '-m', 'Again').trim();
    await (await mirror.git()).raw([
      'push',
      '--porcelain',
      '--',
      mirror.repository,
      `${commit}:refs/heads/main`,
    ]);
    expect(git(bare, 'ls-tree', 'main', 'vendor')).toContain(`160000 commit ${SUBMODULE}`);
  });
});

describe('a checkout', () => {
  it('leaves submodules empty and LFS pointers as they are, whatever the machine’s own git would do', async () => {
    withSubmodule();
    const config = join(directory, 'gitconfig');
    writeFileSync(
      config,
      '[filter "lfs"]\n\tsmudge = false\n\tprocess = false\n\tclean = false\n\trequired = true\n[submodule]\n\trecurse = true\n',
    );
    process.env.GIT_CONFIG_GLOBAL = config;
    try {
      const mirror = await open('source');
      const tip = await mirror.fetchBranch('main');
      const target = join(directory, 'out');
      await mirror.checkout(tip, target);
      expect(readFileSync(join(target, 'models/weights.bin'), 'utf8')).toBe(POINTER);
      expect(readdirSync(join(target, 'vendor'))).toEqual([]);
      expect(await mirror.files(tip).read('models/weights.bin', 1000)).toBe(POINTER);
    } finally {
      delete process.env.GIT_CONFIG_GLOBAL;
    }
  });

  it('of one directory has that directory, as the attributes above it say', async () => {
    const mirror = await open('source');
    const tip = await mirror.fetchBranch('main');
    const [all, some] = [join(directory, 'all'), join(directory, 'some')];
    await mirror.checkout(tip, all);
    await mirror.checkout(tip, some, undefined, 'windows');
    expect(readdirSync(some)).toEqual(['windows']);
    expect(readFileSync(join(some, 'windows/a.crlf'), 'utf8')).toBe('one\r\ntwo\r\n');
    expect(readFileSync(join(all, 'windows/a.crlf'), 'utf8')).toBe('one\r\ntwo\r\n');
    expect(readdirSync(all).length).toBeGreaterThan(1);
  });
});

describe('a copy that is used for years', () => {
  const packs = (mirror: Mirror) =>
    readdirSync(join(mirror.directory, 'objects/pack')).filter((name) => name.endsWith('.pack')).length;

  /** Commits by somebody else, each fetched and read as it comes. */
  async function years(purpose: 'source' | 'gitops'): Promise<Mirror> {
    const mirror = await open(purpose);
    const work = join(directory, 'work');
    mkdirSync(work);
    git(directory, 'clone', '--quiet', bare, work);
    for (let index = 0; index < 12; index += 1) {
      writeFiles(work, { 'k8s/deployment.yaml': `image: ${index}\n` });
      git(work, 'commit', '--quiet', '--all', '--message', `Theirs ${index}`);
      git(work, 'push', '--quiet', 'origin', 'HEAD:main');
      const tip = await mirror.fetchBranch('main');
      expect(await mirror.files(tip).read('k8s/deployment.yaml', 100)).toBe(`image: ${index}\n`);
    }
    return mirror;
  }

  it.each(['source', 'gitops'] as const)('of %s is put together, and loses nothing', async (purpose) => {
    const mirror = await years(purpose);
    const tip = await mirror.fetchBranch('main');
    // What somebody is about to push is nobody's yet, and may lie in a pack or by itself.
    const made = (command: string[], input: string) =>
      execFileSync('git', command, { cwd: mirror.directory, input, encoding: 'utf8' }).trim();
    const blob = made(['hash-object', '-w', '--stdin'], 'mine\n');
    made(['-c', 'fastimport.unpackLimit=0', 'fast-import', '--quiet'], 'blob\ndata 6\nyours\n\n');
    const packed = made(['hash-object', '--stdin'], 'yours\n');
    const before = { packs: packs(mirror), missing: missing(mirror, tip).length };
    expect(before.packs).toBeGreaterThan(10);
    await Promise.all([
      tidy(mirror.directory, purpose === 'gitops', 10),
      tidy(mirror.directory, purpose === 'gitops', 10),
    ]);
    expect(packs(mirror)).toBeLessThan(5);
    expect(git(mirror.directory, 'cat-file', 'blob', blob)).toBe('mine\n');
    expect(git(mirror.directory, 'cat-file', 'blob', packed)).toBe('yours\n');
    expect(missing(mirror, tip).length).toBe(before.missing);
    expect(existsSync(join(mirror.directory, 'throughline-tidy.lock'))).toBe(false);
    expect(existsSync(join(mirror.directory, 'refs/throughline/seen', tip))).toBe(false);
    expect(await mirror.fetchBranch('main')).toBe(tip);
    expect(await mirror.files(tip).read('k8s/other.yaml', 100)).toBe('other\n');
    git(mirror.directory, 'fsck', '--connectivity-only');
  });
});
