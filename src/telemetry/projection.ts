// The release's trace, computed from its history: a pure function, so that the same release gives the same spans with
// the same ids and times wherever and whenever it is computed (DESIGN §5.2). Of a release that goes on it gives the
// spans that will not change any more.
import { splitImage } from '../domain/ids.js';
import type { Observation } from '../domain/observation.js';
import type { Stage, StageStatus } from '../domain/release.js';
import { attemptSpanId, parseTraceparent, type SpanContext, spanIdOf } from '../domain/trace.js';
import { ATTR, type PipelineResult } from './attributes.js';
import type { Activity, Attempt, Closing, KnownRecord, ReleaseRun } from './history.js';
import { RESULTS } from './results.js';

/** A finished span as data. Times are ISO 8601, UTC. */
export interface SpanRecord {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string | undefined;
  /** Whether the parent is in another process. */
  readonly parentIsRemote: boolean;
  readonly flags: number;
  /** W3C Trace Context, `tracestate`: as the caller sent it. */
  readonly tracestate?: string | undefined;
  readonly name: string;
  readonly kind: 'SERVER' | 'CLIENT' | 'INTERNAL';
  readonly start: string;
  readonly end: string;
  readonly attributes: Readonly<Record<string, string | number | boolean | readonly string[]>>;
  readonly error?: string | undefined;
  /** W3C traceparents of spans of other traces. */
  readonly links?: readonly string[] | undefined;
}

export interface ProjectedTrace {
  readonly traceId: string;
  /** False where the caller decided against this trace: then there are no spans. */
  readonly sampled: boolean;
  readonly spans: readonly SpanRecord[];
  /** How many stages have ended. */
  readonly ended: number;
  /** Whether this is all of it. */
  readonly closed: boolean;
}

/** RFC 3339 without a fraction. */
const WHOLE_SECOND = /:\d\dZ$/;

/** A wait is worth a span from this length on. Milliseconds. */
const SHORTEST_WAIT = 1_000;

/** What a run that did not come to its own end has as its result. */
const CLOSED: Readonly<Record<Closing['how'], PipelineResult>> = {
  completed: 'success',
  failed: 'error',
  canceled: 'cancellation',
  terminated: 'cancellation',
  'timed out': 'timeout',
  continued: 'success',
};

/** Task types that the conventions know; other stages have none. */
export const TASK_TYPES: Partial<Record<Stage['type'], string>> = {
  train: 'build',
  evaluate: 'test',
  build: 'build',
  deploy: 'deploy',
  verify: 'test',
};

/** The trace of a release from its runs: one, or several where it was reset, the newest last. */
export function projectTrace(runs: readonly ReleaseRun[]): ProjectedTrace {
  const newest = runs.at(-1);
  if (!newest) throw new Error('a release has at least one run');
  const context = parseTraceparent(newest.request.trace.traceparent);
  const spans = new Map<string, SpanRecord>();
  let again = false;
  for (const [index, run] of runs.entries()) {
    const next = runs[index + 1];
    // What two runs share is the same in both.
    for (const span of new RunProjection(run, context, next, again).spans()) spans.set(span.spanId, span);
    again ||= run.closing !== undefined && !run.closing.byReset;
  }
  const sampled = (context.flags & 1) === 1;
  return {
    traceId: context.traceId,
    sampled,
    spans: sampled ? [...spans.values()] : [],
    ended: newest.record?.stages.filter(({ endedAt }) => endedAt).length ?? 0,
    closed: newest.closing !== undefined,
  };
}

class RunProjection {
  private readonly record: KnownRecord | undefined;
  private readonly closing: Closing | undefined;
  private readonly root: string;

  constructor(
    private readonly run: ReleaseRun,
    private readonly context: SpanContext,
    private readonly next: ReleaseRun | undefined,
    /** An earlier run has come to an end of its own, and has the release's own span. */
    private readonly again: boolean,
  ) {
    this.record = run.record;
    this.closing = run.closing;
    this.root = context.spanId;
  }

  spans(): SpanRecord[] {
    const { activities, request } = this.run;
    const stages = this.record?.stages ?? [];
    return [
      ...stages.map((stage) => this.stage(stage)),
      ...activities.flatMap((activity) => [
        ...this.attempts(activity),
        ...this.waits(activity),
        ...activity.observed.map((one) => this.observation(one, activity)),
      ]),
      this.whole(),
    ]
      .filter((span) => span !== undefined)
      .map((span) => ({
        ...span,
        ...(request.trace.tracestate ? { tracestate: request.trace.tracestate } : {}),
      }));
  }

