// I5: a push is not a deployment.
import type { DeploymentChange, DeploymentWait, PreparedRelease } from '../activities/index.js';
import type { CommitSha } from '../domain/ids.js';
import type { SyncedDeployment } from '../domain/release.js';
import type { Deployment } from '../plan/schema.js';
import { activities } from './policies.js';

/** Waits until the cluster runs a commit; where that took a change back, what was there before. */
export function synced(
  change: DeploymentChange,
  commit: CommitSha,
  { application, namespace, timeout }: NonNullable<Deployment['argocd']>,
  settings: PreparedRelease['settings'],
  restores?: DeploymentWait['restores'],
): Promise<SyncedDeployment> {
  // The activity ends by itself at the deadline, with what it was waiting for; the rest is for a worker to come back.
  const limits = {
    startToCloseTimeout: (timeout + 300) * 1000,
    scheduleToCloseTimeout: (timeout + 3600) * 1000,
  };
  return activities('sync', `${application} to run ${commit.slice(0, 12)}`, settings, limits).awaitDeployment(
    {
      change,
      commit,
      application,
      namespace,
      deadline: new Date(Date.now() + timeout * 1000).toISOString(),
      ...(restores ? { restores } : {}),
    },
  );
}
