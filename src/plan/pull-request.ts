// How a deploy entry says that its change goes by a pull request: people, or the forge, merge it into a branch that nobody
// may push to.
import { z } from 'zod';
import { duration } from './parts.js';

const DEFAULT_TIMEOUT_SECONDS = 3 * 86_400;

const pullRequest = z
  .strictObject({
    autoMerge: z
      .boolean()
      .default(false)
      .describe('Whether the forge merges by itself, as soon as its rules allow it'),
    mergeMethod: z
      .enum(['merge', 'squash', 'rebase'])
      .optional()
      .describe('How it does that; merge where it is not said'),
    labels: z.array(z.string().min(1).max(50)).max(20).default([]),
    timeout: duration
      .default(DEFAULT_TIMEOUT_SECONDS)
      .describe('How long is waited for the merge; the pull request is closed afterwards'),
  })
  .refine(({ autoMerge, mergeMethod }) => autoMerge || mergeMethod === undefined, {
    message: 'expected autoMerge: true; otherwise whoever merges says how',
    path: ['mergeMethod'],
  })
  .describe('Of mode: pullRequest');

/** Of a deployment that goes by a pull request; its timeout in seconds. */
export type PullRequestMode = z.output<typeof pullRequest>;

/** The keys of a deploy entry that say how its change reaches the branch. */
export const pullRequestKeys = {
  mode: z
    .enum(['push', 'pullRequest'])
    .default('push')
    .describe('Whether the change is pushed to the branch, or proposed by a pull request'),
  pullRequest: pullRequest.optional(),
};

interface WrittenMode {
  readonly mode: 'push' | 'pullRequest';
  readonly branch: string;
  readonly rollback?: 'none' | 'automatic';
  readonly pullRequest?: PullRequestMode | undefined;
}

/** What the keys have to do with each other. */
export function checkPullRequest(
  { mode, branch, rollback, pullRequest }: WrittenMode,
  context: z.RefinementCtx,
): void {
  const refuse = (path: string, message: string) =>
    context.addIssue({ code: 'custom', path: [path], message });
  if (mode === 'push' && pullRequest) refuse('pullRequest', 'expected it with mode: pullRequest alone');
  if (mode === 'pullRequest' && rollback === 'automatic')
    refuse(
      'rollback',
      'expected none with mode: pullRequest, where a release may not push what takes it back',
    );
  // A branch of that name, or below it, is in the way of those that pull requests come from, or is one of them.
  if (mode === 'pullRequest' && /^throughline(?:\/|$)/.test(branch))
    refuse('branch', 'expected another branch: throughline/… are those that pull requests come from');
}

/** With the defaults where the entry says nothing more; undefined where its change is pushed. */
export function pullRequestOf({ mode, pullRequest }: WrittenMode): PullRequestMode | undefined {
  if (mode === 'push') return undefined;
  return pullRequest ?? { autoMerge: false, labels: [], timeout: DEFAULT_TIMEOUT_SECONDS };
}