  /** `RUN`. A run that a reset has ended is none of its own: the one that goes on is. */
  private whole(): SpanRecord | undefined {
    const { closing, record, run, again } = this;
    if (!closing || closing.byReset) return undefined; // the run that goes on has it
    const { request } = run;
    const caller = request.caller === undefined ? undefined : parseTraceparent(request.caller);
    const outcome = record?.outcome;
    const problem = outcome && 'problem' in outcome ? outcome.problem : undefined;
    const result = outcome ? RESULTS[outcome.status] : CLOSED[closing.how];
    const errorType = problem?.code ?? (outcome ? undefined : (closing.reason ?? closing.how));
    const message = problem
      ? `${problem.message} [${problem.code}]`
      : outcome
        ? undefined
        : `the workflow was ${closing.how}`;
    const model = record?.model ?? 'release';
    return {
      ...this.below(again ? this.root : caller?.spanId),
      spanId: again ? spanIdOf(request.release, 'RUN', run.runId) : this.root,
      parentIsRemote: !again && caller !== undefined,
      name: `RUN ${model}`,
      kind: 'SERVER',
      start: (again ? run.resetAt : undefined) ?? request.requestedAt,
      end: closing.at,
      attributes: {
        [ATTR.pipelineName]: model,
        [ATTR.pipelineRunId]: request.release,
        ...(request.url ? { [ATTR.pipelineRunUrl]: request.url } : {}),
        [ATTR.pipelineAction]: 'RUN',
        [ATTR.pipelineResult]: result,
        [ATTR.repositoryUrl]: request.repository,
        [ATTR.headName]: request.ref,
        ...(record ? factsOf(record) : {}),
        ...(errorType ? { [ATTR.errorType]: errorType } : {}),
      },
      error: result === 'error' || result === 'timeout' || !outcome ? message : undefined,
      // A rollback belongs to what it brings back, and to what it replaces.
      ...(request.rollback
        ? { links: [request.rollback.to.traceparent, request.rollback.from.traceparent] }
        : {}),
    };
  }

  /** A stage that has ended, or has ended with its run. */
  private stage(stage: Stage): SpanRecord | undefined {
    const { closing, run, record } = this;
    const { release, url } = run.request;
    const goesOn = this.next?.record?.stages.some(({ spanId }) => spanId === stage.spanId);
    if (!stage.endedAt && (!closing || goesOn)) return undefined;
    const type = TASK_TYPES[stage.type];
    const environment = /^(?:deploy|approve|verify|roll back) (.+)$/.exec(stage.name)?.[1];
    const approval =
      stage.type === 'approve'
        ? record?.approvals?.find((one) => one.environment === environment)
        : undefined;
    const cut = stage.endedAt ? undefined : this.cut();
    const failed = stage.status === 'FAILED';
    const errorType = stage.problem?.code ?? cut?.error;
    return {
      ...this.below(this.root),
      spanId: stage.spanId ?? spanIdOf(release, stage.name),
      name: stage.name,
      kind: 'INTERNAL',
      start: stage.startedAt,
      end: stage.endedAt ?? closing?.at ?? stage.startedAt,
      attributes: {
        [ATTR.taskName]: stage.name,
        [ATTR.taskRunId]: `${release}/${stage.name}`,
        ...(url ? { [ATTR.taskRunUrl]: `${url}#${encodeURIComponent(stage.name)}` } : {}),
        [ATTR.taskResult]: cut?.result ?? stageResult(stage.status),
        ...(type ? { [ATTR.taskType]: type } : {}),
        ...(environment ? { [ATTR.environment]: environment } : {}),
        ...(stage.type === 'train' && record?.training ? { [ATTR.jobName]: record.training.job } : {}),
        ...(approval
          ? {
              [ATTR.approvalDecision]: approval.decision,
              [ATTR.approvalBy]: approval.by,
              ...(approval.comment ? { [ATTR.approvalComment]: approval.comment } : {}),
            }
          : {}),
        ...(errorType ? { [ATTR.errorType]: errorType } : {}),
      },
      error: failed && stage.problem ? `${stage.problem.message} [${stage.problem.code}]` : cut?.error,
    };
  }

  /** How something ended that its run did not see to an end. */
  private cut(): { result: PipelineResult; error: string } | undefined {
    if (!this.closing) return undefined;
    if (this.closing.byReset) return { result: 'cancellation', error: 'reset' };
    return { result: CLOSED[this.closing.how], error: this.closing.how.replace(' ', '_') };
  }

