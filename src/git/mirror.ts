// A cached bare copy of a remote repository. It is a cache and nothing more: it can be deleted at any time, and several
// processes may use it at once, because every fetch goes to a ref of its own.
//
// A copy has all of history and is never shallow: a release's own commit is found by the trailers of a branch's log, and
// whether Argo CD runs a descendant is asked of its graph, both of which a shallow copy answers wrongly. What is left out
// where it may be are the files' contents (git's partial clone, filter blob:none): they are most of what a repository
// weighs, and a release reads a few of them, which git fetches when they are asked for.
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { SimpleGit } from 'simple-git';
import { type CommitSha, parseCommitSha, sha256Hex } from '../domain/ids.js';
import type { SourceFiles } from '../plan/index.js';
import { exists } from '../processes/index.js';
import { accessEnvironment } from './access.js';
import { checkOut } from './checkout.js';
import { commitFiles } from './commit-files.js';
import type { Copy } from './copy.js';
import { joined } from './environment.js';
import { remoteFailure } from './failures.js';
import { gitIn } from './git.js';
import { gitBytes } from './objects.js';
import { ensureOnDemand, fetchMissing, makePartial } from './on-demand.js';
import { parseRefs, refNotFound } from './refs.js';
import { SingleFlight, unlessAborted } from './single-flight.js';
import { tidy } from './tidy.js';
import { checkRepositoryUrl } from './url.js';

/** Where a ref of the remote stands. */
export interface ResolvedRef {
  readonly commit: CommitSha;
  /** `branch`, `tag` or `commit`: the conventions' `vcs.ref.type`, and what a commit id is. */
  readonly type: 'branch' | 'tag' | 'commit';
}

/** What a copy is for: sources are read as a whole, of GitOps repositories a few files. */
export type Purpose = 'source' | 'gitops';

/** How the copy's own configuration names the remote. */
const REMOTE = 'origin';

const BRANCH_FETCHES = new SingleFlight<CommitSha>();

export class Mirror implements Copy {
  private constructor(
    readonly repository: string,
    /** The bare repository on this machine. */
    readonly directory: string,
    private readonly purpose: Purpose,
  ) {}

  /** Opens the copy below `cache`, or makes an empty one. Touches no network. Of one URL there is a copy for each purpose. */
  static async open(cache: string, repository: string, purpose: Purpose = 'source'): Promise<Mirror> {
    checkRepositoryUrl(repository);
    const name = sha256Hex(repository).slice(0, 24);
    const directory = join(cache, purpose === 'gitops' ? `${name}.partial.git` : `${name}.git`);
    const made = await exists(join(directory, 'HEAD'));
    if (!made) {
      await mkdir(cache, { recursive: true, mode: 0o700 });
      const temporary = await mkdtemp(join(cache, 'new-'));
      const git = gitIn(temporary);
      await git.raw(['init', '--quiet', '--bare', '.']);
      if (purpose === 'gitops') await makePartial(git, REMOTE, repository);
      // Whoever comes second finds a full directory there, and uses that.
      await rename(temporary, directory).catch(() => rm(temporary, { recursive: true, force: true }));
    }
    return new Mirror(repository, directory, purpose);
  }

  /**
   * git in the copy, with what it takes to reach the remote: for a push, and for whatever may ask for a file that is not
   * here yet. Commands that want neither take {@link gitIn}, and see no credentials (I9). What makes trees of a partial copy
   * has to be told not to look for the files that it names: `mktree --missing`, `write-tree --missing-ok`.
   */
  async git(
    signal?: AbortSignal,
    env: Readonly<Record<string, string>> = {},
    input?: string,
  ): Promise<SimpleGit> {
    const access = await accessEnvironment(this.repository, signal);
    return gitIn(this.directory, signal, joined(access, env), input);
  }

  /** As {@link git}, without what simple-git adds to it. */
  async bytes(
    parameters: readonly string[],
    input: string | Uint8Array = '',
    signal?: AbortSignal,
  ): Promise<Buffer> {
    const access = await accessEnvironment(this.repository, signal);
    return gitBytes(this.directory, parameters, input, signal, access);
  }

