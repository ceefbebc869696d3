// How far a release has come: the record behind the status query, the search attributes, the current details that the
// Temporal UI shows, and the stage that outgoing trace context belongs to. Deterministic: times are workflow times.
import {
  AsyncLocalStorage,
  defineQuery,
  isCancellation,
  setCurrentDetails,
  setHandler,
  upsertMemo,
  upsertSearchAttributes,
  uuid4,
} from '@temporalio/workflow';
import { type ApprovalRecord, type AwaitedApproval, awaitingOf } from '../domain/approval.js';
import type { Problem } from '../domain/errors.js';
import type { CommitSha } from '../domain/ids.js';
import { type ProposedPullRequest, proposedIn } from '../domain/pull-request.js';
import {
  type BuiltImage,
  type DatasetReference,
  type GitOpsCommit,
  type Outcome,
  type ReleaseRecord,
  type ReleaseRequest,
  STAGE_MARKS,
  type Stage,
  type StageStatus,
  type StageType,
  type SyncedDeployment,
  type TrainedModel,
} from '../domain/release.js';
import { RECORD_MEMO, STATUS_QUERY } from '../domain/temporal-names.js';
import { formatTraceparent, parseTraceparent, stageSpanId, type TraceCarrier } from '../domain/trace.js';
import { describeVerification, type VerifyResult } from '../domain/verification.js';
import { problemOf } from './failures.js';
import { measureRelease, measureStage } from './metrics.js';
import { SEARCH_ATTRIBUTES } from './search-attributes.js';

export const statusQuery = defineQuery<ReleaseRecord>(STATUS_QUERY);

/** The stage that is running, for the interceptor that writes headers: its context, and how far the release has come. */
const currentStage = new AsyncLocalStorage<TraceCarrier>();
const currentRelease = new AsyncLocalStorage<{ progress?: ReleaseProgress }>();

/** Runs a workflow so that what it hands out can be told its release. */
export function inRelease<T>(run: () => Promise<T>): Promise<T> {
  return currentRelease.run({}, run);
}

/** What goes along with everything that leaves the workflow; undefined in a workflow that is no release. */
export function outgoing(): { trace: TraceCarrier; record: ReleaseRecord } | undefined {
  const progress = currentRelease.getStore()?.progress;
  return progress && { trace: currentStage.getStore() ?? progress.trace, record: progress.record() };
}

/** A stage's own way to say how it ended, besides failing: a gate that refuses, a newer release that was there first. */
export class StageEnded extends Error {
  constructor(readonly outcome: Extract<Outcome, { status: 'REJECTED' | 'SUPERSEDED' }>) {
    super(outcome.problem.message);
  }
}

type Facts = Pick<ReleaseRecord, 'model' | 'commit' | 'dataset' | 'environments' | 'training' | 'image'>;

export class ReleaseProgress {
  private readonly stages: Stage[] = [];
  private readonly deployments: GitOpsCommit[] = [];
  private verifications: readonly VerifyResult[] = [];
  private facts: Facts = {};
  private approvals: readonly ApprovalRecord[] = [];
  private awaited: readonly AwaitedApproval[] = [];
  private proposed: readonly ProposedPullRequest[] = [];
  private outcome: Outcome | undefined;
  private endedAt: string | undefined;

  constructor(private readonly request: ReleaseRequest) {
    const release = currentRelease.getStore();
    if (release) release.progress = this;
    setHandler(statusQuery, () => this.record());
    this.describe();
  }

