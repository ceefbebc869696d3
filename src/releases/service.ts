// Releases, as far as a client can act on them: start, read, list, cancel. Used by the gateway and by the CLI; all state
// is Temporal's.
import {
  type Client,
  type Connection,
  WorkflowExecutionAlreadyStartedError,
  type WorkflowExecutionDescription,
  WorkflowIdConflictPolicy,
  WorkflowIdReusePolicy,
  WorkflowNotFoundError,
} from '@temporalio/client';
import { type Problem, ThroughlineError } from '../domain/errors.js';
import { isReleaseId, type ReleaseId } from '../domain/ids.js';
import type { OutcomeStatus, ReleaseRecord, ReleaseRequest } from '../domain/release.js';
import { FINGERPRINT_MEMO, RECORD_MEMO, RELEASE_WORKFLOW, STATUS_QUERY } from '../domain/temporal-names.js';
import { redact } from '../git/index.js';
import { reachTemporal } from '../temporal/connect.js';
import { SEARCH_ATTRIBUTES } from '../workflows/search-attributes.js';
import type { ParsedTrigger } from './request.js';

/** A worker that does not answer a query within this time is not waited for. Milliseconds. */
const QUERY_TIMEOUT_MS = 3_000;

export interface StartedRelease {
  readonly release: ReleaseId;
  readonly traceId: string;
  readonly traceparent: string;
  /** False where the key had been used before: nothing new was started. */
  readonly created: boolean;
}

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

export interface ReleaseView {
  readonly record: ReleaseRecord;
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
  readonly traceId?: string | undefined;
  readonly startedAt: string;
  readonly endedAt?: string | undefined;
}

export interface ListFilter {
  readonly model?: string | undefined;
  readonly status?: 'RUNNING' | OutcomeStatus | undefined;
  readonly traceId?: string | undefined;
  readonly commit?: string | undefined;
  readonly limit: number;
}

export interface ReleaseServiceOptions {
  readonly client: Client;
  readonly connection: Connection;
  readonly address: string;
  readonly taskQueue: string;
}

export class ReleaseService {
  constructor(private readonly options: ReleaseServiceOptions) {}

  /**
   * Starts the release of a trigger, or finds the one that the same key started before. I1: Temporal admits one
   * workflow of an id, ever, and the id is a function of the key; no gateway needs to know of another.
   */
  async start({ request, fingerprint }: ParsedTrigger): Promise<StartedRelease> {
    const { workflow } = this.options.client;
    const begin = () =>
      workflow.start(RELEASE_WORKFLOW, {
        workflowId: request.release,
        taskQueue: this.options.taskQueue,
        args: [request],
        workflowIdReusePolicy: WorkflowIdReusePolicy.REJECT_DUPLICATE,
        workflowIdConflictPolicy: WorkflowIdConflictPolicy.FAIL,
        // A worker that dies in the middle of a workflow task is waited for this long; the server's default is 10 s.
        workflowTaskTimeout: '4s',
        memo: { [FINGERPRINT_MEMO]: fingerprint },
        staticSummary: `${redact(request.repository)} at ${request.ref}`,
        typedSearchAttributes: [
          { key: SEARCH_ATTRIBUTES.trace, value: traceIdOf(request) },
          ...(request.spinnaker
            ? [{ key: SEARCH_ATTRIBUTES.spinnaker, value: request.spinnaker.executionId }]
            : []),
        ],
      });
    try {
      await this.reach(begin);
      const { traceparent } = request.trace;
      return { release: request.release, traceId: traceIdOf(request), traceparent, created: true };
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
      return this.startedBefore(request, fingerprint);
    }
  }

  /** Everything that is known of a release. Throws TL_RELEASE_NOT_FOUND. */
  async get(id: string): Promise<ReleaseView> {
    const description = await this.describe(id);
    const pending = pendingActivities(description);
    const kept = description.memo?.[RECORD_MEMO] as ReleaseRecord | undefined;
    if (kept) return { record: kept, pending: [] };
    if (description.status.name === 'RUNNING') {
      const record = await this.query(id);
      if (record) return { record, pending };
      return {
        record: recordFromDescription(description, id as ReleaseId),
        pending,
        note: 'no worker answers; this is what Temporal knows',
      };
    }
    return { record: recordFromDescription(description, id as ReleaseId), pending: [] };
  }