  private attempts(activity: Activity): SpanRecord[] {
    const { release } = this.run.request;
    const scheduled = Date.parse(activity.scheduledAt);
    const spanOf = (attempt: Attempt): SpanRecord => ({
      ...this.below(this.parentOf(activity)),
      spanId: attemptSpanId(release, activity.id, scheduled, attempt.number),
      name: activity.type,
      kind: 'INTERNAL',
      start: attempt.startedAt,
      end: attempt.endedAt,
      attributes: {
        [ATTR.attempt]: attempt.number,
        [ATTR.attempts]: activity.attempts.length,
        ...(attempt.worker ? { [ATTR.workerId]: attempt.worker } : {}),
        ...(attempt.silent ? { [ATTR.attemptSilent]: true } : {}),
        ...(attempt.canceled ? { [ATTR.taskResult]: 'cancellation' } : {}),
        ...(attempt.error ? { [ATTR.errorType]: attempt.error } : {}),
      },
      error: attempt.error && (attempt.message ? `${attempt.message} [${attempt.error}]` : attempt.error),
    });
    if (activity.endedAt) return activity.attempts.map(spanOf);
    const cut = this.goesOn(activity) ? undefined : this.cut();
    if (!this.closing || !cut) return [];
    // What was tried by whom is not in the history of a run that ended in the middle of it.
    return [
      {
        ...this.below(this.parentOf(activity)),
        spanId: spanIdOf(release, 'unfinished', activity.id, scheduled),
        name: activity.type,
        kind: 'INTERNAL',
        start: activity.scheduledAt,
        end: this.closing.at,
        attributes: { [ATTR.errorType]: cut.error },
        error: cut.error,
      },
    ];
  }

  /** For a worker, and from a failure or a loss to the next try. */
  private waits(activity: Activity): SpanRecord[] {
    const { release } = this.run.request;
    const scheduled = Date.parse(activity.scheduledAt);
    return activity.attempts.flatMap((attempt, index) => {
      const before = activity.attempts[index - 1];
      const start = before?.endedAt ?? activity.scheduledAt;
      if (attempt.silent || Date.parse(attempt.startedAt) - Date.parse(start) < SHORTEST_WAIT) return [];
      return [
        {
          ...this.below(this.parentOf(activity)),
          spanId: spanIdOf(release, 'wait', activity.id, scheduled, attempt.number),
          name: before ? 'wait for retry' : 'wait for worker',
          kind: 'INTERNAL',
          start,
          end: attempt.startedAt,
          attributes: { [ATTR.attempt]: attempt.number },
        },
      ];
    });
  }

  private observation(seen: Observation, activity: Activity): SpanRecord | undefined {
    const { release } = this.run.request;
    const seenEnd = seen.end ?? activity.endedAt;
    if (!seenEnd) return undefined;
    const start = this.startOf(seen, activity);
    const end = Date.parse(seenEnd) < Date.parse(start) ? start : seenEnd;
    return {
      ...this.below(seen.parent ? spanIdOf(release, 'seen', seen.parent) : this.parentOf(activity)),
      spanId: spanIdOf(release, 'seen', seen.id),
      name: seen.name,
      kind: seen.kind ?? 'INTERNAL',
      start,
      end,
      attributes: { ...seen.attributes, ...(seen.error ? { [ATTR.errorType]: seen.error } : {}) },
      error: seen.error,
    };
  }

  /**
   * Kubernetes and Argo CD say times to the second. What began within the second in which its parent began did not begin
   * before it.
   */
  private startOf(seen: Observation, activity: Activity): string {
    const above = seen.parent && activity.observed.find(({ id }) => id === seen.parent);
    const parent = above ? this.startOf(above, activity) : activity.scheduledAt;
    const ahead = Date.parse(parent) - Date.parse(seen.start);
    return WHOLE_SECOND.test(seen.start) && ahead > 0 && ahead < 1_000 ? parent : seen.start;
  }

  private below(
    parentSpanId: string | undefined,
  ): Pick<SpanRecord, 'traceId' | 'flags' | 'parentSpanId' | 'parentIsRemote'> {
    const { traceId, flags } = this.context;
    return { traceId, flags, parentSpanId, parentIsRemote: false };
  }

  /** The stage whose context went along; the release's own span for what belongs to no stage. */
  private parentOf({ traceparent }: Activity): string {
    return traceparent ? parseTraceparent(traceparent).spanId : this.root;
  }

  /** Whether the next run has the activity too: then it is that one's to end. */
  private goesOn(activity: Activity): boolean {
    return (
      this.next?.activities.some(
        ({ id, scheduledAt }) => id === activity.id && scheduledAt === activity.scheduledAt,
      ) ?? false
    );
  }
}

/** What identifies the release's things, as far as they are known. */
function factsOf({ commit, dataset, training, image }: KnownRecord): SpanRecord['attributes'] {
  return {
    ...(commit ? { [ATTR.headRevision]: commit } : {}),
    ...(dataset ? { [ATTR.datasetName]: dataset.name, [ATTR.datasetVersion]: dataset.version } : {}),
    ...(training ? { [ATTR.modelId]: training.id, [ATTR.modelDigest]: training.digest } : {}),
    ...(image
      ? {
          [ATTR.imageName]: splitImage(image.name).repository,
          [ATTR.imageTags]: [splitImage(image.name).tag ?? 'latest'],
          [ATTR.imageRepoDigests]: [image.reference.replace(/:[^:/@]+@/, '@')],
          [ATTR.manifestDigest]: image.digest,
        }
      : {}),
  };
}

function stageResult(status: StageStatus): PipelineResult {
  return status === 'RUNNING' ? 'error' : RESULTS[status];
}
