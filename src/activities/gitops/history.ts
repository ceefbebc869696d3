// What has been written into a manifest, by whomever: the line of a branch's commits that changed it.
import { parseCommitSha } from '../../domain/ids.js';
import { gitIn, Mirror } from '../../git/index.js';
import { MAX_MANIFEST_BYTES } from '../../plan/index.js';
import { type DeployTrailers, LOG_FORMAT, parseLog } from './commit-message.js';
import { type DeployedTemplate, deployedBy } from './deployed.js';

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
    const mirror = await Mirror.open(cache, repository, 'gitops');
    if (!(await mirror.has(parseCommitSha(commit), signal))) return 'no commit';
    return await deployedAt(mirror, manifest, commit);
  } catch {
    return undefined;
  }
}

/** Reads a branch as it is now. Throws where the repository cannot be read. */
export async function manifestHistory(
  cache: string,
  repository: string,
  branch: string,
  signal?: AbortSignal,
): Promise<ManifestHistory> {
  const mirror = await Mirror.open(cache, repository, 'gitops');
  const tip = await mirror.fetchBranch(branch, signal);
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
    deployed: (manifest, commit) => deployedAt(mirror, manifest, commit),
  };
}

async function deployedAt(
  mirror: Mirror,
  manifest: string,
  commit: string,
): Promise<readonly DeployedTemplate[]> {
  const files = mirror.files(parseCommitSha(commit));
  return deployedBy(manifest, async (path) =>
    (await files.kind(path)) === 'file' ? files.read(path, MAX_MANIFEST_BYTES) : undefined,
  );
}
