// A release as data: what asks for it, what it does, how it ends. Shared by gateway, workflow, activities and CLI.
import type { HelmTarget, KustomizeTarget } from '../plan/target.js';
import type { ApprovalRecord, AwaitedApproval } from './approval.js';
import type { Problem } from './errors.js';
import type { CommitSha, Digest, ReleaseId } from './ids.js';
import type { MergedPullRequest, ProposedPullRequest } from './pull-request.js';
import type { TraceCarrier } from './trace.js';
import type { VerifyResult } from './verification.js';

/** What a caller asks for, validated at the edge, with every default filled in. The workflow's only input. */
export interface ReleaseRequest {
  readonly release: ReleaseId;
  readonly repository: string;
  readonly ref: string;
  readonly planPath: string;
  /** Overrides of `train.parameters`, by name. */
  readonly parameters: Readonly<Record<string, string>>;
  /** Context of the release's own span; everything the release hands out descends from it (DESIGN §5). */
  readonly trace: TraceCarrier;
  /** The caller's own span, where the trigger carried one: the parent of `RUN`. */
  readonly caller?: string | undefined;
  /** Where the release can be looked at, where it was triggered through a gateway: it goes into the trace. */
  readonly url?: string | undefined;
  readonly spinnaker?: SpinnakerExecution | undefined;
  /** The person behind it, as the caller says. */
  readonly requestedBy?: string | undefined;
  /** Who the caller was, where the gateway knows: the name of its credentials. */
  readonly triggeredBy?: string | undefined;
  /** What the caller may release, where that is not everything: one of these has to cover it. */
  readonly within?: readonly ReleaseScope[] | undefined;
  /** Seconds after which a release is canceled that its caller no longer asks for. */
  readonly pollLease?: number | undefined;
  /** Brings back what an earlier release has made, instead of making something. */
  readonly rollback?: (Rollback & { readonly made: Made }) | undefined;
  /** When the trigger arrived. ISO 8601, UTC. The order between releases of one model is the order of this. */
  readonly requestedAt: string;
}

/** A release that brings back what an earlier one has made. */
export interface Rollback {
  readonly environment: string;
  /** What was deployed before. */
  readonly from: ReleaseReference;
  /** What is brought back. */
  readonly to: ReleaseReference;
  readonly reason?: string | undefined;
}

export interface ReleaseReference {
  readonly release: ReleaseId;
  /** Of its own span. */
  readonly traceparent: string;
}

/** What a release has made, and from what: enough to deploy it. */
export interface Made {
  readonly commit: CommitSha;
  readonly dataset: DatasetReference;
  readonly training: TrainedModel;
  readonly image: BuiltImage;
}

/** Models and environments that a caller may release; all of them where it does not say. */
export interface ReleaseScope {
  readonly models?: readonly string[] | undefined;
  readonly environments?: readonly string[] | undefined;
}

/** The Spinnaker execution behind a trigger, as far as the trigger's payload named it. */
export interface SpinnakerExecution {
  readonly executionId: string;
  readonly application?: string | undefined;
  readonly pipeline?: string | undefined;
  readonly stage?: string | undefined;
}

export interface DatasetReference {
  readonly name: string;
  readonly version: string;
  /** As the training program computed it over the data that it read. */
  readonly digest?: string | undefined;
}

/** What the training left: evidence, kept in history before the Job may vanish (I2). */
export interface TrainedModel {
  readonly id: string;
  /** Where the build finds it: `file://` locally, `oci://` in a registry. */
  readonly uri: string;
  readonly digest: Digest;
  /** Names of metrics are the program's; a number that is not finite is kept as its name, `"NaN"`. */
  readonly metrics: Readonly<Record<string, number | NonFinite>>;
  readonly datasetDigest?: string | undefined;
  readonly job: string;
  /** The image that trained it, by digest, where a container did. */
  readonly image?: string | undefined;
  /** The pods of the Job in the order of their creation, where there were any. */
  readonly pods?: readonly PodRecord[] | undefined;
  /** How many pods (locally: processes) the Job needed, the last one included. */
  readonly attempts: number;
  readonly startedAt: string;
  readonly endedAt: string;
}

/** What became of a pod. Times are the pod's own, RFC 3339. */
export interface PodRecord {
  readonly name: string;
  readonly uid: string;
  readonly node?: string | undefined;
  readonly createdAt?: string | undefined;
  readonly scheduledAt?: string | undefined;
  readonly startedAt?: string | undefined;
  readonly endedAt?: string | undefined;
  /** As the container runtime names the image that it ran, with its digest. */
  readonly imageId?: string | undefined;
  readonly exitCode?: number | undefined;
  /** How it ended, in a person's words; undefined while it runs. */
  readonly end?: string | undefined;
  /** When somebody asked for its end, where its program's own was not seen. */
  readonly goneAt?: string | undefined;
}

export type NonFinite = 'NaN' | 'Infinity' | '-Infinity';

