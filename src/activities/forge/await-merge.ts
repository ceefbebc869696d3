// Waits until somebody has merged a pull request, or the forge has by itself. It only looks: another attempt goes on where
// this one was lost.
import { setTimeout as sleep } from 'node:timers/promises';
import { ThroughlineError } from '../../domain/errors.js';
import type { Forge, MergedState, OpenState, PullRequestState } from './forge.js';

/** People take minutes, checks seconds: soon at first, then less often. Milliseconds. */
const FIRST_MS = 2_000;
const MOST_MS = 30_000;
const FACTOR = 1.5;

export interface AwaitedPullRequest {
  readonly repository: string;
  readonly number: number;
  /** ISO 8601: until when it is waited for. */
  readonly deadline: string;
}

export interface MergeWaitOptions {
  readonly signal: AbortSignal;
  /** Called with what is being waited for, in a person's words. */
  readonly report: (doing: string) => void;
  /** Called at each look that finds it open; what it throws ends the wait. */
  readonly onOpen?: ((state: OpenState) => Promise<void>) | undefined;
  /** Between looks. Milliseconds. */
  readonly pauses?: { readonly first: number; readonly most: number } | undefined;
}

/**
 * As it was found merged, closed, or still open at the deadline, which is looked at once more. A forge that is away is
 * waited for; what the token may not, throws TL_FORGE_DENIED.
 */
export async function awaitMerge(
  forge: Forge,
  { repository, number, deadline }: AwaitedPullRequest,
  { signal, report, onOpen, pauses = { first: FIRST_MS, most: MOST_MS } }: MergeWaitOptions,
): Promise<PullRequestState> {
  const end = Date.parse(deadline);
  let seen = '';
  let pause = pauses.first;
  for (;;) {
    let notBefore = 0;
    try {
      const state = await forge.state(repository, number, signal);
      if (state.state !== 'open' || Date.now() >= end) return state;
      const now = `waiting for ${state.waitingFor}: ${state.url}`;
      if (now !== seen) pause = pauses.first; // something moves: more may soon
      seen = now;
      report(seen);
      await onOpen?.(state);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof ThroughlineError) || error.code !== 'TL_FORGE_UNREACHABLE' || Date.now() >= end)
        throw error;
      const { message, found } = error.problem;
      report(`waiting for the forge (${message}: ${found ?? ''})${seen ? `; last seen: ${seen}` : ''}`);
      notBefore = (error.retryAfterSeconds ?? 0) * 1000;
    }
    const jittered = pause * (0.75 + Math.random() / 2);
    // Never before the forge said; at the deadline at the latest.
    await sleep(Math.max(1, Math.min(Math.max(jittered, notBefore), end - Date.now())), undefined, {
      signal,
    });
    pause = Math.min(pause * FACTOR, pauses.most);
  }
}

/** The merge that a deployment goes on with. Throws TL_PULL_REQUEST_CLOSED or TL_PULL_REQUEST_EXPIRED. */
export function mergedOrThrow(state: PullRequestState): MergedState {
  if (state.state === 'merged') return state;
  if (state.state === 'closed') {
    throw new ThroughlineError(
      'TL_PULL_REQUEST_CLOSED',
      `Pull request ${state.number} was closed${state.by ? ` by ${state.by}` : ''}`,
      { expected: 'it to be merged', found: state.url },
    );
  }
  throw new ThroughlineError(
    'TL_PULL_REQUEST_EXPIRED',
    `Pull request ${state.number} was not merged in time`,
    {
      expected: `${state.url} to be merged`,
      found: `waiting for ${state.waitingFor}`,
    },
  );
}
