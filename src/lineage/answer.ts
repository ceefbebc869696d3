// What the store says of an id: the same for the command line and for the gateway. Names are those of the contract.
import type { ApprovalRecord } from '../domain/approval.js';
import type { AttestedRelease, SignedStatement } from '../domain/attested.js';
import type { DriftCheck } from '../domain/drift.js';
import type { Problem } from '../domain/errors.js';
import type { Kind } from './identify.js';
import type { StageTimes } from './schema.js';

/** Something that has the id that was asked for. */
export interface Match {
  readonly kind: Kind | 'prediction';
  readonly id: string;
}

/** When an environment ran what the release had made. ISO 8601, UTC; `to` is null while it does. */
export interface DeploymentWindow {
  readonly environment: string;
  readonly repository: string;
  readonly manifest: string;
  readonly commit: string;
  /** Null where it is not known to have been rolled out. */
  readonly from: string | null;
  readonly to: string | null;
  /** Somebody brought it back by hand. */
  readonly rollback?: true;
}

export interface PodAnswer {
  readonly namespace: string;
  readonly name: string;
  /** Null for a training pod. */
  readonly environment: string | null;
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  /** How it ended, in a person's words. */
  readonly ending: string | null;
}

/** The chain of one release. Null is what it did not come to. */
export interface ReleaseAnswer extends AttestedRelease {
  readonly status: string;
  readonly model: string | null;
  readonly pods: readonly PodAnswer[];
  readonly gitopsCommits: readonly string[];
  readonly deployments: readonly DeploymentWindow[];
  readonly traceId: string;
  readonly traceparent: string;
  readonly execution: string | null;
  /** The person behind it, as the caller said, and who the caller was. */
  readonly requestedBy: string | null;
  readonly triggeredBy: string | null;
  readonly approvals: readonly ApprovalRecord[];
  /** What it ended with, where that was no success. */
  readonly problem: Pick<Problem, 'code' | 'message'> | null;
  /** Where its plan deploys to. */
  readonly environments: readonly string[];
  readonly requestedAt: string;
  readonly endedAt: string | null;
  readonly stages: readonly StageTimes[];
}

export interface LineageAnswer {
  readonly query: string;
  readonly matches: readonly Match[];
  /** Newest first. */
  readonly releases: readonly ReleaseAnswer[];
  /** There are more than are given here. */
  readonly more: boolean;
}

/** Which of an environment's images descend from something, and when it ran them. */
export interface ImpactedDeployment extends DeploymentWindow {
  readonly release: string;
  readonly model: string;
  readonly imageDigest: string | null;
}

export interface ImpactAnswer {
  readonly query: string;
  readonly matches: readonly Match[];
  /** How many releases descend from it, those that made nothing too. */
  readonly releases: number;
  readonly models: readonly {
    readonly release: string;
    readonly model: string | null;
    readonly modelId: string | null;
    readonly modelDigest: string;
  }[];
  readonly images: readonly {
    readonly release: string;
    readonly image: string;
    readonly imageDigest: string;
  }[];
  /** Newest first. */
  readonly deployments: readonly ImpactedDeployment[];
  /** Those of them that run now. */
  readonly serving: readonly ImpactedDeployment[];
}

/** What the releases that an id leads to have signed. */
export interface AttestationsAnswer {
  readonly query: string;
  readonly attestations: readonly (SignedStatement & { readonly release: string })[];
}

/** A target that was looked at, and what of it is not what was released. */
export interface DriftedTarget extends DriftCheck {
  /** ISO 8601: when that was seen first; null where there is nothing. */
  readonly since: string | null;
}

export interface DriftAnswer {
  /** Null where nothing has been looked at yet. */
  readonly checkedAt: string | null;
  readonly targets: readonly DriftedTarget[];
}

export interface ServedAnswer {
  readonly environment: string;
  readonly at: string;
  readonly releases: readonly ReleaseAnswer[];
}
