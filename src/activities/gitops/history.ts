// What has been written into a manifest, by whomever: the line of a branch's commits that changed it.
import { parseCommitSha } from '../../domain/ids.js';
import { gitIn, Mirror } from '../../git/index.js';
import { MAX_MANIFEST_BYTES } from '../../plan/index.js';
import { type DeployTrailers, LOG_FORMAT, parseLog } from './commit-message.js';
import { type DeployedTemplate, deployedIn } from './manifest.js';

/** Commits of a branch that changed a manifest; trailers are empty where a person made it. */
export interface ManifestHistory {
  readonly tip: string;
  /** Oldest first, those after `since` where that is in the branch's history, otherwise all: then `since` is undefined. */
  changes(
    manifest: string,
    since: string | undefined,
  ): Promise<{ readonly since: string | undefined; readonly commits: readonly DeployTrailers[] }>;
  /** What the manifest deployed then; nothing where it was not there. */
  deployed(manifest: string, commit: string): Promise<readonly DeployedTemplate[]>;
}

/** What a commit deploys by a manifest; `no commit` where there is none; undefined where that cannot be read. */
export type Committed = readonly DeployedTemplate[] | 'no commit' | undefined;

export async function committedTemplates(
  cache: string,
  repository: string,
  commit: string,
  manifest: string,
  signal?: AbortSignal,
): Promise<Committed> {
  try {
    const mirror = await Mirror.open(cache, repository);
    if (!(await mirror.has(parseCommitSha(commit), signal))) return 'no commit';
    const history = await manifestHistory(cache, repository, { commit }, signal);
    return await history.deployed(manifest, commit);
  } catch {
    return undefined;
  }
}

/** Reads a branch as it is now, or a commit. Throws where the repository cannot be read. */
export async function manifestHistory(
  cache: string,
  repository: string,
  at: { readonly branch: string } | { readonly commit: string },
  signal?: AbortSignal,
): Promise<ManifestHistory> {
  const mirror = await Mirror.open(cache, repository);
  const tip = 'branch' in at ? await mirror.fetchBranch(at.branch, signal) : parseCommitSha(at.commit);
  if ('commit' in at && !(await mirror.has(tip, signal))) throw new Error(`there is no commit ${tip}`);
  return {
    tip,
    async changes(manifest, since) {
      const known =
        since !== undefined &&
        (await mirror.hasHere(since)) &&
        (await mirror.isAncestor(since as typeof tip, tip));
      // The branch's own line: what a merge brought counts from the merge on.
      const log = await gitIn(mirror.directory, signal).raw([
        '--literal-pathspecs',
        'log',
        '--first-parent',
        '-m',
        '--reverse',
        LOG_FORMAT,
        known ? `${since}..${tip}` : tip,
        '--',
        manifest,
      ]);
      return { since: known ? since : undefined, commits: parseLog(log) };
    },
    async deployed(manifest, commit) {
      const files = mirror.files(commit as typeof tip);
      if ((await files.kind(manifest)) !== 'file') return [];
      return deployedIn(await files.read(manifest, MAX_MANIFEST_BYTES));
    },
  };
}
