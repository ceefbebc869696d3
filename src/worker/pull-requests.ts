// Deployments by pull requests: the GitOps repository has the branch, a forge has the rest.
//
//   I3  Each step finds what an earlier attempt did: the branch, the pull request, the merge.
//   I4  Of several releases of a model the newest one's pull request stays; an older one gives way, merged or not.
//   I6  What is withdrawn leaves neither an open pull request nor a branch.
import {
  awaitMerge,
  branchOf,
  branchPrefixOf,
  closeSuperseded,
  type Forge,
  type Forges,
  type MergedState,
  type MergeOptions,
  mergedOrThrow,
  type OpenState,
  type PullRequestState,
  pullRequestText,
} from '../activities/forge/index.js';
import type { DeployChange, GitOpsRepository, Proposed } from '../activities/gitops/change.js';
import { formatMessage } from '../activities/gitops/commit-message.js';
import { committed, deployChange } from '../activities/gitops/deployment.js';
import { evidenceOf } from '../activities/gitops/evidence.js';
import type { DeploymentProposal, MergeWait, OpenedPullRequest } from '../activities/index.js';
import { ThroughlineError } from '../domain/errors.js';
import type { CommitSha } from '../domain/ids.js';
import type { GitOpsCommit } from '../domain/release.js';
import { redact } from '../domain/urls.js';
import type { Deployment } from '../plan/index.js';
import { pullRequestObservation, pushObservation } from '../telemetry/observations.js';
import type { ActivityContext } from './activity-context.js';

export class PullRequests {
  constructor(
    private readonly gitops: GitOpsRepository,
    private readonly forges: Forges,
  ) {}

  /** Throws where there is no forge for it, or that does not let its token see the repository. */
  async check(
    { repository, environment }: Deployment,
    model: string,
    context: ActivityContext,
  ): Promise<void> {
    const forge = await this.forges.of(repository);
    context.report(`looking at the pull requests of ${redact(repository)}`);
    await forge.list(repository, branchPrefixOf(environment, model), context.signal);
  }

  async propose(
    proposal: DeploymentProposal,
    context: ActivityContext,
  ): Promise<OpenedPullRequest | GitOpsCommit> {
    const one = await this.one(proposal);
    const { forge, change, edit, head } = one;
    const { repository, branch: base, environment, model, release, requestedAt } = change;
    const { signal, report } = context;
    const proposed = await this.pushed(one, context);
    const changes = 'landed' in proposed ? [] : await this.gitops.changes(edit, signal);
    report(`opening a pull request from ${head}`);
    const spec = {
      repository,
      base,
      head,
      ...pullRequestText(evidenceOf(proposal, changes)),
      labels: proposal.mode.labels,
      autoMerge: false, // not before it is known that no newer release is waiting
    };
    if ('landed' in proposed)
      return this.landed(one, proposed.landed, () => forge.open(spec, signal), context);
    const state = await forge.open(spec, signal);
    const { number, url, openedAt } = state;
    if (state.state === 'open') {
      const own = { repository, base, environment, model, release, requestedAt, number };
      const { by } = await closeSuperseded(forge, own, signal);
      if (by) throw superseded(one, by.url);
      if (proposal.mode.autoMerge) await forge.merge(repository, number, one.merging, signal);
    }
    return { number, url, openedAt };
  }

  async awaitMerge(
    { proposal, number, deadline }: MergeWait,
    context: ActivityContext,
  ): Promise<GitOpsCommit> {
    const one = await this.one(proposal);
    const { forge, change } = one;
    const { repository } = change;
    const { signal, report } = context;
    const onOpen = async (state: OpenState) => {
      if (state.mergeable !== false) return;
      // What is waited for stays to be read meanwhile.
      const again = await this.pushed(one, { ...context, report: () => undefined });
      if ('commit' in again && again.pushed && proposal.mode.autoMerge)
        await forge.merge(repository, number, one.merging, signal);
    };
    const state = await awaitMerge(forge, { repository, number, deadline }, { signal, report, onOpen });
    seenEnded(one, state, context);
    if (state.state === 'closed') return this.afterAll(one, state, context);
    return this.merged(one, mergedOrThrow(state), context);
  }

  async withdraw(
    proposal: DeploymentProposal,
    known: number | undefined,
    reason: string,
    context: ActivityContext,
  ): Promise<GitOpsCommit | undefined> {
    const one = await this.one(proposal);
    const { forge, change, edit, head } = one;
    const { repository } = change;
    const { signal, report } = context;
    report(`closing the pull request from ${head}`);
    const listed = async () =>
      (await forge.list(repository, head, signal)).find((other) => other.head === head)?.number;
    const number = known ?? (await listed());
    if (number !== undefined) {
      const before = await forge.state(repository, number, signal);
      await forge.close(repository, number, reason, signal);
      const after = await forge.state(repository, number, signal); // somebody may have been faster
      if (before.state === 'open') seenEnded(one, after, context); // of any other end the wait has told
      if (after.state === 'merged')
        return (await this.gitops.stands(edit, after.commit, signal)) ? recorded(change, after) : undefined;
    }
    await this.gitops.retract(repository, head, signal);
    const landed = await this.gitops.find(edit, context);
    return landed && committed(change, landed);
  }

