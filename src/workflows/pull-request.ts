// A deployment that goes by a pull request: it is proposed, and waited for until people, or the forge, have merged it.
import type { DeploymentChange, DeploymentProposal, WorkerSettings } from '../activities/index.js';
import type { GitOpsCommit, Outcome, ReleaseRequest, TrainedModel } from '../domain/release.js';
import { withoutUser } from '../domain/urls.js';
import type { Plan, PullRequestMode } from '../plan/index.js';
import { problemOf } from './failures.js';
import { ruleText } from './gate.js';
import { activities } from './policies.js';
import { type ReleaseProgress, StageEnded } from './progress.js';

/** What may have to be taken back: the number is known once the pull request is. */
export interface Proposal extends DeploymentProposal {
  number?: number | undefined;
}

export function proposalOf(
  change: DeploymentChange,
  mode: PullRequestMode,
  plan: Plan,
  model: TrainedModel,
  { url, repository }: ReleaseRequest,
): Proposal {
  const gates = plan.evaluate.accept;
  const metrics = Object.entries(model.metrics).map(([name, value]) => {
    const gate = gates.filter(({ metric }) => metric === name).map(ruleText);
    return { name, value, ...(gate.length > 0 ? { gate: gate.join(' and ') } : {}) };
  });
  return {
    change,
    mode,
    evidence: {
      url,
      repository: withoutUser(repository),
      modelDigest: model.digest,
      datasetDigest: model.datasetDigest,
      metrics,
    },
  };
}

/**
 * Gives the commit that the branch has of it then: of the merge, the squash or the rebase. Ends the stage as REJECTED where
 * somebody closes the pull request, and as SUPERSEDED where a newer release of the model is there.
 */
export async function viaPullRequest(
  proposal: Proposal,
  settings: WorkerSettings,
  progress: ReleaseProgress,
): Promise<GitOpsCommit> {
  const { change, mode, evidence } = proposal;
  const { environment, manifest } = change;
  try {
    const proposed = await activities(
      'commit',
      `propose ${manifest} of ${environment}`,
      settings,
    ).proposeDeployment({
      change,
      mode,
      evidence,
    });
    if ('commit' in proposed) return proposed;
    const { number, url, openedAt } = proposed;
    const until = new Date(Date.now() + mode.timeout * 1000).toISOString();
    proposal.number = number;
    progress.proposes({ environment, number, url, openedAt, until });
    // The activity ends by itself at the deadline, with what it was waiting for; the rest is for a worker to come back.
    const limits = {
      startToCloseTimeout: (mode.timeout + 600) * 1000,
      scheduleToCloseTimeout: (mode.timeout + 3600) * 1000,
    };
    return await activities('merge', `${url} to be merged`, settings, limits).awaitMerge({
      proposal: { change, mode, evidence },
      number,
      deadline: until,
    });
  } catch (error) {
    const problem = problemOf(error);
    if (problem.code === 'TL_PULL_REQUEST_CLOSED') throw new StageEnded({ status: 'REJECTED', problem });
    if (problem.code === 'TL_RELEASE_SUPERSEDED') throw new StageEnded({ status: 'SUPERSEDED', problem });
    throw error;
  }
}

/** I6: what was proposed is not left open. Gives its commit, where it was merged all the same. */
export function withdrawn(
  { number, change, mode, evidence }: Proposal,
  outcome: Outcome,
): Promise<GitOpsCommit | undefined> {
  const code = 'problem' in outcome ? ` (${outcome.problem.code})` : '';
  return activities('cleanUp', `close the pull request of ${change.environment}`).withdrawProposal(
    { change, mode, evidence },
    number,
    `Release ${change.release} ended ${outcome.status}${code}: this is not waited for any more.`,
  );
}
