// The release's trace, computed from its record: a pure function, so that the same release gives the same spans with
// the same ids and times wherever and whenever it is computed (DESIGN §5.2). Free of I/O: workflow code uses it.
import type { Problem } from '../domain/errors.js';
import type { OutcomeStatus, ReleaseRecord, Stage, StageStatus } from '../domain/release.js';
import { parseTraceparent, type SpanContext, spanIdOf } from '../domain/trace.js';
import { ATTR, type PipelineResult } from './attributes.js';

/** A finished span as data. Times are ISO 8601, UTC. */
export interface SpanRecord {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string | undefined;
  /** Whether the parent is in another process. */
  readonly parentIsRemote: boolean;
  readonly flags: number;
  readonly name: string;
  readonly kind: 'SERVER' | 'INTERNAL';
  readonly start: string;
  readonly end: string;
  readonly attributes: Readonly<Record<string, string | readonly string[]>>;
  readonly error?: string | undefined;
}

const RESULTS: Readonly<Record<OutcomeStatus, PipelineResult>> = {
  SUCCEEDED: 'success',
  REJECTED: 'failure', // the gate did its work: a failure of the run, not an error of the system
  FAILED: 'error',
  CANCELED: 'cancellation',
  SUPERSEDED: 'skip',
};

/** Task types that the conventions know; other stages have none. */
const TASK_TYPES: Partial<Record<Stage['type'], string>> = {
  train: 'build',
  evaluate: 'test',
  build: 'build',
  deploy: 'deploy',
  verify: 'test',
};

/** Spans of a release that has ended: its own, and one a stage. Empty where the caller's trace is not sampled. */
export function projectRelease(record: ReleaseRecord, caller: string | undefined): SpanRecord[] {
  const run = parseTraceparent(record.traceparent);
  const { outcome, endedAt } = record;
  if (!outcome || !endedAt || (run.flags & 1) === 0) return [];
  return [
    runSpan(record, run, outcome.status, endedAt, caller),
    ...record.stages.map((stage) => stageSpan(record, run, stage, endedAt)),
  ];
}

function runSpan(
  record: ReleaseRecord,
  run: SpanContext,
  status: OutcomeStatus,
  endedAt: string,
  caller: string | undefined,
): SpanRecord {
  const parent = caller === undefined ? undefined : parseTraceparent(caller);
  const problem = record.outcome && 'problem' in record.outcome ? record.outcome.problem : undefined;
  return {
    traceId: run.traceId,
    spanId: run.spanId,
    parentSpanId: parent?.spanId,
    parentIsRemote: parent !== undefined,
    flags: run.flags,
    name: `RUN ${record.model ?? 'release'}`,
    kind: 'SERVER',
    start: record.request.requestedAt,
    end: endedAt,
    attributes: {
      [ATTR.pipelineName]: record.model ?? 'release',
      [ATTR.pipelineRunId]: record.release,
      [ATTR.pipelineAction]: 'RUN',
      [ATTR.pipelineResult]: RESULTS[status],
      [ATTR.repositoryUrl]: record.request.repository,
      [ATTR.headName]: record.request.ref,
      ...(record.commit ? { [ATTR.headRevision]: record.commit } : {}),
      ...(record.dataset
        ? { [ATTR.datasetName]: record.dataset.name, [ATTR.datasetVersion]: record.dataset.version }
        : {}),
      ...(record.training
        ? { [ATTR.modelId]: record.training.id, [ATTR.modelDigest]: record.training.digest }
        : {}),
      ...(record.image
        ? {
            [ATTR.imageName]: record.image.name.replace(/:[^:/]+$/, ''),
            [ATTR.imageRepoDigests]: [record.image.reference.replace(/:[^:/@]+@/, '@')],
            [ATTR.manifestDigest]: record.image.digest,
          }
        : {}),
      ...(problem ? { [ATTR.errorType]: problem.code } : {}),
    },
    error: status === 'FAILED' ? summaryOf(problem) : undefined,
  };
}

function stageSpan(record: ReleaseRecord, run: SpanContext, stage: Stage, endedAt: string): SpanRecord {
  const type = TASK_TYPES[stage.type];
  const failed = stage.status === 'FAILED';
  const problem = record.outcome && 'problem' in record.outcome ? record.outcome.problem : undefined;
  const environment = stage.type === 'deploy' ? stage.name.replace(/^deploy /, '') : undefined;
  return {
    traceId: run.traceId,
    spanId: spanIdOf(record.release, stage.name),
    parentSpanId: run.spanId,
    parentIsRemote: false,
    flags: run.flags,
    name: stage.name,
    kind: 'INTERNAL',
    start: stage.startedAt,
    end: stage.endedAt ?? endedAt,
    attributes: {
      [ATTR.taskName]: stage.name,
      [ATTR.taskRunId]: `${record.release}/${stage.name}`,
      [ATTR.taskResult]: stageResult(stage.status),
      ...(type ? { [ATTR.taskType]: type } : {}),
      ...(environment ? { [ATTR.environment]: environment } : {}),
      ...(stage.type === 'train' && record.training ? { [ATTR.jobName]: record.training.job } : {}),
      ...(failed && problem ? { [ATTR.errorType]: problem.code } : {}),
    },
    error: failed ? summaryOf(problem) : undefined,
  };
}

function stageResult(status: StageStatus): PipelineResult {
  return status === 'RUNNING' ? 'error' : RESULTS[status];
}

/** I9: the message alone; `found` may hold a program's output. */
function summaryOf(problem: Problem | undefined): string {
  return problem ? `${problem.message} [${problem.code}]` : 'failed';
}
