// What the release workflow can do to the world. The workflow sees only this interface; the worker implements it.
import type { ApprovalRecord } from '../domain/approval.js';
import type { AttestedRelease, SignedStatement } from '../domain/attested.js';
import type { DriftCheck, ExpectedState } from '../domain/drift.js';
import type { GitOpsBranch, WrittenDeployment } from '../domain/gitops.js';
import type { CommitSha, Digest, ReleaseId } from '../domain/ids.js';
import type { PullRequestReference } from '../domain/pull-request.js';
import type {
  BuiltImage,
  GitOpsCommit,
  NonFinite,
  ReleaseRequest,
  Rollback,
  SyncedDeployment,
  TrainedModel,
} from '../domain/release.js';
import type { TraceCarrier } from '../domain/trace.js';
import type { VerifyResult } from '../domain/verification.js';
import type {
  HelmTarget,
  JobManifest,
  KustomizeTarget,
  Plan,
  PullRequestMode,
  VerifyJob,
} from '../plan/index.js';
import type { SpanRecord } from '../telemetry/projection.js';
import type { ImageBuild } from './build/builder.js';
import type { SaidFields } from './gitops/target.js';
import type { LogPage, TrainingJob } from './training/runner.js';
import type { Verification } from './verify/verifier.js';

/** What the first activity finds out; everything after it works from this, out of history. */
export interface PreparedRelease {
  readonly commit: CommitSha;
  readonly refType: 'branch' | 'tag' | 'commit';
  readonly plan: Plan;
  /** Without what of it could be a secret (I9). */
  readonly job: JobManifest;
  /** Where all of it stands; absent in histories of 0.1.0, which have all of it. */
  readonly jobPath?: string | undefined;
  readonly trainingContext: string;
  /** As the Job's manifest names it. */
  readonly trainerImage?: string | undefined;
  readonly buildContext: string;
  /** The plan's parameters with the trigger's on top. */
  readonly parameters: Readonly<Record<string, string>>;
  /** Kubernetes: where the Job will be. */
  readonly jobNamespace?: string | undefined;
  /** The Jobs of `verify`, as `job` is, with where each will be; absent where there are none. */
  readonly verifyJobs?: readonly (VerifyJob & Pick<PreparedRelease, 'jobNamespace'>)[] | undefined;
  /** The trainer's image by digest, where a registry answered at once. */
  readonly pinnedTrainer?: string | undefined;
  readonly settings: WorkerSettings;
}

/** What the worker was configured with, kept in history so that every later step of the release sees the same. */
export interface WorkerSettings {
  /** A worker that is silent for this many seconds counts as dead. */
  readonly heartbeatTimeoutSeconds: number;
  /** Of 0.1.0: whether the release starts the delivery of its own trace. Absent since there is one delivery for all. */
  readonly exportTrace?: boolean;
  readonly runtime: 'local' | 'kubernetes';
  /** Whether the release attests what it makes. */
  readonly attests?: boolean;
  /** Whether somebody else has to approve than who asked for the release. */
  readonly separateApproval?: boolean;
}

/** A model in an environment: where in which repository that is written. */
export interface GitOpsTarget extends GitOpsBranch {
  readonly model: string;
  readonly environment: string;
  readonly manifest: string;
  readonly container: string;
  readonly kustomize?: KustomizeTarget | undefined;
  readonly helm?: HelmTarget | undefined;
}

export interface DeploymentChange extends GitOpsTarget {
  readonly release: ReleaseId;
  readonly image: string;
  readonly imageDigest: Digest;
  readonly modelId: string;
  readonly sourceCommit: CommitSha;
  readonly dataset: { readonly name: string; readonly version: string };
  /** Of the release's own span: what the annotation and the trailer say. */
  readonly traceparent: string;
  /** What the caller sent along with its trace context. */
  readonly tracestate?: string | undefined;
  readonly baggage?: string | undefined;
  /** Of a rollback: what is brought back, which the pods then say that they are, and what it replaces. */
  readonly rollsBack?: Omit<Rollback, 'environment'> | undefined;
  /** Who let it go there, where somebody had to. */
  readonly approval?: ApprovalRecord | undefined;
  readonly requestedAt: string;
  readonly committedAt: string;
}

