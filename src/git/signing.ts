// Commits of releases, signed: by git itself (`commit-tree -S`), or for whoever writes the object on their own.
import { spawn } from 'node:child_process';
import { messageOf, ThroughlineError } from '../domain/errors.js';
import { type CommitSha, parseCommitSha } from '../domain/ids.js';
import type { CommitSigning } from '../policy/git.js';
import { withConfiguration } from './environment.js';
import { gitEnvironment } from './git.js';
import { gitBytes } from './objects.js';
import { plain } from './server-messages.js';

const SIGNING_MS = 30_000;

/** Who a commit is of. */
export interface Identity {
  readonly name: string;
  readonly email: string;
}

/** Variables for commands that make commits: author, committer and date (ISO 8601), and what `-S` signs with. */
export function commitEnvironment(
  { name, email }: Identity,
  date: string,
  signing?: CommitSigning,
): Record<string, string> {
  const env = {
    GIT_AUTHOR_NAME: name,
    GIT_AUTHOR_EMAIL: email,
    GIT_AUTHOR_DATE: date,
    GIT_COMMITTER_NAME: name,
    GIT_COMMITTER_EMAIL: email,
    GIT_COMMITTER_DATE: date,
  };
  if (!signing) return env;
  const { format, key, program } = signing;
  return withConfiguration(env, [
    ['gpg.format', format],
    ['user.signingKey', key],
    ...(program ? ([[format === 'ssh' ? 'gpg.ssh.program' : 'gpg.program', program]] as const) : []),
  ]);
}

/** For `git commit-tree`, which signs by this alone, whatever commit.gpgSign says. */
export const signingParameters = (signing: CommitSigning | undefined): string[] => (signing ? ['-S'] : []);

/**
 * The raw text of a commit (`tree …`, as `git hash-object -t commit --stdin` takes it) with its signature in it. The same
 * text gives the same signature, and so the same commit (I3), where the scheme is deterministic: SSH keys of Ed25519 and
 * RSA are, ECDSA and OpenPGP, whose signatures have a time in them, are not. Throws TL_SIGNING_FAILED.
 */
export async function signCommit(
  commit: string,
  signing: CommitSigning,
  signal?: AbortSignal,
): Promise<string> {
  const end = commit.indexOf('\n\n');
  if (end < 0) throw new RangeError('a commit has an empty line behind its headers');
  const signature = (await signatureOf(commit, signing, signal)).trimEnd();
  // git, commit.c: the last header; lines after the first one begin with a space.
  return `${commit.slice(0, end)}\ngpgsig ${signature.split('\n').join('\n ')}${commit.slice(end)}`;
}

/**
 * The same line of commits, each signed, and upon the signed one before it: for whoever makes commits by git-fast-import,
 * which signs none. Oldest first; their ids in the same order. Throws TL_SIGNING_FAILED.
 */
export async function signCommits(
  directory: string,
  commits: readonly CommitSha[],
  signing: CommitSigning,
  signal?: AbortSignal,
): Promise<CommitSha[]> {
  const signed = new Map<string, CommitSha>();
  for (const commit of commits) {
    const made = (await gitBytes(directory, ['cat-file', 'commit', commit], '', signal)).toString('utf8');
    const end = made.indexOf('\n\n');
    const headers = made
      .slice(0, end)
      .replace(/^parent ([0-9a-f]+)$/gm, (line, parent) =>
        signed.has(parent) ? `parent ${signed.get(parent)}` : line,
      );
    const text = await signCommit(headers + made.slice(end), signing, signal);
    const id = await gitBytes(directory, ['hash-object', '-t', 'commit', '-w', '--stdin'], text, signal);
    signed.set(commit, parseCommitSha(id.toString('utf8').trim()));
  }
  return [...signed.values()];
}

/** Signs something, so that a key that cannot is said at the start. Throws TL_SIGNING_FAILED. */
export async function checkSigning(signing: CommitSigning): Promise<void> {
  await signatureOf('nothing\n\n', signing);
}

async function signatureOf(text: string, signing: CommitSigning, signal?: AbortSignal): Promise<string> {
  const { format, key, program } = signing;
  const [command, parameters] =
    format === 'ssh'
      ? [program ?? 'ssh-keygen', ['-Y', 'sign', '-n', 'git', '-f', key]]
      : [program ?? 'gpg', ['--batch', '--no-tty', '--detach-sign', '--armor', '--local-user', key]];
  const signature = await run(command, parameters, text, signal);
  if (/^-----BEGIN (?:SSH|PGP) SIGNATURE-----\n/.test(signature)) return signature;
  throw failed(command, 'no signature');
}

function run(
  program: string,
  parameters: readonly string[],
  input: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, parameters, {
      env: { ...gitEnvironment(), SSH_ASKPASS_REQUIRE: 'never' },
      detached: true, // without a terminal there is nobody to ask for a passphrase
      timeout: SIGNING_MS,
      ...(signal ? { signal } : {}),
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    let signature = '';
    let complaint = '';
    child.stdout.setEncoding('utf8').on('data', (part) => {
      signature += part;
    });
    child.stderr.setEncoding('utf8').on('data', (part) => {
      complaint = (complaint + part).slice(-2000);
    });
    child.once('error', (error) =>
      reject(signal?.aborted ? signal.reason : failed(program, messageOf(error))),
    );
    child.once('close', (code) => {
      if (code === 0) resolve(signature);
      else reject(failed(program, complaint || `ended with ${code ?? 'a signal'}`));
    });
    child.stdin.on('error', () => undefined).end(input);
  });
}

function failed(program: string, found: string): ThroughlineError {
  return new ThroughlineError('TL_SIGNING_FAILED', 'A commit could not be signed', {
    expected: `a signature of ${program}`,
    found: plain(found).trim(),
    hint: 'Look at `git.signing` in the configuration: the key has to be there, and without a passphrase.',
  });
}