  /** Runs a stage: its times and its end are recorded, and what it sends out carries its trace context. */
  async stage<T>(type: StageType, name: string, run: (trace: TraceCarrier) => Promise<T>): Promise<T> {
    const startedAt = now();
    const spanId = stageSpanId(this.request.release, name, uuid4());
    const index = this.stages.push({ name, type, status: 'RUNNING', startedAt, spanId }) - 1;
    const end = (status: StageStatus, cause?: Problem) => {
      const stage = this.stages[index];
      const problem = cause && { code: cause.code, message: cause.message };
      if (stage) {
        const ended = { ...stage, status, endedAt: now(), ...(problem ? { problem } : {}) };
        this.stages[index] = ended;
        measureStage(ended, this.facts.model);
      }
      this.describe();
    };
    this.describe();
    const trace = this.contextOf(spanId);
    try {
      const result = await currentStage.run(trace, () => run(trace));
      end('SUCCEEDED');
      return result;
    } catch (error) {
      if (error instanceof StageEnded) end(error.outcome.status, error.outcome.problem);
      else if (isCancellation(error)) end('CANCELED');
      else end('FAILED', problemOf(error));
      throw error;
    }
  }

  planned(
    model: string,
    commit: CommitSha,
    dataset: DatasetReference,
    environments: readonly string[],
  ): void {
    this.facts = { ...this.facts, model, commit, dataset, environments };
    upsertSearchAttributes([
      { key: SEARCH_ATTRIBUTES.model, value: model },
      { key: SEARCH_ATTRIBUTES.commit, value: commit },
      { key: SEARCH_ATTRIBUTES.dataset, value: `${dataset.name}@${dataset.version}` },
      ...(environments.length > 0 ? [{ key: SEARCH_ATTRIBUTES.environments, value: [...environments] }] : []),
    ]);
    this.describe();
  }

  trained(training: TrainedModel): void {
    const dataset = this.facts.dataset && { ...this.facts.dataset, digest: training.datasetDigest };
    this.facts = { ...this.facts, training, dataset };
    upsertSearchAttributes([{ key: SEARCH_ATTRIBUTES.modelId, value: training.id }]);
    this.describe();
  }

  built(image: BuiltImage): void {
    this.facts = { ...this.facts, image };
    upsertSearchAttributes([{ key: SEARCH_ATTRIBUTES.image, value: image.digest }]);
    this.describe();
  }

  /** A deployment waits for somebody; told again where there is more to say of it. */
  awaits(approval: AwaitedApproval): void {
    this.awaited = [
      ...this.awaited.filter(({ environment }) => environment !== approval.environment),
      approval,
    ];
    this.describe();
  }

  approved(approval: ApprovalRecord): void {
    this.approvals = [...this.approvals, approval];
    this.describe();
  }

  /** A deployment waits for its pull request to be merged. */
  proposes(pullRequest: ProposedPullRequest): void {
    this.proposed = [...this.proposed, pullRequest];
    this.describe();
  }

  deployed(commit: GitOpsCommit): void {
    this.deployments.push(commit);
    this.describe();
  }

  synced(environment: string, synced: SyncedDeployment): void {
    const index = this.deployments.findIndex((one) => one.environment === environment);
    const commit = this.deployments[index];
    if (commit) this.deployments[index] = { ...commit, synced };
    this.describe();
  }

  /** The release has taken its deployment back. */
  rolledBack(environment: string, rolledBack: NonNullable<GitOpsCommit['rolledBack']>): void {
    const index = this.deployments.findIndex((one) => one.environment === environment);
    const commit = this.deployments[index];
    if (commit) this.deployments[index] = { ...commit, rolledBack };
    this.describe();
  }

  verified(result: VerifyResult): void {
    this.verifications = [...this.verifications, result];
    this.describe();
  }

  /** The last word: kept in the memo, where it can be read when no worker runs, and in the outcome's attribute. */
  ended(outcome: Outcome): ReleaseRecord {
    this.outcome = outcome;
    this.endedAt = now();
    const record = this.record();
    upsertSearchAttributes([{ key: SEARCH_ATTRIBUTES.outcome, value: outcome.status }]);
    upsertMemo({ [RECORD_MEMO]: record });
    measureRelease(this.facts.model, this.request.requestedAt, this.endedAt, outcome);
    this.describe();
    return record;
  }