/** What somebody asks of the writer of a branch: that releases stay away from a target, or may come again. */
export interface HoldRequest extends GitOpsTarget {
  /** Of the request; it takes the place that a release has. */
  readonly release: string;
  readonly held: boolean;
  readonly reason: string;
  readonly by: string;
  readonly requestedAt: string;
}

/** What a release asks of the writer whose deployment does not do. */
export interface RollbackRequest extends DeploymentChange {
  readonly rollback: { readonly reason: string /** ISO 8601. */; readonly at: string };
}

/** What the writer of a branch is asked for. */
export type WriterRequest = DeploymentChange | HoldRequest | RollbackRequest;

/** A deployment that goes by a pull request. */
export interface DeploymentProposal {
  readonly change: DeploymentChange;
  readonly evidence: ProposalEvidence;
  readonly mode: PullRequestMode;
}

/** What a pull request says of a deployment besides what the change itself says. */
export interface ProposalEvidence {
  /** Where the release can be looked at. */
  readonly url?: string | undefined;
  /** Of the model's source. */
  readonly repository: string;
  readonly modelDigest: Digest;
  readonly datasetDigest?: string | undefined;
  readonly metrics: readonly {
    readonly name: string;
    readonly value: number | NonFinite;
    /** What it had to be, in words. */
    readonly gate?: string | undefined;
  }[];
}

export interface OpenedPullRequest extends PullRequestReference {
  /** ISO 8601. */
  readonly openedAt?: string | undefined;
}

export interface MergeWait {
  readonly proposal: DeploymentProposal;
  readonly number: number;
  /** ISO 8601: until when. */
  readonly deadline: string;
}

/** A commit, and what deploys it. */
export interface DeployedCommit {
  readonly change: DeploymentChange;
  readonly commit: CommitSha;
  readonly application: string;
  readonly namespace: string;
  /** The commit takes the change back: what is looked for is what was there before. */
  readonly restores?: SaidFields | undefined;
}

export interface DeploymentWait extends DeployedCommit {
  /** ISO 8601: until when. */
  readonly deadline: string;
}

/** A deployment that was taken back. */
export interface RolledBackDeployment {
  readonly commit: CommitSha;
  /** What the target's fields say now. */
  readonly restored: SaidFields;
}

/** How far the traces of all releases have been sent. */
export interface DeliveryState {
  /** Every release that closed before this has been. ISO 8601. */
  readonly closedUntil: string;
  /** Those of later ones that have been: their last runs, with the time of their end. */
  readonly closed: Readonly<Record<string, string>>;
  /** Of releases that go on. */
  readonly open: Readonly<Record<string, TracePosition>>;
}

/** What the heartbeats of the delivery remember, for whoever counts. */
export interface DeliveryMemory {
  /** Releases that have closed and whose trace the collector has not taken. */
  readonly undelivered: number;
}

/** What the heartbeats of the lineage remember, for whoever counts. */
export interface RecordingMemory {
  /** Releases that have ended and are not in the store; one at least while that is away. */
  readonly unrecorded: number;
}

/** A place in a release's history: what could be said of it up to there has been sent. */
export interface TracePosition {
  /** A reset begins another. */
  readonly runId: string;
  readonly events: number;
}

