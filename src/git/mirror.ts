// A cached bare copy of a remote repository. It is a cache and nothing more: it can be deleted at any time, and several
// processes may use it at once, because every fetch goes to a ref of its own.
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ThroughlineError } from '../domain/errors.js';
import { type CommitSha, parseCommitSha, sha256Hex } from '../domain/ids.js';
import { redact } from '../domain/urls.js';
import { normalizePath, type SourceFiles, symbolicLink, tooLarge } from '../plan/index.js';
import { exists } from '../processes/index.js';
import { remoteFailure } from './failures.js';
import { gitIn } from './git.js';
import { gitBytes } from './objects.js';
import { SingleFlight, unlessAborted } from './single-flight.js';
import { checkRepositoryUrl } from './url.js';

/** Where a ref of the remote stands. */
export interface ResolvedRef {
  readonly commit: CommitSha;
  /** `branch`, `tag` or `commit`: the conventions' `vcs.ref.type`, and what a commit id is. */
  readonly type: 'branch' | 'tag' | 'commit';
}

const BRANCH_FETCHES = new SingleFlight<CommitSha>();

export class Mirror {
  private constructor(
    readonly repository: string,
    /** The bare repository on this machine. */
    readonly directory: string,
  ) {}

  /** Opens the copy below `cache`, or makes an empty one. Touches no network. */
  static async open(cache: string, repository: string): Promise<Mirror> {
    checkRepositoryUrl(repository);
    const directory = join(cache, `${sha256Hex(repository).slice(0, 24)}.git`);
    const made = await exists(join(directory, 'HEAD'));
    if (!made) {
      await mkdir(cache, { recursive: true, mode: 0o700 });
      const temporary = await mkdtemp(join(cache, 'new-'));
      await gitIn(temporary).raw(['init', '--quiet', '--bare', '.']);
      // Whoever comes second finds a full directory there, and uses that.
      await rename(temporary, directory).catch(() => rm(temporary, { recursive: true, force: true }));
    }
    return new Mirror(repository, directory);
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
    throw new ThroughlineError(
      'TL_REF_NOT_FOUND',
      `${redact(this.repository)} has no ref ${JSON.stringify(ref)}`,
      {
        expected: 'a branch, a tag, or a commit id of at least 7 digits',
        found: refs.size === 0 ? 'an empty repository' : `branches: ${branchesOf(refs)}`,
      },
    );
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
      throw new ThroughlineError(
        'TL_REF_NOT_FOUND',
        `${redact(this.repository)} has no branch ${JSON.stringify(branch)}`,
        {
          expected: 'a branch that exists',
          found: refs.size === 0 ? 'an empty repository' : `branches: ${branchesOf(refs)}`,
        },
      );
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
      const listing = await gitIn(this.directory, signal).raw([
        'ls-remote',
        '--symref',
        '--',
        this.repository,
        'HEAD',
      ]);
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

  /** Writes the files of a commit below `target`, which appears whole or not at all; done before counts as done. */
  async checkout(commit: CommitSha, target: string, signal?: AbortSignal): Promise<void> {
    if (await exists(target)) return;
    await mkdir(join(target, '..'), { recursive: true, mode: 0o700 });
    const temporary = await mkdtemp(`${target}.`);
    const index = `${temporary}.index`;
    try {
      const git = gitIn(this.directory, signal, {
        GIT_INDEX_FILE: index,
        GIT_DIR: this.directory,
        GIT_WORK_TREE: temporary,
      });
      await git.raw(['read-tree', commit]);
      await git.raw(['checkout-index', '--all', '--force']);
      await rename(temporary, target).catch(async (error) => {
        if (!(await exists(target))) throw error;
      });
    } finally {
      await rm(temporary, { recursive: true, force: true });
      await rm(index, { force: true });
    }
  }

  private async remoteRefs(signal?: AbortSignal): Promise<Map<string, string>> {
    try {
      const listing = await gitIn(this.directory, signal).raw(['ls-remote', '--', this.repository]);
      return new Map(
        listing
          .split('\n')
          .filter((line) => line.includes('\t'))
          .map((line) => {
            const [sha = '', name = ''] = line.split('\t');
            return [name, sha];
          }),
      );
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

  private async fetchTo(ref: string, landing: string, signal?: AbortSignal): Promise<void> {
    try {
      await gitBytes(
        this.directory,
        [
          'fetch',
          '--quiet',
          '--no-tags',
          '--no-write-fetch-head',
          '--',
          this.repository,
          `+${ref}:${landing}`,
        ],
        '',
        signal,
      );
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
    const git = gitIn(this.directory, signal);
    let found = await this.here(id);
    if (!found && id.length === 40) {
      // A server may refuse this; the branches and tags below are the other way to the commit.
      await this.fetch(id, signal).catch(() => undefined);
      found = await this.here(id);
    }
    if (!found) {
      const landing = `refs/throughline/landing/${randomUUID()}`;
      try {
        await git.raw([
          'fetch',
          '--quiet',
          '--no-write-fetch-head',
          '--no-tags',
          '--',
          this.repository,
          `+refs/heads/*:${landing}/heads/*`,
          `+refs/tags/*:${landing}/tags/*`,
        ]);
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

function branchesOf(refs: Map<string, string>): string {
  const names = [...refs.keys()]
    .filter((name) => name.startsWith('refs/heads/'))
    .map((name) => name.slice(11));
  return names.length > 8 ? `${names.slice(0, 8).join(', ')}, …` : names.join(', ');
}

/** git ls-tree(1), `--long`: mode, type, object, size or `-`, then a tab and the name. */
const TREE_ENTRY = /^(\d{6}) (\w+) ([0-9a-f]{40}) +(\d+|-)\t(.*)$/s;
const SYMBOLIC_LINK_MODE = '120000';

interface TreeEntry {
  readonly mode: string;
  readonly type: string;
  readonly object: string;
  readonly bytes: number;
}

/** A commit does not change: each directory on the way is listed once, however many of its files are asked for. */
function commitFiles(mirror: Mirror, commit: CommitSha): SourceFiles {
  const git = gitIn(mirror.directory);
  const listings = new Map<string, Promise<Map<string, TreeEntry>>>();
  const listing = (tree: string) => {
    const known = listings.get(tree) ?? list(tree);
    listings.set(tree, known);
    return known;
  };
  const list = async (tree: string) => {
    const lines = (await git.raw(['ls-tree', '--long', '-z', tree])).split('\0');
    const entries = lines.flatMap((line): [string, TreeEntry][] => {
      const [, mode = '', type = '', object = '', bytes, name] = TREE_ENTRY.exec(line) ?? [];
      return name === undefined ? [] : [[name, { mode, type, object, bytes: Number(bytes) }]];
    });
    return new Map(entries);
  };
  const entry = async (path: string) => {
    const parts = normalizePath(path).split('/');
    let found: TreeEntry | undefined;
    for (const [depth, name] of parts.entries()) {
      if (found && found.type !== 'tree') return undefined;
      found = (await listing(found?.object ?? commit)).get(name);
      if (found?.mode === SYMBOLIC_LINK_MODE) throw symbolicLink(path, parts.slice(0, depth + 1).join('/'));
      if (!found) return undefined;
    }
    return found;
  };
  return {
    async kind(path) {
      if (normalizePath(path) === '.') return 'directory';
      const found = await entry(path);
      if (found?.type === 'tree') return 'directory';
      return found?.type === 'blob' ? 'file' : undefined;
    },
    async read(path, maxBytes) {
      const found = await entry(path);
      if (found?.type !== 'blob')
        throw new ThroughlineError('TL_FILE_NOT_FOUND', `There is no file at ${path}`);
      if (found.bytes > maxBytes) throw tooLarge(path, found.bytes, maxBytes);
      return git.raw(['cat-file', 'blob', found.object]);
    },
  };
}
