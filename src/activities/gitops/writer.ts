// Writes one release's change into a GitOps repository, as one commit on the tip of the branch. There is no work tree:
// the new commit is made from the tip's own objects, so whatever else the repository holds stays as it is.
//
//   I3  One commit per release and environment. Before anything is written the branch is searched for the release's
//       own commit, so an attempt whose reply was lost is found again. Author, date, parent and content are functions
//       of the release, so that two attempts on the same tip make the very same commit.
//   I4  Only fast-forward pushes. A rejected one is made anew on the new tip. A release that was asked for earlier than
//       what is deployed gives way.
import { posix } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ThroughlineError } from '../../domain/errors.js';
import { type CommitSha, parseCommitSha } from '../../domain/ids.js';
import type { Observation } from '../../domain/observation.js';
import { redact } from '../../domain/urls.js';
import { classifyPushFailure, gitIn, lastLines, Mirror, remoteFailure } from '../../git/index.js';
import { MAX_MANIFEST_BYTES, normalizePath } from '../../plan/index.js';
import { pushObservation } from '../../telemetry/observations.js';
import {
  type DeployMessage,
  type DeployTrailers,
  formatMessage,
  LOG_FORMAT,
  parseLog,
} from './commit-message.js';

/** How often a push may be overtaken within one call; the caller's own retries come after that. */
const MAX_ROUNDS = 50;

export interface GitOpsChange {
  readonly repository: string;
  readonly branch: string;
  readonly manifest: string;
  readonly message: DeployMessage;
  /** ISO 8601; date of the commit. */
  readonly committedAt: string;
  /** The edit, made anew on each tip. Throws where it cannot be made. */
  edit(text: string): string;
}

export interface CommitIdentity {
  readonly name: string;
  readonly email: string;
}

export interface WriteOptions {
  readonly signal: AbortSignal;
  /** Called with what is being done, in a person's words. */
  readonly report: (doing: string) => void;
  /** What was done, for the trace. */
  readonly observe?: (...observations: Observation[]) => void;
}

/** How a revision of the repository relates to a commit of ours (I5). */
export type Revision =
  /** Our commit itself. */
  | 'ours'
  /** A descendant in which our change stands. */
  | 'kept'
  /** From before our commit. */
  | 'older'
  /** A descendant in which somebody changed what was ours. */
  | 'changed'
  /** Not of this branch's history. */
  | 'unknown';

/** The port: where a release's change to the desired state goes. */
export interface GitOpsRepository {
  /** Throws where the change could not be made now: an unknown branch, a missing manifest or container. */
  check(
    change: Pick<GitOpsChange, 'repository' | 'branch' | 'manifest' | 'edit'>,
    options: WriteOptions,
  ): Promise<void>;
  /** Writes the change, or finds it written. Throws TL_RELEASE_SUPERSEDED where a newer release is deployed. */
  write(change: GitOpsChange, options: WriteOptions): Promise<CommitSha>;
  /** The commit that {@link write} made, where it got through. Changes nothing. */
  find(change: GitOpsChange, options: WriteOptions): Promise<CommitSha | undefined>;
  /** Judges a revision by git's own history. Throws TL_RELEASE_SUPERSEDED where a newer release replaced ours in it. */
  relation(change: GitOpsChange, commit: CommitSha, revision: string, signal: AbortSignal): Promise<Revision>;
  /** The manifest as it is at a commit. */
  manifestAt(
    change: Pick<GitOpsChange, 'repository' | 'manifest'>,
    commit: CommitSha,
    signal: AbortSignal,
  ): Promise<string>;
  /** Whether a directory of the branch is a Kustomize one. */
  hasKustomization(
    repository: string,
    branch: string,
    directory: string,
    signal: AbortSignal,
  ): Promise<boolean>;
  /** The branch that the remote's HEAD names. */
  defaultBranch(repository: string, signal: AbortSignal): Promise<string | undefined>;
}

/** The adapter for plain git remotes, over cached mirrors. */
export class GitGitOpsRepository implements GitOpsRepository {
  constructor(
    private readonly cache: string,
    private readonly identity: CommitIdentity,
  ) {}

  async check(
    change: Pick<GitOpsChange, 'repository' | 'branch' | 'manifest' | 'edit'>,
    { signal, report }: WriteOptions,
  ): Promise<void> {
    report(`checking ${change.manifest} in ${redact(change.repository)}`);
    const mirror = await Mirror.open(this.cache, change.repository);
    const tip = await mirror.fetchBranch(change.branch, signal);
    change.edit(await readManifest(mirror, tip, change.manifest));
  }

