// What releases have written on a branch, read from its commits once and then only from those that are new: a branch of a
// hundred thousand commits is not searched again for every release.
import type { CommitSha } from '../../domain/ids.js';
import { gitBytes, type Mirror } from '../../git/index.js';
import { type DeployTrailers, LOG_FORMAT, parseLog, ROLLBACK_TRAILER } from './commit-message.js';

export class BranchLog {
  private tip: CommitSha | undefined;
  private own = new Map<string, CommitSha>();
  private rollbacks = new Map<string, CommitSha>();
  private newest = new Map<string, DeployTrailers>();
  private last = new Map<string, CommitSha>();

  /** Reads on to a tip. One that does not descend from the last (somebody has rewritten the branch) is read from the start. */
  async read(mirror: Mirror, tip: CommitSha, signal?: AbortSignal): Promise<void> {
    if (tip === this.tip) return;
    const git = async (...parameters: string[]) =>
      (await gitBytes(mirror.directory, parameters, '', signal)).toString('utf8');
    if (this.tip) {
      const marked = `--format=%m${LOG_FORMAT.slice('--format='.length)}`;
      const range = `${this.tip}...${tip}`;
      const log = await git('log', '--left-right', marked, range).catch(() => '<'); // a mirror that was deleted meanwhile
      if (!/(?:^|\x1e\n?)</.test(log)) {
        this.take(parseLog(log.replace(/(^|\x1e\n?)>/g, '$1')));
        this.tip = tip;
        return;
      }
    }
    this.own = new Map();
    this.rollbacks = new Map();
    this.newest = new Map();
    this.last = new Map();
    const ours = ['--grep=Release-Id: ', `--grep=${ROLLBACK_TRAILER}: `]; // one or the other
    this.take(parseLog(await git('log', '--fixed-strings', ...ours, LOG_FORMAT, tip)));
    this.tip = tip;
  }

  /** I3: the commit that an earlier attempt of a release made for an environment. */
  commitOf(release: string, environment: string): CommitSha | undefined {
    return this.own.get(keyOf(release, environment));
  }

  /** I4: of all releases of a model that were written for an environment, the one that was asked for last. */
  newestOf(model: string, environment: string): DeployTrailers | undefined {
    return this.newest.get(keyOf(model, environment));
  }

  /** The commit that took back what a release had deployed to an environment. */
  rollbackOf(release: string, environment: string): CommitSha | undefined {
    return this.rollbacks.get(keyOf(release, environment));
  }

  /** The last commit of ours for a model in an environment: what people have done since is theirs. */
  lastOf(model: string, environment: string): CommitSha | undefined {
    return this.last.get(keyOf(model, environment));
  }

  private take(commits: readonly DeployTrailers[]): void {
    const last = new Map<string, CommitSha>();
    for (const one of commits) {
      const { release, rollbackOf, model, environment, requestedAt } = one;
      if (release === '' && rollbackOf === '') continue;
      const commit = one.commit as CommitSha;
      const key = keyOf(model, environment);
      // The newest commit comes first in a log, and of two it is the one that counts.
      if (!last.has(key)) last.set(key, commit);
      if (release === '') {
        this.rollbacks.set(keyOf(rollbackOf, environment), commit);
        continue;
      }
      const own = keyOf(release, environment);
      if (!this.own.has(own)) this.own.set(own, commit);
      const known = this.newest.get(key);
      if (!known || Date.parse(requestedAt) > Date.parse(known.requestedAt)) this.newest.set(key, one);
    }
    for (const [key, commit] of last) this.last.set(key, commit);
  }
}

const keyOf = (...parts: readonly string[]) => parts.join('\0');
