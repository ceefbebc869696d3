// The port: where releases' changes to the desired state go.
import type { ThroughlineError } from '../../domain/errors.js';
import type { GitOpsBranch } from '../../domain/gitops.js';
import type { CommitSha } from '../../domain/ids.js';
import type { DeployMessage, HoldMessage, RollbackMessage } from './commit-message.js';
import type { DeployTarget, DesiredState, FieldChange, SaidFields } from './target.js';

interface EditedTarget extends GitOpsBranch, DeployTarget {}

/** Sets a target's fields. Made anew on each tip. */
export interface DeployEdit extends EditedTarget {
  readonly kind: 'deploy';
  readonly desired: DesiredState;
}

/** Keeps releases away from a target, or no longer (undefined). */
export interface HoldEdit extends EditedTarget {
  readonly kind: 'hold';
  readonly hold: string | undefined;
}

/** Takes back what a release has deployed: its own change alone, as git-revert(1) does. */
export interface RollbackEdit extends EditedTarget {
  readonly kind: 'rollback';
}

export type GitOpsEdit = DeployEdit | HoldEdit | RollbackEdit;

interface Committed<Message> {
  readonly message: Message;
  /** ISO 8601; date of the commit. */
  readonly committedAt: string;
}

export type DeployChange = DeployEdit & Committed<DeployMessage>;
export type HoldChange = HoldEdit & Committed<HoldMessage>;
export type RollbackChange = RollbackEdit & Committed<RollbackMessage>;
export type GitOpsChange = DeployChange | HoldChange | RollbackChange;

/** What became of a change: its commit, found or made, or why there is none. */
export type Written =
  | {
      readonly commit: CommitSha;
      /** When it was pushed, where this call did that. ISO 8601. */
      readonly pushed?: { readonly start: string; readonly end: string } | undefined;
    }
  | { readonly refused: ThroughlineError };

/** A change on a branch of its own, to be merged from there; or where it is on the base branch already. */
export type Proposed =
  | {
      /** What the branch ends in. */
      readonly commit: CommitSha;
      /** When it was pushed, where this call did that. ISO 8601. */
      readonly pushed?: { readonly start: string; readonly end: string } | undefined;
    }
  | { readonly landed: CommitSha };

export interface WriteOptions {
  readonly signal: AbortSignal;
  /** Called with what is being done, in a person's words. */
  readonly report: (doing: string) => void;
}

/** How a revision of the repository relates to a commit of ours (I5). */
export type Revision =
  /** Our commit itself. */
  | 'ours'
  /** A descendant in which our change stands. */
  | 'kept'
  /** From before our commit. */
  | 'older'
  /** A descendant in which somebody changed what was ours. */
  | 'changed'
  /** Not of this branch's history. */
  | 'unknown';

export interface GitOpsRepository {
  /** Throws where the change could not be made now: an unknown branch, a missing manifest or container. */
  check(edit: DeployEdit, options: WriteOptions): Promise<void>;
  /**
   * Writes changes to a branch, a commit each, or finds them written; in their order. What is wrong with one of them is
   * told in its place, and holds up no other. Throws where nothing can be written now.
   */
  write(branch: GitOpsBranch, changes: readonly GitOpsChange[], options: WriteOptions): Promise<Written[]>;
  /**
   * Puts a change on a branch of its own, upon the tip of the branch that it is for. What stands there stays, unless it is this
   * release's commit alone and cannot be merged any more: then it is made anew. Throws TL_RELEASE_SUPERSEDED, TL_MANIFEST_*
   * where it cannot be made, and where nothing can be written now.
   */
  propose(change: DeployChange, head: string, options: WriteOptions): Promise<Proposed>;
  /** What a change does to its branch as it is, field by field. */
  changes(change: DeployChange, signal: AbortSignal): Promise<readonly FieldChange[]>;
  /** Deletes a branch that {@link propose} made. Right also where there is none. */
  retract(repository: string, head: string, signal: AbortSignal): Promise<void>;
  /** The newer release of the same model that is deployed, as the error that says so. Changes nothing. */
  supersededBy(change: DeployChange, options: WriteOptions): Promise<ThroughlineError | undefined>;
  /** Whether a commit of the repository says what the change would make of it. */
  stands(change: DeployChange, commit: CommitSha, signal: AbortSignal): Promise<boolean>;
  /** The commit that {@link write} made, or somebody merged, where it got through. Changes nothing. */
  find(change: DeployChange, options: WriteOptions): Promise<CommitSha | undefined>;
  /** Judges a revision by git's own history. Throws TL_RELEASE_SUPERSEDED where a newer release replaced ours in it. */
  relation(change: DeployChange, commit: CommitSha, revision: string, signal: AbortSignal): Promise<Revision>;
  /** What a target's fields say at a commit. */
  fieldsAt(target: GitOpsBranch & DeployTarget, commit: CommitSha, signal: AbortSignal): Promise<SaidFields>;
  /** A file as it is at a commit; undefined where there is none. */
  fileAt(
    branch: GitOpsBranch,
    commit: CommitSha,
    path: string,
    signal: AbortSignal,
  ): Promise<string | undefined>;
  /** Whether a directory of the branch is a Kustomize one. */
  hasKustomization(
    repository: string,
    branch: string,
    directory: string,
    signal: AbortSignal,
  ): Promise<boolean>;
  /** The branch that the remote's HEAD names. */
  defaultBranch(repository: string, signal: AbortSignal): Promise<string | undefined>;
}