  async write(change: GitOpsChange, { signal, report, observe }: WriteOptions): Promise<CommitSha> {
    const mirror = await Mirror.open(this.cache, change.repository);
    for (let round = 1; round <= MAX_ROUNDS; round += 1) {
      signal.throwIfAborted();
      report(
        round === 1 ? `fetching ${redact(change.repository)}` : `pushing again, overtaken ${round - 1} times`,
      );
      const tip = await mirror.fetchBranch(change.branch, signal);
      const own = await ownCommit(mirror, tip, change.message);
      if (own) return own;
      await refuseIfSuperseded(mirror, tip, change);
      const commit = await this.commitOn(mirror, tip, change, signal);
      report(`pushing ${commit.slice(0, 12)} to ${change.branch}`);
      signal.throwIfAborted();
      const start = new Date();
      if (await push(mirror, commit, change.branch)) {
        const repository = redact(change.repository);
        observe?.(pushObservation({ repository, commit, start, end: new Date() }));
        return commit;
      }
      await sleep(Math.random() * Math.min(1000, 30 * 1.5 ** round), undefined, { signal });
    }
    throw new ThroughlineError(
      'TL_REPOSITORY_UNREACHABLE',
      `${redact(change.repository)} is pushed to without pause`,
      {
        expected: `room for a push within ${MAX_ROUNDS} tries`,
      },
    );
  }

  async find(change: GitOpsChange, { signal, report }: WriteOptions): Promise<CommitSha | undefined> {
    report(`looking for the commit in ${redact(change.repository)}`);
    const mirror = await Mirror.open(this.cache, change.repository);
    return ownCommit(mirror, await mirror.fetchBranch(change.branch, signal), change.message);
  }

  async relation(
    change: GitOpsChange,
    commit: CommitSha,
    revision: string,
    signal: AbortSignal,
  ): Promise<Revision> {
    if (revision === commit) return 'ours';
    if (!/^[0-9a-f]{40}$/.test(revision)) return 'unknown';
    const mirror = await Mirror.open(this.cache, change.repository);
    if (!(await mirror.has(revision, signal))) return 'unknown';
    const found = parseCommitSha(revision);
    if (await mirror.isAncestor(found, commit)) return 'older';
    if (!(await mirror.isAncestor(commit, found))) return 'unknown';
    const text = await readManifest(mirror, found, change.manifest).catch(() => '');
    if (text !== '' && change.edit(text) === text) return 'kept';
    await refuseIfSuperseded(mirror, found, change);
    return 'changed';
  }

  async manifestAt(
    change: Pick<GitOpsChange, 'repository' | 'manifest'>,
    commit: CommitSha,
    signal: AbortSignal,
  ): Promise<string> {
    const mirror = await Mirror.open(this.cache, change.repository);
    await mirror.has(commit, signal);
    return readManifest(mirror, commit, change.manifest);
  }

  async hasKustomization(
    repository: string,
    branch: string,
    directory: string,
    signal: AbortSignal,
  ): Promise<boolean> {
    const mirror = await Mirror.open(this.cache, repository);
    const files = mirror.files(await mirror.fetchBranch(branch, signal));
    // As Kustomize looks for its file.
    for (const name of ['kustomization.yaml', 'kustomization.yml', 'Kustomization']) {
      if ((await files.kind(directory === '.' ? name : `${directory}/${name}`)) === 'file') return true;
    }
    return false;
  }

  async defaultBranch(repository: string, signal: AbortSignal): Promise<string | undefined> {
    return (await Mirror.open(this.cache, repository)).defaultBranch(signal);
  }

  private async commitOn(
    mirror: Mirror,
    tip: CommitSha,
    change: GitOpsChange,
    signal: AbortSignal,
  ): Promise<CommitSha> {
    const edited = change.edit(await readManifest(mirror, tip, change.manifest));
    const date = change.committedAt;
    const env = {
      GIT_AUTHOR_NAME: this.identity.name,
      GIT_AUTHOR_EMAIL: this.identity.email,
      GIT_AUTHOR_DATE: date,
      GIT_COMMITTER_NAME: this.identity.name,
      GIT_COMMITTER_EMAIL: this.identity.email,
      GIT_COMMITTER_DATE: date,
    };
    const git = (input: string) => gitIn(mirror.directory, signal, env, input);
    const blob = (await git(edited).raw(['hash-object', '-w', '--stdin'])).trim();
    const tree = await treeWith(mirror, tip, change.manifest, blob, signal);
    const words = ['commit-tree', tree, '-p', tip, '-F', '-'];
    return parseCommitSha((await git(formatMessage(change.message)).raw(words)).trim());
  }
}

