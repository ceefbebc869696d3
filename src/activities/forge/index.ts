// Pull requests, as far as deployments need them: which forge, what is said in one, and the wait for its merge.
export { type AwaitedPullRequest, awaitMerge, type MergeWaitOptions, mergedOrThrow } from './await-merge.js';
export {
  type FieldChange,
  type MetricEvidence,
  markOf,
  type PullRequestEvidence,
  type PullRequestMark,
  type PullRequestText,
  pullRequestText,
} from './body.js';
export { branchOf, branchPrefixOf, isOurs } from './branch.js';
export { Forges } from './choose.js';
export type {
  ClosedState,
  Forge,
  ListedPullRequest,
  MergedState,
  MergeMethod,
  MergeOptions,
  OpenState,
  PullRequestSpec,
  PullRequestState,
} from './forge.js';
export { closeSuperseded, type OwnPullRequest, type Superseded } from './supersede.js';
