// What releases have written on a branch, read from its commits once and then only from those that are new: a branch of a
// hundred thousand commits is not searched again for every release.
import type { CommitSha } from '../../domain/ids.js';
import { gitBytes, type Mirror } from '../../git/index.js';
import { type DeployTrailers, LOG_FORMAT, parseLog } from './commit-message.js';

export class BranchLog {
  private tip: CommitSha | undefined;
  private own = new Map<string, CommitSha>();
  private newest = new Map<string, DeployTrailers>();

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
    this.newest = new Map();
    this.take(parseLog(await git('log', '--fixed-strings', '--grep=Release-Id: ', LOG_FORMAT, tip)));
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

  private take(commits: readonly DeployTrailers[]): void {
    for (const commit of commits) {
      const { release, model, environment, requestedAt } = commit;
      if (release === '') continue;
      // The newest commit comes first in a log, and of two of one release it is the one that counts.
      const own = keyOf(release, environment);
      if (!this.own.has(own)) this.own.set(own, commit.commit as CommitSha);
      const key = keyOf(model, environment);
      const known = this.newest.get(key);
      if (!known || Date.parse(requestedAt) > Date.parse(known.requestedAt)) this.newest.set(key, commit);
    }
  }
}

const keyOf = (...parts: readonly string[]) => parts.join('\0');
