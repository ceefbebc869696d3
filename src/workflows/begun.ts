// I6: what a release has started and not finished, so that whatever ends the release ends that, too.
import { CancellationScope } from '@temporalio/workflow';
import type { DeploymentChange } from '../activities/index.js';
import type { Outcome, ReleaseRequest } from '../domain/release.js';
import { problemOf } from './failures.js';
import { activities } from './policies.js';
import type { ReleaseProgress } from './progress.js';
import { type Proposal, withdrawn } from './pull-request.js';

export class Begun {
  job: string | undefined;
  build = false;
  deployment: DeploymentChange | undefined;
  proposal: Proposal | undefined;
  /** A Job that is let go of, beside whatever comes next; not even a cancellation ends that (I6). */
  settling: Promise<void> = Promise.resolve();

  constructor(private readonly request: ReleaseRequest) {}

  settle(letGo: () => Promise<void>): void {
    this.settling = CancellationScope.nonCancellable(letGo);
    this.settling.catch(() => undefined); // said where it is waited for
  }

  /** Ends it. Gives the outcome back, or says what could not be ended. */
  async end(progress: ReleaseProgress, outcome: Outcome): Promise<Outcome> {
    try {
      await this.endAll(progress, outcome);
      return outcome;
    } catch (error) {
      const problem = problemOf(error);
      return {
        status: 'FAILED',
        problem: { ...problem, message: `Not everything could be stopped: ${problem.message}` },
      };
    }
  }

  private async endAll(progress: ReleaseProgress, outcome: Outcome): Promise<void> {
    await this.settling;
    if (this.job) await activities('cleanUp', `stop ${this.job}`).stopTraining(this.job);
    if (this.build) await activities('cleanUp', 'stop the build').stopBuild(this.request.release);
    if (this.proposal) {
      const landed = await withdrawn(this.proposal, outcome);
      if (landed) progress.deployed(landed);
    }
    if (this.deployment) {
      const { environment } = this.deployment;
      const landed = await activities('cleanUp', `look for a commit in ${environment}`).findDeployment(
        this.deployment,
      );
      if (landed) progress.deployed(landed);
    }
  }
}
