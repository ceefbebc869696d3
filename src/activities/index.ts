// What the release workflow can do to the world. The workflow sees only this interface; the worker implements it.
import type { CommitSha, Digest, ReleaseId } from '../domain/ids.js';
import type {
  BuiltImage,
  GitOpsCommit,
  ReleaseRequest,
  SyncedDeployment,
  TrainedModel,
} from '../domain/release.js';
import type { TraceCarrier } from '../domain/trace.js';
import type { JobManifest, Plan } from '../plan/index.js';
import type { SpanRecord } from '../telemetry/projection.js';
import type { ImageBuild } from './build/builder.js';
import type { LogPage, TrainingJob } from './training/runner.js';

/** What the first activity finds out; everything after it works from this, out of history. */
export interface PreparedRelease {
  readonly commit: CommitSha;
  readonly refType: 'branch' | 'tag' | 'commit';
  readonly plan: Plan;
  readonly job: JobManifest;
  readonly trainingContext: string;
  /** As the Job's manifest names it. */
  readonly trainerImage?: string | undefined;
  readonly buildContext: string;
  /** The plan's parameters with the trigger's on top. */
  readonly parameters: Readonly<Record<string, string>>;
  /** Kubernetes: where the Job will be. */
  readonly jobNamespace?: string | undefined;
  readonly settings: WorkerSettings;
}

/** What the worker was configured with, kept in history so that every later step of the release sees the same. */
export interface WorkerSettings {
  /** A worker that is silent for this many seconds counts as dead. */
  readonly heartbeatTimeoutSeconds: number;
  /** Whether there is a collector to deliver the release's trace to. */
  readonly exportTrace: boolean;
  readonly runtime: 'local' | 'kubernetes';
}

export interface DeploymentChange {
  readonly release: ReleaseId;
  readonly model: string;
  readonly environment: string;
  readonly repository: string;
  readonly branch: string;
  readonly manifest: string;
  readonly container: string;
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
  readonly requestedAt: string;
  readonly committedAt: string;
}

export interface DeploymentWait {
  readonly change: DeploymentChange;
  readonly commit: CommitSha;
  readonly application: string;
  readonly namespace: string;
  /** ISO 8601: until when. */
  readonly deadline: string;
}

/** How far a release's trace had come. */
export interface TracePosition {
  /** The run that was looked at: a reset begins another. */
  readonly runId: string;
  /** How many stages had ended. */
  readonly ended: number;
  readonly closed: boolean;
  /** Whether there is a collector at all, and the caller's trace is sampled. */
  readonly exported: boolean;
}

export interface Activities {
  /** Resolves the ref, loads and checks the plan, and checks that this worker could run it. Changes nothing. */
  prepareRelease(request: ReleaseRequest): Promise<PreparedRelease>;
  /** Checks every GitOps target of the plan by making the change without writing it. Changes nothing. */
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
  /** Commits to the GitOps repository. Idempotent by the commit's Release-Id (I3). */
  commitDeployment(change: DeploymentChange): Promise<GitOpsCommit>;
  /** Waits until the cluster runs a commit (I5). Idempotent: it only looks, and asks for a refresh. */
  awaitDeployment(wait: DeploymentWait): Promise<SyncedDeployment>;
  /** The commit of a deployment that was interrupted, where it got through. Changes nothing. */
  findDeployment(change: DeploymentChange): Promise<GitOpsCommit | undefined>;
  /** Hands spans to the collector: how 0.1.0 delivered them. */
  deliverSpans(spans: readonly SpanRecord[]): Promise<void>;
  /** Waits until a stage of the release has ended since, or the release itself. Changes nothing. */
  followRelease(release: ReleaseId, since: TracePosition | undefined): Promise<TracePosition>;
  /**
   * Hands the spans of everything that has ended to the collector, but those delivered before, and gives their ids.
   * Idempotent: ids and content are functions of the release's history (DESIGN §5.2).
   */
  exportTrace(release: ReleaseId, delivered: readonly string[]): Promise<string[]>;
  /** Has the traces delivered of releases that ended without, in the last hours. Idempotent by the deliveries' ids. */
  reconcileTraces(hours: number): Promise<number>;
  /** A page of a training log. */
  readTrainingLog(job: string, from: string | undefined, bytes: number): Promise<LogPage>;
}

export type { ImageBuild, LogPage, SpanRecord, TraceCarrier, TrainingJob };
