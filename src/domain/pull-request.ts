// The pull request of a deployment, as a release tells of it. Times are ISO 8601, UTC, of the forge.

export interface PullRequestReference {
  readonly url: string;
  readonly number: number;
}

/** One that people, or the forge, are to merge. */
export interface ProposedPullRequest extends PullRequestReference {
  readonly environment: string;
  readonly openedAt?: string | undefined;
  /** After that it is closed. Of the workflow's clock. */
  readonly until: string;
}

/** One that was merged. */
export interface MergedPullRequest extends PullRequestReference {
  readonly mergedBy?: string | undefined;
  readonly mergedAt?: string | undefined;
}

/** The pull request that a release waits for now: of the deployment whose stage goes on, and has no commit yet. */
export function proposedIn({
  stages,
  proposed = [],
  deployments,
}: {
  readonly stages: readonly { readonly name: string; readonly status: string }[];
  readonly proposed?: readonly ProposedPullRequest[] | undefined;
  readonly deployments: readonly { readonly environment: string }[];
}): ProposedPullRequest | undefined {
  return proposed.find(
    ({ environment }) =>
      stages.some(({ name, status }) => name === `deploy ${environment}` && status === 'RUNNING') &&
      !deployments.some((one) => one.environment === environment),
  );
}
