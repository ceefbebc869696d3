// Takes a deployment back that does no good, where the plan asks for that: in the GitOps repository, by the branch's writer,
// and seen through until the cluster runs what was there before.
import { isCancellation } from '@temporalio/workflow';
import type { DeploymentChange, PreparedRelease } from '../activities/index.js';
import type { Deployment } from '../plan/schema.js';
import { problemOf } from './failures.js';
import { activities } from './policies.js';
import type { ReleaseProgress } from './progress.js';
import { synced } from './sync.js';

/** What says that the deployment is no good: not that nobody could look, nor that somebody else has replaced it. */
const NO_GOOD: ReadonlySet<string> = new Set([
  'TL_DEPLOYMENT_UNHEALTHY',
  'TL_SYNC_FAILED',
  'TL_SYNC_TIMEOUT',
  'TL_VERIFICATION_FAILED',
]);

/** Without a commit that landed, and for other failures, does nothing. What it cannot take back, its stage says. */
export async function takeBack(
  { settings }: PreparedRelease,
  change: DeploymentChange,
  { environment, rollback, argocd }: Deployment,
  progress: ReleaseProgress,
  error: unknown,
): Promise<void> {
  const landed = progress.record().deployments.some((one) => one.environment === environment);
  if (rollback !== 'automatic' || !landed || isCancellation(error)) return;
  const cause = problemOf(error);
  if (!NO_GOOD.has(cause.code)) return;
  const reason = `${cause.message} [${cause.code}]`;
  try {
    await progress.stage('deploy', `roll back ${environment}`, async () => {
      const at = new Date().toISOString();
      const { commit, restored } = await activities(
        'commit',
        `take back what ${environment} got`,
        settings,
      ).rollBackDeployment({ ...change, rollback: { reason, at } });
      progress.rolledBack(environment, { commit, reason });
      const runs = restored.image?.includes('@sha256:') && Object.keys(restored.annotations).length > 0;
      if (argocd && runs && settings.runtime === 'kubernetes')
        await synced(change, commit, argocd, settings, restored);
    });
  } catch (failed) {
    if (isCancellation(failed)) throw failed; // otherwise the release ends with what was wrong in the first place
  }
}
