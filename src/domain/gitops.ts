// The writer of a GitOps branch, as releases see it: what they ask of it, and what it answers.
import type { Problem } from './errors.js';
import type { CommitSha } from './ids.js';

export interface GitOpsBranch {
  readonly repository: string;
  readonly branch: string;
}

/** What became of a deployment that the writer was asked for. */
export type WrittenDeployment =
  | {
      readonly commit: CommitSha;
      /** When it was pushed, where that was not found done. ISO 8601. */
      readonly pushed?: { readonly start: string; readonly end: string } | undefined;
    }
  | { readonly problem: Problem }
  /** Taken back before it was written. */
  | { readonly withdrawn: true };

/** Names a deployment: there is one of a release for an environment (I3). */
export interface DeploymentKey {
  readonly release: string;
  readonly environment: string;
}

/** A rollback of it is another thing to write. */
export const keyOf = ({ release, environment, ...more }: DeploymentKey & { readonly rollback?: unknown }) =>
  `${release}/${environment}${more.rollback === undefined ? '' : '/rollback'}`;

/** How much the writer of a branch has to do, and what keeps it from that. */
export interface WriterState {
  readonly waiting: number;
  readonly writing: number;
  /** What the last round ended with, where it wrote nothing. */
  readonly problem?: Problem | undefined;
}
