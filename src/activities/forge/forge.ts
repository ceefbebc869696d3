// The port of pull requests: a forge that keeps the GitOps repository, and lets people, or itself, merge into a branch
// that nobody may push to. Nothing outside an adapter knows which forge it is.
import type { CommitSha } from '../../domain/ids.js';

export const MERGE_METHODS = ['merge', 'squash', 'rebase'] as const;
/** How the commits reach the base branch. */
export type MergeMethod = (typeof MERGE_METHODS)[number];

export interface MergeOptions {
  /** `merge` where it does not say. GitLab knows `squash` alone: whether it rebases is the project's setting. */
  readonly mergeMethod?: MergeMethod | undefined;
  /** Of the one commit that a squash makes, with its trailers: what a forge makes up would lose them (I3, I4). */
  readonly squashMessage?: string | undefined;
}

export interface PullRequestSpec extends MergeOptions {
  /** A git URL. */
  readonly repository: string;
  readonly base: string;
  /** A branch of the same repository, already pushed. */
  readonly head: string;
  readonly title: string;
  /** Markdown. */
  readonly body: string;
  readonly labels?: readonly string[] | undefined;
  /** Whether the forge merges by itself, as soon as its rules allow it. */
  readonly autoMerge: boolean;
}

interface StateOf {
  readonly number: number;
  readonly url: string;
  /** ISO 8601. */
  readonly openedAt?: string | undefined;
}

export interface OpenState extends StateOf {
  readonly state: 'open';
  /** In a person's words: reviews, checks, conflicts. */
  readonly waitingFor: string;
  /** Whether the branches can be merged; undefined while the forge has not looked. */
  readonly mergeable?: boolean | undefined;
}

export interface MergedState extends StateOf {
  readonly state: 'merged';
  /** The commit on the base branch that has the change: of the merge, of the squash, or the last that was rebased. */
  readonly commit: CommitSha;
  readonly by?: string | undefined;
  /** ISO 8601. */
  readonly at: string;
}

export interface ClosedState extends StateOf {
  readonly state: 'closed';
  readonly by?: string | undefined;
  /** ISO 8601. */
  readonly at?: string | undefined;
}

export type PullRequestState = OpenState | MergedState | ClosedState;

/** One of the open ones. */
export interface ListedPullRequest {
  readonly number: number;
  readonly url: string;
  readonly head: string;
  readonly base: string;
  readonly body: string;
}

/**
 * Every method throws TL_FORGE_UNREACHABLE where a new try may cure it, TL_FORGE_DENIED where the token may not (or may
 * not see it), and TL_PULL_REQUEST_REFUSED where the forge's rules stand in the way. Each can be repeated.
 */
export interface Forge {
  /**
   * Finds the pull request from that head branch, the open or else the latest one, or opens it. With `autoMerge` it asks
   * for the merge, too.
   */
  open(spec: PullRequestSpec, signal: AbortSignal): Promise<PullRequestState>;

  /** Only looks. */
  state(repository: string, number: number, signal: AbortSignal): Promise<PullRequestState>;

  /** Merges where nothing is in the way, or asks the forge to do it as soon as nothing is. */
  merge(
    repository: string,
    number: number,
    options: MergeOptions,
    signal: AbortSignal,
  ): Promise<PullRequestState>;

  /**
   * Closes an open one with a comment that says why, and deletes its head branch where that is one of ours; of one that is
   * closed or merged, the branch alone.
   */
  close(repository: string, number: number, comment: string, signal: AbortSignal): Promise<void>;

  /** The open ones from branches of the repository itself whose names start so. */
  list(repository: string, headPrefix: string, signal: AbortSignal): Promise<ListedPullRequest[]>;
}
