// The port of verification: something that decides whether a deployment is good, and waits as long as that takes.
import type { TraceCarrier } from '../../domain/trace.js';
import type { VerifyResult } from '../../domain/verification.js';
import type { PlaceholderValues, VerifyCheck } from '../../plan/index.js';
import type { Look } from '../argocd/watcher.js';
import type { Memory, RunOptions, TrainingJob } from '../training/runner.js';

/** A check of one environment. Serializable: it comes out of the workflow's history. */
export interface Verification {
  readonly environment: string;
  readonly check: VerifyCheck;
  readonly values: PlaceholderValues;
  /** ISO 8601: when it is decided at the latest. The workflow's, so that every attempt has the same. */
  readonly deadline: string;
  /** The context of the `verify` stage: whoever is asked joins the release's trace. */
  readonly trace: TraceCarrier;
  /** What runs, where the check is a Job. */
  readonly job?: TrainingJob | undefined;
}

export type VerifyOptions = RunOptions & Memory;

/** What a check came to, without what it is called. */
export type Verdict = Pick<VerifyResult, 'passed' | 'expected' | 'found' | 'samples'>;

export interface Verifier {
  /**
   * Decides by the deadline: what does not answer until then has not passed. Aborting leaves nothing but a Job running.
   * `looks` is how the deployment fares, where the check is its health.
   */
  verify(
    verification: Verification,
    options: VerifyOptions,
    looks?: AsyncIterable<Look>,
  ): Promise<VerifyResult>;
}