  /** The newest releases that match, newest first. */
  async list(filter: ListFilter): Promise<ReleaseSummary[]> {
    const query = [
      `WorkflowType = '${RELEASE_WORKFLOW}'`,
      ...equals(SEARCH_ATTRIBUTES.model.name, filter.model),
      ...equals(SEARCH_ATTRIBUTES.commit.name, filter.commit),
      ...equals(SEARCH_ATTRIBUTES.trace.name, filter.traceId),
      ...(filter.status === 'RUNNING' ? [`ExecutionStatus = 'Running'`] : []),
      ...(filter.status && filter.status !== 'RUNNING'
        ? equals(SEARCH_ATTRIBUTES.outcome.name, filter.status)
        : []),
    ].join(' AND ');
    return this.reach(async () => {
      const found: ReleaseSummary[] = [];
      for await (const info of this.options.client.workflow.list({
        query,
        pageSize: Math.min(filter.limit, 100),
      })) {
        const get = (key: (typeof SEARCH_ATTRIBUTES)[keyof typeof SEARCH_ATTRIBUTES]) =>
          info.typedSearchAttributes.get(key);
        found.push({
          release: info.workflowId,
          status: statusOf(info.status.name, get(SEARCH_ATTRIBUTES.outcome)),
          model: get(SEARCH_ATTRIBUTES.model),
          commit: get(SEARCH_ATTRIBUTES.commit),
          modelId: get(SEARCH_ATTRIBUTES.modelId),
          imageDigest: get(SEARCH_ATTRIBUTES.image),
          traceId: get(SEARCH_ATTRIBUTES.trace),
          startedAt: info.startTime.toISOString(),
          endedAt: info.closeTime?.toISOString(),
        });
        if (found.length >= filter.limit) break;
      }
      return found;
    });
  }

  /** Asks for the end of a release. Idempotent; false where there is no such release. */
  async cancel(id: string): Promise<boolean> {
    if (!isReleaseId(id)) return false;
    try {
      await this.reach(() => this.options.client.workflow.getHandle(id).cancel());
      return true;
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error;
      // Temporal says "not found" of a finished workflow too.
      return this.describe(id).then(
        () => true,
        () => false,
      );
    }
  }

  /** Whether Temporal answers. Throws TL_TEMPORAL_UNAVAILABLE. */
  async ping(): Promise<void> {
    await this.reach(() => this.options.connection.workflowService.getSystemInfo({}), 2_000);
  }

  private async startedBefore(request: ReleaseRequest, fingerprint: string): Promise<StartedRelease> {
    const description = await this.describe(request.release);
    const before = description.memo?.[FINGERPRINT_MEMO];
    if (before !== fingerprint) {
      throw new ThroughlineError(
        'TL_IDEMPOTENCY_KEY_REUSED',
        `The key of ${request.release} was used for another request`,
        {
          expected: 'the same repository, ref, plan and parameters as before',
        },
      );
    }
    const traceId = description.typedSearchAttributes.get(SEARCH_ATTRIBUTES.trace) ?? traceIdOf(request);
    const traceparent = request.trace.traceparent.replace(/(?<=^\w\w-)\w{32}/, traceId);
    return { release: request.release, traceId, traceparent, created: false };
  }

  private async describe(id: string): Promise<WorkflowExecutionDescription> {
    if (!isReleaseId(id)) throw notFound(id);
    try {
      return await this.reach(() => this.options.client.workflow.getHandle(id).describe());
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) throw notFound(id);
      throw error;
    }
  }

  private async query(id: string): Promise<ReleaseRecord | undefined> {
    try {
      return await this.options.connection.withDeadline(Date.now() + QUERY_TIMEOUT_MS, () =>
        this.options.client.workflow.getHandle(id).query<ReleaseRecord>(STATUS_QUERY),
      );
    } catch {
      return undefined;
    }
  }

  private reach<T>(call: () => Promise<T>, timeoutMs?: number): Promise<T> {
    return reachTemporal(this.options, call, timeoutMs);
  }
}

function traceIdOf(request: ReleaseRequest): string {
  return request.trace.traceparent.split('-')[1] ?? '';
}

function notFound(id: string): ThroughlineError {
  return new ThroughlineError(
    'TL_RELEASE_NOT_FOUND',
    `There is no release ${JSON.stringify(id.slice(0, 100))}`,
  );
}

/** A condition of Temporal's list filter. Values are quoted; a quote in one is doubled. */
function equals(name: string, value: string | undefined): string[] {
  return value === undefined ? [] : [`${name} = '${value.replaceAll("'", "''")}'`];
}

function statusOf(execution: string, outcome: string | undefined): 'RUNNING' | OutcomeStatus {
  if (outcome) return outcome as OutcomeStatus;
  if (execution === 'RUNNING' || execution === 'CONTINUED_AS_NEW') return 'RUNNING';
  return execution === 'CANCELLED' ? 'CANCELED' : 'FAILED';
}

/** What Temporal alone knows of a release: without its worker, or when it never came to its end. */
function recordFromDescription(description: WorkflowExecutionDescription, release: ReleaseId): ReleaseRecord {
  const get = (key: (typeof SEARCH_ATTRIBUTES)[keyof typeof SEARCH_ATTRIBUTES]) =>
    description.typedSearchAttributes.get(key);
  const status = statusOf(description.status.name, get(SEARCH_ATTRIBUTES.outcome));
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
    },
    traceId: get(SEARCH_ATTRIBUTES.trace) ?? '',
    traceparent: '',
    model: get(SEARCH_ATTRIBUTES.model),
    deployments: [],
    stages: [],
    ...(status === 'FAILED' ? { outcome: { status, problem } } : {}),
    ...(status === 'CANCELED' ? { outcome: { status, reason: 'canceled on request' } } : {}),
    endedAt: description.closeTime?.toISOString(),
  };
}

/** temporal.api.enums.v1.PendingActivityState */
const PENDING_ACTIVITY_STATE_STARTED = 2;

function pendingActivities(description: WorkflowExecutionDescription): PendingActivity[] {
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