export interface Activities {
  /**
   * Resolves the ref, loads and checks the plan, and checks that this worker could run it and that every GitOps target
   * would take the change, by making it without writing it. Changes nothing.
   */
  prepareRelease(request: ReleaseRequest): Promise<PreparedRelease>;
  /** Checks every GitOps target of the plan: how 0.1.0 did it, after the plan was prepared. Changes nothing. */
  checkDeployments(plan: Plan): Promise<void>;
  /** Runs the training Job to its result. Idempotent by the Job's derived name (I2). */
  train(job: TrainingJob): Promise<TrainedModel>;
  /** Resolves an image reference to one by digest. Changes nothing. */
  pinImage(reference: string): Promise<string>;
  /** Lets go of a training Job whose result is in history. Idempotent. */
  settleTraining(job: string): Promise<void>;
  /** Ends a training Job. Idempotent: also where there is none, or it has ended. */
  stopTraining(job: string): Promise<void>;
  /** Builds the image. Idempotent by the release's tag. */
  buildImage(build: ImageBuild): Promise<BuiltImage>;
  /** Ends an image build. Idempotent. */
  stopBuild(release: ReleaseId): Promise<void>;
  /** Has the branch's writer commit to the GitOps repository. Idempotent by the commit's Release-Id (I3). */
  commitDeployment(change: DeploymentChange): Promise<GitOpsCommit>;
  /**
   * Writes deployments to a branch, a commit each; gives what became of them in the same order. Idempotent by the commits'
   * Release-Id (I3).
   */
  writeDeployments(
    branch: GitOpsBranch,
    changes: readonly WriterRequest[],
  ): Promise<readonly WrittenDeployment[]>;
  /** Has the branch's writer take a deployment back. Idempotent by the commit's Rollback-Of. */
  rollBackDeployment(request: RollbackRequest): Promise<RolledBackDeployment>;
  /**
   * Pushes a deployment to a branch of its own, opens a pull request from it, and closes those that it supersedes. Idempotent:
   * what is open is found, and what is on the base branch already is given as its commit (I3).
   */
  proposeDeployment(proposal: DeploymentProposal): Promise<OpenedPullRequest | GitOpsCommit>;
  /** Waits until a pull request is merged; where its branch has conflicts it is made anew. Idempotent. */
  awaitMerge(wait: MergeWait): Promise<GitOpsCommit>;
  /**
   * Closes the pull request of a deployment that is not to be any more, saying why, and deletes its branch; gives its commit,
   * where it got through. Idempotent.
   */
  withdrawProposal(
    proposal: DeploymentProposal,
    number: number | undefined,
    reason: string,
  ): Promise<GitOpsCommit | undefined>;
  /** Waits until the cluster runs a commit (I5). Idempotent: it only looks, and asks for a refresh. */
  awaitDeployment(wait: DeploymentWait): Promise<SyncedDeployment>;
  /**
   * Decides whether a deployment is good; a check that fails is a result. Idempotent but for what is asked: attempts go on
   * where the last one was, and adopt its Job.
   */
  verifyDeployment(verification: Verification, deployed?: DeployedCommit): Promise<VerifyResult>;
  /** Takes back a deployment that was interrupted; gives its commit, where it got through. Idempotent. */
  findDeployment(change: DeploymentChange): Promise<GitOpsCommit | undefined>;
  /** Checks what is attested of an image that is deployed again. Throws TL_ATTESTATION_INVALID. Changes nothing. */
  checkEvidence(image: string, digest: Digest): Promise<void>;
  /**
   * Signs what the release has made so far, and puts it beside model and image. Idempotent: what is there already is not
   * signed again. Gives what is there now but for what the release `knows`, so that its history has each once.
   */
  attestRelease(release: AttestedRelease, knows: readonly string[]): Promise<readonly SignedStatement[]>;
  /** Hands spans to the collector: how 0.1.0 delivered them. */
  deliverSpans(spans: readonly SpanRecord[]): Promise<void>;
  /**
   * Waits until something of a release has ended whose spans have not been sent, and hands them to the collector.
   * Idempotent: ids and content are functions of the release's history (DESIGN §5.2).
   */
  deliverTraces(state: DeliveryState | undefined): Promise<DeliveryState>;
  /**
   * Waits until something has happened to a release that a listener has not been told of, and tells it. At least once, each
   * time with the same id and content.
   */
  deliverEvents(listener: string, state: DeliveryState | undefined): Promise<DeliveryState>;
  /** Compares what targets say and run with what was released. Changes nothing. */
  checkTargets(expected: readonly ExpectedState[]): Promise<readonly DriftCheck[]>;
  /** A page of a training log. */
  readTrainingLog(job: string, from: string | undefined, bytes: number): Promise<LogPage>;
}

/** What a process can do that reaches the lineage store. */
export interface LineageActivities {
  /**
   * Writes what releases have done into the store, as it happens, for a while. Idempotent: what it writes is a function of
   * their histories, and the store says how far it has come.
   */
  recordReleases(): Promise<void>;
  /** Tells a data catalogue what is kept for it, for a while. At least once, each time with the same id and content. */
  sendEvents(): Promise<void>;
  /** What should run where, by the lineage. Changes nothing. */
  expectedStates(): Promise<readonly ExpectedState[]>;
  /** Keeps what a look at all targets has found. Idempotent: it replaces what the last one had found. */
  recordDrift(checks: readonly DriftCheck[], at: string): Promise<void>;
}

export type { ImageBuild, LogPage, SpanRecord, TraceCarrier, TrainingJob, Verification };