  /** Asks the remote where a branch, tag or commit is, and fetches it. Throws TL_REF_NOT_FOUND. */
  async fetchRef(ref: string, signal?: AbortSignal): Promise<ResolvedRef> {
    const refs = await this.remoteRefs(signal);
    const plain = ref.replace(/^refs\/(?:heads|tags)\//, '');
    const candidates = [
      {
        name: ref === 'HEAD' ? 'HEAD' : `refs/heads/${plain}`,
        type: 'branch' as const,
        skip: ref.startsWith('refs/tags/'),
      },
      { name: `refs/tags/${plain}`, type: 'tag' as const, skip: ref.startsWith('refs/heads/') },
      { name: ref, type: 'branch' as const, skip: !ref.startsWith('refs/') },
    ];
    for (const { name, type, skip } of candidates) {
      if (skip) continue;
      const found = refs.get(name);
      if (found) return { commit: (await this.seen(found)) ?? (await this.fetch(name, signal)), type };
    }
    if (/^[0-9a-f]{7,40}$/.test(ref)) {
      const commit = await this.fetchCommit(ref, signal);
      if (commit) return { commit, type: 'commit' };
    }
    const expected = 'a branch, a tag, or a commit id of at least 7 digits';
    throw refNotFound(this.repository, `ref ${JSON.stringify(ref)}`, expected, refs);
  }

  /**
   * Fetches a branch that must exist. Those who ask for the same at the same time share a fetch, which began after they
   * asked.
   */
  fetchBranch(branch: string, signal?: AbortSignal): Promise<CommitSha> {
    signal?.throwIfAborted();
    const fetched = BRANCH_FETCHES.run(`${this.directory}\0${branch}`, () => this.fetchBranchNow(branch));
    return unlessAborted(fetched, signal);
  }

  private async fetchBranchNow(branch: string): Promise<CommitSha> {
    const ref = `refs/heads/${branch}`;
    // One ref for each process: what it has seen speeds up its next fetch, and processes never meet.
    const tip = `refs/throughline/tips/${process.pid}/${sha256Hex(branch).slice(0, 16)}`;
    try {
      await this.fetchTo(ref, tip);
      return parseCommitSha(
        (await gitIn(this.directory).raw(['rev-parse', '--verify', `${tip}^{commit}`])).trim(),
      );
    } catch (error) {
      const refs = await this.remoteRefs();
      if (refs.has(ref)) throw error;
      throw refNotFound(this.repository, `branch ${JSON.stringify(branch)}`, 'a branch that exists', refs);
    }
  }

  /** Whether the repository has a commit; it is fetched where it is not here yet. */
  async has(commit: string, signal?: AbortSignal): Promise<boolean> {
    return (await this.fetchCommit(commit, signal)) !== undefined;
  }

  /** Whether the copy has a commit. Touches no network. */
  async hasHere(commit: string): Promise<boolean> {
    return (await this.here(commit)) !== undefined;
  }

  /** A commit that an earlier fetch brought whole; undefined where none did. */
  private seen(commit: string): Promise<CommitSha | undefined> {
    return this.here(`refs/throughline/seen/${commit}`);
  }

  /** The commit that a name stands for in the copy. Touches no network. */
  private async here(name: string): Promise<CommitSha | undefined> {
    const found = await gitIn(this.directory)
      .raw(['rev-parse', '--verify', '--quiet', `${name}^{commit}`])
      .catch(() => '');
    return found ? parseCommitSha(found.trim()) : undefined;
  }

  /** Whether one commit is in the history of another, or is it. Both are here. */
  async isAncestor(ancestor: CommitSha, descendant: CommitSha): Promise<boolean> {
    const base = await gitIn(this.directory)
      .raw(['merge-base', ancestor, descendant])
      .catch(() => ''); // histories without a common commit
    return base.trim() === ancestor;
  }

  /** Commits of one history that are not in another, the newest first: abbreviated id, date and subject. Both are here. */
  async log(without: CommitSha, of: CommitSha, most = 100): Promise<string[]> {
    const log = await gitIn(this.directory).raw([
      'log',
      `--max-count=${most}`,
      '--date=short',
      '--format=%h %ad %s',
      `${without}..${of}`,
    ]);
    return log.split('\n').filter(Boolean);
  }

  /** The branch that the remote's HEAD names. */
  async defaultBranch(signal?: AbortSignal): Promise<string | undefined> {
    try {
      const git = await this.git(signal);
      const listing = await git.raw(['ls-remote', '--symref', '--', this.repository, 'HEAD']);
      return /^ref: refs\/heads\/(\S+)\tHEAD$/m.exec(listing)?.[1];
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      throw remoteFailure(this.repository, error);
    }
  }

  /** The files of a commit that was fetched. */
  files(commit: CommitSha): SourceFiles {
    return commitFiles(this, commit);
  }

  /**
   * Brings files of a commit that are not here, all of them at once: read one by one, each costs a connection. Paths that
   * the commit does not have are nobody's mistake here.
   */
  async fetchFiles(commit: CommitSha, paths: readonly string[], signal?: AbortSignal): Promise<void> {
    if (this.purpose === 'source' || paths.length === 0) return;
    try {
      await fetchMissing(this, REMOTE, commit, paths, signal);
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      throw remoteFailure(this.repository, error);
    }
  }

  /** {@link checkOut} */
  async checkout(commit: CommitSha, target: string, signal?: AbortSignal, below?: string): Promise<void> {
    await checkOut(this, commit, target, signal, below);
  }

  private async remoteRefs(signal?: AbortSignal): Promise<Map<string, string>> {
    try {
      const git = await this.git(signal);
      const listing = await git.raw(['ls-remote', '--', this.repository]);
      return parseRefs(listing);
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      throw remoteFailure(this.repository, error);
    }
  }

  /** Fetches one ref of the remote to a ref of its own, so that fetches of several processes never meet. */
  private async fetch(ref: string, signal?: AbortSignal): Promise<CommitSha> {
    const git = gitIn(this.directory, signal);
    const landing = `refs/throughline/landing/${randomUUID()}`;
    await this.fetchTo(ref, landing, signal);
    const commit = parseCommitSha((await git.raw(['rev-parse', '--verify', `${landing}^{commit}`])).trim());
    // What was seen keeps its objects, and speeds up later fetches.
    await this.updateRefs(`update refs/throughline/seen/${commit} ${commit}`, `delete ${landing}`);
    return commit;
  }

  /** What is left out says the copy's configuration; a server that knows no filter sends everything. */
  private fetching(...refspecs: string[]): string[] {
    const remote = this.purpose === 'gitops' ? REMOTE : this.repository;
    return ['fetch', '--quiet', '--no-tags', '--no-write-fetch-head', '--', remote, ...refspecs];
  }

  private async fetchTo(ref: string, landing: string, signal?: AbortSignal): Promise<void> {
    const refspec = `+${ref}:${landing}`;
    try {
      await this.bytes(this.fetching(refspec), '', signal);
      if (this.purpose === 'gitops')
        await ensureOnDemand(await this.git(signal), this.directory, REMOTE, refspec);
      await tidy(this.directory, this.purpose === 'gitops');
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      throw remoteFailure(this.repository, error);
    }
  }

  /** git update-ref(1), `--stdin`: all of them or none. A transaction answers, where plain updates say nothing. */
  private async updateRefs(...commands: string[]): Promise<void> {
    const input = ['start', ...commands, 'commit', ''].join('\n');
    await gitIn(this.directory, undefined, {}, input).raw(['update-ref', '--stdin']);
  }

  private async fetchCommit(id: string, signal?: AbortSignal): Promise<CommitSha | undefined> {
    let found = await this.here(id);
    if (!found && id.length === 40) {
      // A server may refuse this; the branches and tags below are the other way to the commit.
      await this.fetch(id, signal).catch(() => undefined);
      found = await this.here(id);
    }
    if (!found) {
      const git = await this.git(signal);
      const landing = `refs/throughline/landing/${randomUUID()}`;
      try {
        await git.raw(this.fetching(`+refs/heads/*:${landing}/heads/*`, `+refs/tags/*:${landing}/tags/*`));
      } catch (error) {
        if (signal?.aborted) throw signal.reason;
        throw remoteFailure(this.repository, error);
      }
      found = await this.here(id);
      const landed = (await git.raw(['for-each-ref', '--format=%(refname)', landing]))
        .split('\n')
        .filter(Boolean);
      const keep = found ? [`update refs/throughline/seen/${found} ${found}`] : [];
      await this.updateRefs(...keep, ...landed.map((ref) => `delete ${ref}`));
    }
    return found;
  }
}