/** An image that another one was built from. */
export interface BaseImage {
  /** As the builder names it: repository and tag. */
  readonly name: string;
  readonly digest: Digest;
}

export interface BuiltImage {
  /** Repository and tag, without the digest. */
  readonly name: string;
  readonly digest: Digest;
  /** What a deployment pins: `repository:tag@sha256:…`. */
  readonly reference: string;
  /** Where the bytes are: a registry reference, or `oci:DIRECTORY` for a layout on disk. */
  readonly location: string;
  /** What it was built from, where the builder says so: the cluster's does. */
  readonly baseImages?: readonly BaseImage[] | undefined;
}

export interface GitOpsCommit {
  readonly environment: string;
  readonly repository: string;
  readonly branch: string;
  readonly manifest: string;
  /** Where in the manifest; absent in records of 0.1.0. */
  readonly container?: string | undefined;
  readonly kustomize?: KustomizeTarget | undefined;
  readonly helm?: HelmTarget | undefined;
  readonly commit: CommitSha;
  /** What it was merged by, where it went that way. */
  readonly pullRequest?: MergedPullRequest | undefined;
  /** What Argo CD made of it, where it was waited for. */
  readonly synced?: SyncedDeployment | undefined;
  /** By which commit the release took it back itself, and why. */
  readonly rolledBack?: { readonly commit: CommitSha; readonly reason: string } | undefined;
}

/** A commit that runs (I5). Times are those of the things themselves. */
export interface SyncedDeployment {
  readonly application: string;
  /** What was synced: our commit, or a descendant in which our change stands. */
  readonly revision: CommitSha;
  /** Argo CD's operation. */
  readonly syncStartedAt?: string | undefined;
  readonly syncEndedAt?: string | undefined;
  readonly workload: { readonly kind: string; readonly namespace: string; readonly name: string };
  readonly pods: readonly string[];
  readonly rolledOutAt: string;
}

export type StageType = 'plan' | 'train' | 'evaluate' | 'approve' | 'build' | 'deploy' | 'verify';
export type StageStatus = 'RUNNING' | 'SUCCEEDED' | 'FAILED' | 'REJECTED' | 'CANCELED' | 'SUPERSEDED';

/** A sign for each status, for texts. */
export const STAGE_MARKS: Readonly<Record<StageStatus, string>> = {
  RUNNING: '▶',
  SUCCEEDED: '✔',
  FAILED: '✘',
  REJECTED: '✘',
  CANCELED: '■',
  SUPERSEDED: '■',
};

/** One stage as far as it has come. Times are ISO 8601, UTC. */
export interface Stage {
  readonly name: string;
  readonly type: StageType;
  readonly status: StageStatus;
  readonly startedAt: string;
  readonly endedAt?: string | undefined;
  /** Of its span. */
  readonly spanId?: string | undefined;
  /** What it ended with, where that was no success. */
  readonly problem?: Pick<Problem, 'code' | 'message'> | undefined;
}

/** How a release ended. */
export type Outcome =
  | { readonly status: 'SUCCEEDED' }
  | { readonly status: 'REJECTED'; readonly problem: Problem }
  | { readonly status: 'FAILED'; readonly problem: Problem }
  | { readonly status: 'CANCELED'; readonly reason: string }
  | { readonly status: 'SUPERSEDED'; readonly problem: Problem };

export type OutcomeStatus = Outcome['status'];

/** Everything that is known of a release, at any moment of it: the answer of the status query and of the API. */
export interface ReleaseRecord {
  readonly release: ReleaseId;
  readonly status: 'RUNNING' | OutcomeStatus;
  readonly request: Pick<
    ReleaseRequest,
    | 'repository'
    | 'ref'
    | 'planPath'
    | 'parameters'
    | 'requestedAt'
    | 'requestedBy'
    | 'triggeredBy'
    | 'spinnaker'
  >;
  readonly traceId: string;
  readonly traceparent: string;
  readonly model?: string | undefined;
  readonly commit?: CommitSha | undefined;
  readonly dataset?: DatasetReference | undefined;
  readonly training?: TrainedModel | undefined;
  readonly image?: BuiltImage | undefined;
  readonly rollback?: Rollback | undefined;
  /** Where the plan deploys to, in its order. */
  readonly environments?: readonly string[] | undefined;
  /** What people have decided so far. */
  readonly approvals?: readonly ApprovalRecord[] | undefined;
  /** Deployments that people were asked about. */
  readonly awaited?: readonly AwaitedApproval[] | undefined;
  /** Pull requests that were opened. */
  readonly proposed?: readonly ProposedPullRequest[] | undefined;
  readonly deployments: readonly GitOpsCommit[];
  /** What the checks of deployments came to, in the order of their ends. */
  readonly verifications?: readonly VerifyResult[] | undefined;
  readonly stages: readonly Stage[];
  readonly outcome?: Outcome | undefined;
  readonly endedAt?: string | undefined;
}
