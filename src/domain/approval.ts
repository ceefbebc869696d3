// Who let a release go into an environment, or did not, when and why.

/** What somebody says of a deployment that waits for it. The argument of the workflow's update. */
export interface Decision {
  readonly decision: 'approved' | 'refused';
  /** Which deployment; the one that waits where it does not say. */
  readonly environment?: string | undefined;
  readonly by: string;
  readonly comment?: string | undefined;
}

/** A decision that was made. */
export interface ApprovalRecord {
  readonly environment: string;
  readonly decision: Decision['decision'];
  readonly by: string;
  readonly comment?: string | undefined;
  /** ISO 8601, UTC. */
  readonly at: string;
}

/** A deployment that waits for somebody, or did. Times are ISO 8601, UTC. */
export interface AwaitedApproval {
  readonly environment: string;
  readonly since: string;
  /** After that it is refused. */
  readonly until: string;
  /** What the plan says for when nobody has answered for a while, once that is so. */
  readonly escalated?: { readonly note: string; readonly at: string } | undefined;
}

/** Two names of one person: case says nothing in an e-mail address. */
export function samePerson(one: string | undefined, other: string | undefined): boolean {
  return one !== undefined && other !== undefined && one.toLowerCase() === other.toLowerCase();
}

/** The deployment that waits for somebody now: the one whose stage goes on. */
export function awaitingOf({
  stages,
  awaited = [],
}: {
  readonly stages: readonly { readonly name: string; readonly status: string }[];
  readonly awaited?: readonly AwaitedApproval[] | undefined;
}): AwaitedApproval | undefined {
  return awaited.find(({ environment }) =>
    stages.some(({ name, status }) => name === `approve ${environment}` && status === 'RUNNING'),
  );
}