  record(): ReleaseRecord {
    const { repository, ref, planPath, parameters, requestedAt, requestedBy, triggeredBy, spinnaker } =
      this.request;
    const { made: _, ...rollback } = this.request.rollback ?? { made: undefined };
    return {
      release: this.request.release,
      status: this.outcome?.status ?? 'RUNNING',
      request: { repository, ref, planPath, parameters, requestedAt, requestedBy, triggeredBy, spinnaker },
      traceId: parseTraceparent(this.request.trace.traceparent).traceId,
      traceparent: this.request.trace.traceparent,
      ...this.facts,
      ...('to' in rollback ? { rollback } : {}),
      ...(this.approvals.length > 0 ? { approvals: this.approvals } : {}),
      ...(this.awaited.length > 0 ? { awaited: this.awaited } : {}),
      ...(this.proposed.length > 0 ? { proposed: this.proposed } : {}),
      deployments: this.deployments,
      ...(this.verifications.length > 0 ? { verifications: this.verifications } : {}),
      stages: this.stages,
      outcome: this.outcome,
      endedAt: this.endedAt,
    };
  }

  /** Of the release's own span. */
  get trace(): TraceCarrier {
    return this.request.trace;
  }

  /** DESIGN §5.1: computed from the release, so that any attempt on any worker hands out the same. */
  private contextOf(spanId: string): TraceCarrier {
    const run = parseTraceparent(this.request.trace.traceparent);
    return { ...this.request.trace, traceparent: formatTraceparent({ ...run, spanId }) };
  }

  private describe(): void {
    setCurrentDetails(describeRelease(this.record()));
  }
}

/** The release as Markdown, as the Temporal UI shows it. */
function describeRelease(record: ReleaseRecord): string {
  const { model, commit, dataset, training, image, outcome } = record;
  const awaiting = awaitingOf(record);
  const open = proposedIn(record);
  const metrics = Object.entries(training?.metrics ?? {}).map(([name, value]) => `${name} ${value}`);
  const lines = [
    `**${model ?? 'release'}** from ${record.request.repository} at ${record.request.ref}`,
    '',
    ...record.stages.map(({ name, status }) => `- ${STAGE_MARKS[status]} ${name}`),
    '',
    ...(commit ? [`commit \`${commit}\`  `] : []),
    ...(dataset ? [`dataset \`${dataset.name}@${dataset.version}\`  `] : []),
    ...(training ? [`model \`${training.id}\` ${training.digest} (${metrics.join(', ')})  `] : []),
    ...(image ? [`image \`${image.reference}\`  `] : []),
    ...(awaiting
      ? [
          `**${awaiting.environment} waits for an approval** until ${awaiting.until}: \`throughline approve ${record.release}\`  `,
          ...(awaiting.escalated ? [`${awaiting.escalated.note}  `] : []),
        ]
      : []),
    ...(record.approvals ?? []).map(
      ({ environment, decision, by, at, comment }) =>
        `${environment}: ${decision} by ${by} at ${at}${comment ? `: ${comment}` : ''}  `,
    ),
    ...(open ? [`**${open.environment} waits for ${open.url}** until ${open.until}  `] : []),
    ...record.deployments.map(
      (one) =>
        `${one.environment}: GitOps commit \`${one.commit}\`${one.pullRequest ? ` by ${one.pullRequest.url}` : ''}${one.synced ? `, running in ${one.synced.pods.join(', ')}` : ''}${one.rolledBack ? `, taken back by \`${one.rolledBack.commit}\`: ${one.rolledBack.reason}` : ''}  `,
    ),
    ...(record.verifications ?? []).map((one) => `${one.environment}: ${describeVerification(one)}  `),
    `trace \`${record.traceId}\``,
    ...(outcome ? ['', `**${outcome.status}**`] : []),
    ...(outcome && 'problem' in outcome ? [`${outcome.problem.message} [${outcome.problem.code}]`] : []),
  ];
  return lines.join('\n');
}

function now(): string {
  return new Date().toISOString();
}