  private async one(proposal: DeploymentProposal): Promise<One> {
    const { change, mode } = proposal;
    const { environment, model, release, repository } = change;
    const edit = deployChange(change);
    return {
      forge: await this.forges.of(repository),
      change,
      edit,
      head: branchOf(environment, model, release),
      merging: { mergeMethod: mode.mergeMethod, squashMessage: formatMessage(edit.message) },
    };
  }

  /** The branch as it has to be: made, found, or made anew. */
  private async pushed({ change, edit, head }: One, context: ActivityContext): Promise<Proposed> {
    const proposed = await this.gitops.propose(edit, head, context);
    if ('commit' in proposed && proposed.pushed) {
      const { commit, pushed } = proposed;
      context.observe(pushObservation({ repository: redact(change.repository), commit, ...pushed }));
    }
    return proposed;
  }

  /** On the base branch already: an earlier attempt's reply was lost, and somebody merged. The forge may know by whom. */
  private async landed(
    one: One,
    commit: CommitSha,
    find: () => Promise<PullRequestState>,
    context: ActivityContext,
  ): Promise<GitOpsCommit> {
    const state = await find().catch((error: unknown) => {
      if (error instanceof ThroughlineError && error.code === 'TL_PULL_REQUEST_REFUSED') return undefined;
      throw error;
    });
    if (state) seenEnded(one, state, context);
    if (state?.state === 'merged') return this.merged(one, state, context);
    return this.pushedPast(one, commit, state, context);
  }

  /** Somebody pushed the release's commit to the base branch: there is nothing to be merged any more. */
  private async pushedPast(
    { forge, change, head }: One,
    commit: CommitSha,
    state: PullRequestState | undefined,
    { signal }: ActivityContext,
  ): Promise<GitOpsCommit> {
    const { repository } = change;
    if (state?.state === 'open')
      await forge.close(repository, state.number, 'Its commit is on the branch already.', signal);
    await this.gitops.retract(repository, head, signal);
    return committed(change, commit);
  }

  /** Its branch is of no use any more; a rule that keeps it is no failure. */
  private async merged(one: One, state: MergedState, { signal }: ActivityContext): Promise<GitOpsCommit> {
    const { forge, change, edit } = one;
    if (!(await this.gitops.stands(edit, state.commit, signal))) {
      throw new ThroughlineError(
        'TL_PULL_REQUEST_CHANGED',
        `Pull request ${state.number} was merged without the release’s change`,
        { expected: `${change.manifest} as the release proposed it`, found: `${state.commit}: ${state.url}` },
      );
    }
    await forge.close(change.repository, state.number, 'Merged.', signal).catch((error: unknown) => {
      if (!(error instanceof ThroughlineError) || error.code === 'TL_FORGE_UNREACHABLE') throw error;
    });
    return recorded(change, state);
  }

  /** Closed: by a person, by a newer release, or because its commit was pushed past the forge. */
  private async afterAll(one: One, state: PullRequestState, context: ActivityContext): Promise<GitOpsCommit> {
    const { forge, change, edit } = one;
    const landed = await this.gitops.find(edit, context);
    if (landed) return this.pushedPast(one, landed, state, context);
    const newer = await this.gitops.supersededBy(edit, context);
    if (newer) throw newer;
    const { repository, branch: base, environment, model, release, requestedAt } = change;
    const own = { repository, base, environment, model, release, requestedAt, number: state.number };
    const { by } = await closeSuperseded(forge, own, context.signal);
    if (by) throw superseded(one, by.url);
    return recorded(change, mergedOrThrow(state));
  }
}

/** A proposal, and what follows from it. */
interface One {
  readonly forge: Forge;
  readonly change: DeploymentProposal['change'];
  readonly edit: DeployChange;
  readonly head: string;
  readonly merging: MergeOptions;
}

function recorded(change: DeploymentProposal['change'], merged: MergedState): GitOpsCommit {
  const { url, number, by, at, commit } = merged;
  return { ...committed(change, commit), pullRequest: { url, number, mergedBy: by, mergedAt: at } };
}

/** DESIGN §5.4: times are the forge's. Once it has ended, so that no two activities tell of the same span (I7). */
function seenEnded({ change, head }: One, state: PullRequestState, { observe }: ActivityContext): void {
  const { url, number, openedAt } = state;
  if (!openedAt || state.state === 'open') return;
  const { repository, branch: base } = change;
  observe(
    pullRequestObservation({
      repository: redact(repository),
      url,
      number,
      base,
      head,
      state: state.state,
      start: openedAt,
      end: state.at || undefined,
    }),
  );
}

function superseded({ change }: One, found: string): ThroughlineError {
  return new ThroughlineError(
    'TL_RELEASE_SUPERSEDED',
    `A newer release of ${change.model} waits to be merged already`,
    { expected: `no pull request of a release after ${change.requestedAt}`, found },
  );
}
