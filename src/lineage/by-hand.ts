// What people did to a deployment by hand: a revert brings an older release back, an edit may bring anything. Without it a
// window would go on that has long ended. Pure, but for what it is told to read.
import type { DeploymentRow } from './schema.js';

/** A commit that changed the manifest. `release` is the one that made it for this target; none where a person did. */
export interface ManifestCommit {
  readonly commit: string;
  /** ISO 8601: the committer's date, which is all that is known of when it took effect. */
  readonly committedAt: string;
  readonly release: string | undefined;
  /** When that was rolled out, where it is known. */
  readonly servedFrom?: Date | undefined;
}

/** What a manifest deploys for the target: a release that is known, or an image of nobody's. */
export interface Deployed {
  readonly release: string | undefined;
  readonly imageDigest: string | undefined;
}

/** Where the commits begin: what was deployed then, and since when. */
export interface Before extends Deployed {
  readonly servedFrom?: Date | undefined;
}

export interface HandTarget {
  readonly environment: string;
  readonly model: string;
  readonly repository: string;
  readonly manifest: string;
  readonly branch: string;
}

/** The rows of what was done by hand, from commits in their order; `before` is what was deployed before the first. */
export async function deploymentsByHand(
  target: HandTarget,
  commits: readonly ManifestCommit[],
  before: Before,
  deployedAt: (commit: string) => Promise<Deployed>,
): Promise<DeploymentRow[]> {
  const rows: DeploymentRow[] = [];
  let current: Deployed = before;
  let served = before.servedFrom?.getTime() ?? 0;
  for (const { commit, committedAt, release, servedFrom } of commits) {
    if (release !== undefined) {
      current = { release, imageDigest: undefined };
      served = Math.max(served, servedFrom?.getTime() ?? 0);
      continue;
    }
    const found = await deployedAt(commit);
    const same =
      found.release === undefined
        ? current.release === undefined && found.imageDigest === current.imageDigest
        : found.release === current.release;
    current = found;
    if (same) continue; // another line of the manifest
    // What comes later in the branch takes effect later: git's dates are whole seconds, and a clock may be behind.
    served = Math.max(Date.parse(committedAt), served + 1);
    rows.push({
      ...target,
      release: found.release ?? null,
      commit,
      cause: found.release === undefined ? 'other' : 'rollback',
      imageDigest: found.imageDigest ?? null,
      application: null,
      revision: null,
      workloadKind: null,
      workloadNamespace: null,
      workload: null,
      committedAt: new Date(committedAt),
      servedFrom: new Date(served),
    });
  }
  return rows;
}
