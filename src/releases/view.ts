// A release as a client sees it: what its worker says, or what Temporal alone knows of it.
import type { WorkflowExecutionDescription, WorkflowExecutionInfo } from '@temporalio/client';
import type { Problem } from '../domain/errors.js';
import type { ReleaseId } from '../domain/ids.js';
import type { OutcomeStatus, ReleaseRecord } from '../domain/release.js';
import { CALLER_MEMO } from '../domain/temporal-names.js';
import { SEARCH_ATTRIBUTES } from '../workflows/search-attributes.js';

/** An activity that is being tried, and what it says. */
export interface PendingActivity {
  readonly activity: string;
  readonly attempt: number;
  /** Whether a worker has it; otherwise it waits for its next try, or for a worker. */
  readonly running: boolean;
  /** What its worker said last that it was doing. */
  readonly doing?: string | undefined;
  /** Why the last attempt failed. */
  readonly lastFailure?: string | undefined;
}

/** Who triggered a release, as its memo says. */
export interface Caller {
  readonly triggeredBy?: string | undefined;
  /** Seconds after which it is canceled where nobody asks for it. */
  readonly pollLease?: number | undefined;
}

export interface ReleaseView {
  readonly record: ReleaseRecord;
  readonly caller: Caller;
  /** Of the workflow: a reset begins another. */
  readonly runId: string;
  readonly pending: readonly PendingActivity[];
  /** Set where the record is what Temporal alone knows, as no worker answered. */
  readonly note?: string | undefined;
}

export interface ReleaseSummary {
  readonly release: string;
  readonly status: 'RUNNING' | OutcomeStatus;
  readonly model?: string | undefined;
  readonly commit?: string | undefined;
  readonly modelId?: string | undefined;
  readonly imageDigest?: string | undefined;
  readonly environments?: readonly string[] | undefined;
  readonly traceId?: string | undefined;
  readonly startedAt: string;
  readonly endedAt?: string | undefined;
}

type Keyword = Exclude<keyof typeof SEARCH_ATTRIBUTES, 'environments'>;

type Info = Pick<WorkflowExecutionInfo, 'typedSearchAttributes'>;

const keywordsOf =
  (info: Info) =>
  (name: Keyword): string | undefined =>
    info.typedSearchAttributes.get(SEARCH_ATTRIBUTES[name]);

export function summaryOf(info: WorkflowExecutionInfo): ReleaseSummary {
  const get = keywordsOf(info);
  return {
    release: info.workflowId,
    status: statusOf(info.status.name, get('outcome')),
    model: get('model'),
    commit: get('commit'),
    modelId: get('modelId'),
    imageDigest: get('image'),
    environments: info.typedSearchAttributes.get(SEARCH_ATTRIBUTES.environments),
    traceId: get('trace'),
    startedAt: info.startTime.toISOString(),
    endedAt: info.closeTime?.toISOString(),
  };
}

export function callerOf(description: WorkflowExecutionDescription): Caller {
  return (description.memo?.[CALLER_MEMO] as Caller | undefined) ?? {};
}

function statusOf(execution: string, outcome: string | undefined): 'RUNNING' | OutcomeStatus {
  if (outcome) return outcome as OutcomeStatus;
  if (execution === 'RUNNING' || execution === 'CONTINUED_AS_NEW') return 'RUNNING';
  return execution === 'CANCELLED' ? 'CANCELED' : 'FAILED';
}

/** What Temporal alone knows of a release: without its worker, or when it never came to its end. */
export function recordFromDescription(
  description: WorkflowExecutionDescription,
  release: ReleaseId,
): ReleaseRecord {
  const get = keywordsOf(description);
  const status = statusOf(description.status.name, get('outcome'));
  const problem: Problem = {
    code: 'TL_INTERNAL',
    message: `The workflow was closed as ${description.status.name} before the release came to its end`,
    hint: `temporal workflow show --workflow-id ${release}`,
  };
  return {
    release,
    status,
    request: {
      repository: '',
      ref: '',
      planPath: '',
      parameters: {},
      requestedAt: description.startTime.toISOString(),
      triggeredBy: callerOf(description).triggeredBy,
    },
    traceId: get('trace') ?? '',
    traceparent: '',
    model: get('model'),
    environments: description.typedSearchAttributes.get(SEARCH_ATTRIBUTES.environments),
    deployments: [],
    stages: [],
    ...(status === 'FAILED' ? { outcome: { status, problem } } : {}),
    ...(status === 'CANCELED' ? { outcome: { status, reason: 'canceled on request' } } : {}),
    endedAt: description.closeTime?.toISOString(),
  };
}

/** temporal.api.enums.v1.PendingActivityState */
const PENDING_ACTIVITY_STATE_STARTED = 2;

export function pendingActivities(description: WorkflowExecutionDescription): PendingActivity[] {
  return (description.raw.pendingActivities ?? []).map((activity) => ({
    activity: activity.activityType?.name ?? '',
    attempt: activity.attempt ?? 1,
    running: activity.state === PENDING_ACTIVITY_STATE_STARTED,
    doing: doingOf(activity.heartbeatDetails?.payloads?.[0]?.data),
    lastFailure: activity.lastFailure?.message ?? undefined,
  }));
}

function doingOf(payload: Uint8Array | null | undefined): string | undefined {
  if (!payload) return undefined;
  try {
    const details = JSON.parse(Buffer.from(payload).toString('utf8')) as { doing?: unknown };
    return typeof details.doing === 'string' ? details.doing : undefined;
  } catch {
    return undefined;
  }
}