/**
 * The tree of a commit with another blob in the place of one that it has. Only the trees on the way to it are made anew,
 * so that it costs the same in a repository of ten files and of ten thousand.
 */
async function treeWith(
  mirror: Mirror,
  commit: CommitSha,
  path: string,
  blob: string,
  signal: AbortSignal,
): Promise<string> {
  let object = blob;
  for (let rest = normalizePath(path); ; rest = posix.dirname(rest)) {
    const directory = posix.dirname(rest);
    const treeish = directory === '.' ? commit : `${commit}:${directory}`;
    const entries = (await gitIn(mirror.directory, signal).raw(['ls-tree', '-z', treeish])).split('\0');
    const name = posix.basename(rest);
    const changed = entries.map((entry) => {
      const [meta = '', entryName] = splitOnce(entry, '\t');
      return entryName === name ? `${meta.replace(/[0-9a-f]{40,64}$/, object)}\t${name}` : entry;
    });
    const made = await gitIn(mirror.directory, signal, {}, changed.join('\0')).raw(['mktree', '-z']);
    object = made.trim();
    if (directory === '.') return object;
  }
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const index = text.indexOf(separator);
  return index < 0 ? [text, undefined] : [text.slice(0, index), text.slice(index + 1)];
}

async function readManifest(mirror: Mirror, commit: CommitSha, manifest: string): Promise<string> {
  const files = mirror.files(commit);
  if ((await files.kind(manifest)) !== 'file') {
    throw new ThroughlineError('TL_FILE_NOT_FOUND', `${redact(mirror.repository)} has no file ${manifest}`, {
      expected: 'the manifest that `deploy` names in the plan',
    });
  }
  return files.read(manifest, MAX_MANIFEST_BYTES);
}

/** I3: the commit that an earlier attempt of this release made for this environment. */
async function ownCommit(
  mirror: Mirror,
  tip: CommitSha,
  message: DeployMessage,
): Promise<CommitSha | undefined> {
  const log = await gitIn(mirror.directory).raw([
    'log',
    '--fixed-strings',
    `--grep=Release-Id: ${message.release}`,
    LOG_FORMAT,
    tip,
  ]);
  const own = parseLog(log).find(
    ({ release, environment }) => release === message.release && environment === message.environment,
  );
  return own && parseCommitSha(own.commit);
}

/** I4: the last release of this model and environment that touched the manifest must not be newer than ours. */
async function refuseIfSuperseded(mirror: Mirror, tip: CommitSha, change: GitOpsChange): Promise<void> {
  const { message } = change;
  const log = await gitIn(mirror.directory).raw([
    '--literal-pathspecs',
    'log',
    '--fixed-strings',
    '--grep=Release-Id: ',
    '--max-count=200',
    LOG_FORMAT,
    tip,
    '--',
    change.manifest,
  ]);
  const newer = parseLog(log).find((other) => isNewer(other, message));
  if (!newer) return;
  throw new ThroughlineError(
    'TL_RELEASE_SUPERSEDED',
    `A newer release of ${message.model} is deployed already`,
    {
      found: `${newer.release}, asked for at ${newer.requestedAt}, as ${newer.commit.slice(0, 12)}`,
      expected: `nothing newer than ${message.requestedAt}`,
    },
  );
}

function isNewer(other: DeployTrailers, ours: DeployMessage): boolean {
  if (other.release === ours.release || other.model !== ours.model || other.environment !== ours.environment)
    return false;
  const theirs = Date.parse(other.requestedAt);
  return theirs > Date.parse(ours.requestedAt);
}

/**
 * True when the remote has the commit; false when somebody else pushed first. Not abortable: a push that was begun is
 * seen to its end, so that a cancellation knows what got through (I6).
 */
async function push(mirror: Mirror, commit: CommitSha, branch: string): Promise<boolean> {
  try {
    await gitIn(mirror.directory).raw([
      'push',
      '--porcelain', // which says something: simple-git waits 50 ms longer for commands that do not
      '--no-verify',
      '--',
      mirror.repository,
      `${commit}:refs/heads/${branch}`,
    ]);
    return true;
  } catch (error) {
    const text = redact(error instanceof Error ? error.message : String(error));
    const failure = classifyPushFailure(text);
    if (failure === 'raced') return false;
    if (failure === 'unknown') throw remoteFailure(mirror.repository, error);
    throw new ThroughlineError(
      'TL_PUSH_REJECTED',
      `${redact(mirror.repository)} refuses the push to ${branch}`,
      {
        found: lastLines(text, 5),
      },
    );
  }
}
