// The port of synchronisation: something that makes the cluster run what the GitOps repository says, and is waited for.
import type { CommitSha, Digest } from '../../domain/ids.js';
import type { Observation } from '../../domain/observation.js';
import type { SyncedDeployment } from '../../domain/release.js';
import type { DeployChange } from '../gitops/change.js';
import type { DeployTarget } from '../gitops/edit.js';

export interface SyncTarget extends DeployTarget {
  readonly application: string;
  readonly namespace: string;
  readonly repository: string;
  readonly branch: string;
  readonly container: string;
}

/** What the cluster is to run. */
export interface ExpectedWorkload extends SyncTarget {
  readonly change: DeployChange;
  readonly commit: CommitSha;
  /** What the pods' annotation must say. */
  readonly traceparent: string;
  readonly imageDigest: Digest;
}

export interface ExpectedDeployment extends ExpectedWorkload {
  /** ISO 8601: until when it is waited for. */
  readonly deadline: string;
}

export interface SyncOptions {
  readonly signal: AbortSignal;
  /** Called with what is being waited for, in a person's words. */
  readonly report: (doing: string) => void;
  /** What was seen, for the trace. */
  readonly observe?: (...observations: Observation[]) => void;
}

/** Between two looks at a deployment nobody waits for longer. */
export const LOOK_SECONDS = 5;

/** How a deployment that was synced and healthy fares. */
export type Look =
  | { readonly is: 'healthy' }
  | { readonly is: 'ailing'; readonly why: string }
  /** Nobody could look. */
  | { readonly is: 'unseen'; readonly why: string };

export interface SyncWatcher {
  /** Throws where the target's commits would never be synced. Changes nothing. */
  check(target: SyncTarget, options: SyncOptions): Promise<void>;
  /** Waits until the cluster runs the change (I5). Throws what stands in its way at the deadline. */
  wait(expected: ExpectedDeployment, options: SyncOptions): Promise<SyncedDeployment>;
  /**
   * Looks at what runs, whenever something changes and every LOOK_SECONDS, without an end. Throws TL_SYNC_REVERTED where
   * people have taken it back, TL_RELEASE_SUPERSEDED where a newer release has replaced it.
   */
  looks(expected: ExpectedWorkload, options: SyncOptions): AsyncIterable<Look>;
}
