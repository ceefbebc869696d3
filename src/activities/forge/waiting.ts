// What an open pull request waits for, in a person's words: `waiting for …` goes before it.

export interface Obstacles {
  /** Whether somebody has to resolve conflicts, or rebase. */
  readonly conflicts?: string | undefined;
  readonly draft?: boolean | undefined;
  readonly approvals?: { readonly given: number; readonly needed: number } | undefined;
  /** Reviews are missing, and the forge does not say how many. */
  readonly review?: boolean | undefined;
  /** Who asked for changes. */
  readonly changesRequestedBy?: readonly string[] | undefined;
  readonly checks?: readonly { readonly name: string; readonly status: string }[] | undefined;
  /** Whatever else the forge names. */
  readonly other?: string | undefined;
}

export function waitingFor(obstacles: Obstacles, autoMerge: boolean, forge: string): string {
  const { conflicts, draft, approvals, review, changesRequestedBy = [], checks = [], other } = obstacles;
  const reasons = [
    conflicts,
    draft && 'somebody to say that it is no draft any more',
    changesRequestedBy.length > 0 && `changes that ${changesRequestedBy.join(', ')} asked for`,
    approvals &&
      approvals.given < approvals.needed &&
      `${approvals.needed - approvals.given} of ${approvals.needed} approvals`,
    review && 'a review',
    checks.length > 0 &&
      `checks: ${checks
        .slice(0, 10)
        .map(({ name, status }) => `${name} (${status})`)
        .join(', ')}`,
    other,
  ].filter((reason) => typeof reason === 'string');
  if (reasons.length === 0) return autoMerge ? `${forge} to merge it` : 'somebody to merge it';
  return `${reasons.join('; ')}${autoMerge ? ' (auto-merge is set)' : ''}`;
}
