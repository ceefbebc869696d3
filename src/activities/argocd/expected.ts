// What a wait for Argo CD, or a look at what it has deployed, expects to find, out of what the release asks for.
import { deployChange, restoredChange, servedTrace, targetOf } from '../gitops/deployment.js';
import type { DeployedCommit } from '../index.js';
import type { ExpectedWorkload } from './watcher.js';

export function expectedOf({
  change,
  commit,
  application,
  namespace,
  restores,
}: DeployedCommit): ExpectedWorkload {
  const { repository, branch } = change;
  const target = { application, namespace, repository, branch, ...targetOf(change) };
  const restored = restores && restoredChange(change, restores);
  const served = { traceparent: servedTrace(change), imageDigest: change.imageDigest };
  const { traceparent, imageDigest } = restored ?? served;
  return { ...target, change: restored ?? deployChange(change), commit, traceparent, imageDigest };
}
