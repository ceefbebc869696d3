// Signed commits, by real ssh-keygen and gpg, and as git judges them.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ThroughlineError } from '../../src/domain/errors.js';
import { parseCommitSha } from '../../src/domain/ids.js';
import {
  checkSigning,
  commitEnvironment,
  gitIn,
  signCommit,
  signCommits,
  signingParameters,
} from '../../src/git/index.js';
import type { CommitSigning } from '../../src/policy/index.js';
import { newKey } from '../support/sshd.js';
import { git, remote, temporaryDirectory } from '../support/world.js';

const directory = temporaryDirectory('signing');
const bare = join(directory, 'repository.git');
remote(bare, { 'a.txt': 'a\n' });
const tree = git(bare, 'rev-parse', 'main^{tree}').trim();
const parent = git(bare, 'rev-parse', 'main').trim();
const who = { name: 'Releases', email: 'releases@example.org' };
const COMMIT = `tree ${tree}\nparent ${parent}\nauthor ${who.name} <${who.email}> 1767225600 +0000\ncommitter ${who.name} <${who.email}> 1767225600 +0000\n\nDeploy tiny – «größer»\n\nRelease-Id: rel-a\n`;

const key = newKey(join(directory, 'signing key'));
writeFileSync(join(directory, 'allowed'), `${who.email} ${key.publicKey}\n`);
git(bare, 'config', 'gpg.ssh.allowedSignersFile', join(directory, 'allowed'));

afterAll(() => rmSync(directory, { recursive: true, force: true, maxRetries: 10 }));

/** The commit as git has it, of the raw text. */
const written = async (text: string) =>
  (await gitIn(bare, undefined, {}, text).raw(['hash-object', '-t', 'commit', '-w', '--stdin'])).trim();

const verifies = (commit: string, env: NodeJS.ProcessEnv = process.env) => {
  try {
    execFileSync('git', ['verify-commit', commit], { cwd: bare, env, stdio: 'pipe' });
    return true;
  } catch {
    return false;
  }
};

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'signed',
    (error) => (error instanceof ThroughlineError ? error.code : String(error)),
  );

describe('a commit signed with an SSH key', () => {
  const signing: CommitSigning = { format: 'ssh', key: key.file };

  it('is one that git believes, whoever made the object', async () => {
    const raw = await written(await signCommit(COMMIT, signing));
    expect(verifies(raw)).toBe(true);
    expect(git(bare, 'log', '-1', '--format=%an %ae %at%n%B', raw)).toContain('Deploy tiny – «größer»');
    expect(verifies(await written(COMMIT))).toBe(false);

    const env = commitEnvironment(who, '2026-01-01T00:00:00Z', signing);
    const words = ['commit-tree', tree, '-p', parent, '-F', '-', ...signingParameters(signing)];
    const made = await gitIn(bare, undefined, env, 'Deploy tiny – «größer»\n\nRelease-Id: rel-a\n').raw(
      words,
    );
    expect(verifies(made.trim())).toBe(true);
    // I3: both are the very same commit, and are it again.
    expect(made.trim()).toBe(raw);
    expect(await written(await signCommit(COMMIT, signing))).toBe(raw);
  });

  it('is one of a line: each is signed, upon the signed one before it', async () => {
    const first = await written(COMMIT);
    const second = await written(
      COMMIT.replace(`parent ${parent}`, `parent ${first}`).replace('rel-a', 'rel-b'),
    );
    const line = await signCommits(bare, [parseCommitSha(first), parseCommitSha(second)], signing);
    expect(line.map((one) => verifies(one))).toEqual([true, true]);
    expect(git(bare, 'log', '--format=%H', `${parent}..${line[1]}`).trim().split('\n')).toEqual([
      line[1],
      line[0],
    ]);
    expect(await signCommits(bare, [parseCommitSha(first), parseCommitSha(second)], signing)).toEqual(line); // I3
  });

  it('is believed no longer where anything of it is changed', async () => {
    const text = await signCommit(COMMIT, signing);
    expect(verifies(await written(text.replace('rel-a', 'rel-b')))).toBe(false);
    const stranger = newKey(join(directory, 'stranger'));
    expect(verifies(await written(await signCommit(COMMIT, { format: 'ssh', key: stranger.file })))).toBe(
      false,
    );
  });

  it('is not made, and nobody is asked, where the key wants a passphrase or is not there', async () => {
    const locked = join(directory, 'locked');
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', 'secret', '-f', locked]);
    expect(await codeOf(checkSigning({ format: 'ssh', key: locked }))).toBe('TL_SIGNING_FAILED');
    expect(await codeOf(checkSigning({ format: 'ssh', key: join(directory, 'none') }))).toBe(
      'TL_SIGNING_FAILED',
    );
    expect(await codeOf(checkSigning({ ...signing, program: join(directory, 'none') }))).toBe(
      'TL_SIGNING_FAILED',
    );
    expect(await codeOf(checkSigning(signing))).toBe('signed');
  });

  it('may be cancelled', async () => {
    const slow = join(directory, 'slow');
    writeFileSync(slow, '#!/bin/sh\nsleep 60\n');
    chmodSync(slow, 0o755);
    const begun = Date.now();
    const signal = AbortSignal.timeout(200);
    await expect(signCommit(COMMIT, { ...signing, program: slow }, signal)).rejects.toThrow();
    expect(Date.now() - begun).toBeLessThan(10_000);
  });
});

const gpg = (() => {
  try {
    return execFileSync('gpg', ['--version'], { encoding: 'utf8' });
  } catch {
    return undefined;
  }
})();

describe.skipIf(!gpg)(`a commit signed with OpenPGP${gpg ? '' : ' (skipped: gpg is not installed)'}`, () => {
  it('is one that git believes', async () => {
    // gpg-agent's socket lies in there: its path has to be short.
    const home = temporaryDirectory('gpg');
    chmodSync(home, 0o700);
    mkdirSync(join(home, 'private-keys-v1.d'), { mode: 0o700 });
    const before = process.env.GNUPGHOME;
    process.env.GNUPGHOME = home;
    try {
      execFileSync(
        'gpg',
        ['--batch', '--passphrase', '', '--quick-generate-key', who.email, 'ed25519', 'sign', 'never'],
        { stdio: 'pipe' },
      );
      const signing: CommitSigning = { format: 'openpgp', key: who.email };
      const raw = await written(await signCommit(COMMIT, signing));
      expect(verifies(raw)).toBe(true);
      expect(verifies(await written((await signCommit(COMMIT, signing)).replace('rel-a', 'rel-b')))).toBe(
        false,
      );
      const env = commitEnvironment(who, '2026-01-01T00:00:00Z', signing);
      const made = await gitIn(bare, undefined, env, 'x\n').raw(['commit-tree', tree, '-S', '-F', '-']);
      expect(verifies(made.trim())).toBe(true);
      expect(await codeOf(checkSigning({ format: 'openpgp', key: 'nobody@example.org' }))).toBe(
        'TL_SIGNING_FAILED',
      );
    } finally {
      execFileSync('gpgconf', ['--homedir', home, '--kill', 'all'], { stdio: 'ignore' });
      if (before === undefined) delete process.env.GNUPGHOME;
      else process.env.GNUPGHOME = before;
      rmSync(home, { recursive: true, force: true, maxRetries: 10 });
    }
  });
});
