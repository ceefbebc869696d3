// Releases, as far as a client can act on them: start, read, list, cancel. Used by the gateway and by the CLI; all state
// is Temporal's.
import {
  type Client,
  type Connection,
  isGrpcServiceError,
  WorkflowExecutionAlreadyStartedError,
  type WorkflowExecutionDescription,
  type WorkflowExecutionInfo,
  WorkflowIdConflictPolicy,
  WorkflowIdReusePolicy,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
  WorkflowUpdateRPCTimeoutOrCancelledError,
} from '@temporalio/client';
import { executionInfoFromRaw } from '@temporalio/client/lib/helpers.js';
import { ApplicationFailure } from '@temporalio/common';
import type { ApprovalRecord, Decision } from '../domain/approval.js';
import { isErrorCode, type Problem, ThroughlineError } from '../domain/errors.js';
import { isReleaseId, type ReleaseId } from '../domain/ids.js';
import type { OutcomeStatus, ReleaseRecord, ReleaseRequest, ReleaseScope } from '../domain/release.js';
import {
  CALLER_MEMO,
  DECIDE_UPDATE,
  FINGERPRINT_MEMO,
  POLLED_SIGNAL,
  RECORD_MEMO,
  RELEASE_WORKFLOW,
  STATUS_QUERY,
} from '../domain/temporal-names.js';
import { redact, withoutUser } from '../domain/urls.js';
import { reachTemporal } from '../temporal/connect.js';
import { SEARCH_ATTRIBUTES } from '../workflows/search-attributes.js';
import type { ParsedTrigger } from './request.js';
import {
  type Caller,
  callerOf,
  pendingActivities,
  type ReleaseSummary,
  type ReleaseView,
  recordFromDescription,
  summaryOf,
} from './view.js';

export type { Caller, PendingActivity, ReleaseSummary, ReleaseView } from './view.js';

/** How long a trigger waits for what the store knows. Milliseconds. */
const ARCHIVE_TIMEOUT_MS = 150;
/** A decision that no worker takes within this time has to be made again. Milliseconds. */
const UPDATE_TIMEOUT_MS = 10_000;
/** A worker that does not answer a query within this time is not waited for. Milliseconds. */
const QUERY_TIMEOUT_MS = 3_000;

export interface StartedRelease {
  readonly release: ReleaseId;
  readonly traceId: string;
  readonly traceparent: string;
  /** False where the key had been used before: nothing new was started. */
  readonly created: boolean;
}

export interface ListFilter {
  readonly model?: string | undefined;
  readonly status?: 'RUNNING' | OutcomeStatus | undefined;
  readonly traceId?: string | undefined;
  readonly commit?: string | undefined;
  readonly environment?: string | undefined;
  /** Spinnaker's. */
  readonly execution?: string | undefined;
  /** ISO 8601. */
  readonly startedAfter?: string | undefined;
  readonly startedBefore?: string | undefined;
  /** Of these alone, where whoever asks may not see all of them. */
  readonly within?: readonly ReleaseScope[] | undefined;
  readonly limit: number;
  /** Where an earlier page ended. */
  readonly cursor?: string | undefined;
}

/** What is known of a release that a key started before, for whoever decides who may be told. */
export interface Joined {
  readonly model: string | undefined;
  readonly environments: readonly string[] | undefined;
  readonly caller: Caller;
}

export interface ReleasePage {
  readonly releases: readonly ReleaseSummary[];
  /** Where the next page begins; undefined where this was the last. */
  readonly cursor: string | undefined;
}

export interface ReleaseServiceOptions {
  readonly client: Client;
  readonly connection: Connection;
  readonly address: string;
  readonly taskQueue: string;
  /** Who knows releases that Temporal has forgotten; undefined for one that it does not know. */
  readonly archive?: ((id: ReleaseId) => Promise<ReleaseRecord | undefined>) | undefined;
}

export class ReleaseService {
  constructor(readonly options: ReleaseServiceOptions) {}

  /**
   * Starts the release of a trigger, or finds the one that the same key started before. I1: Temporal admits one
   * workflow of an id, ever, and the id is a function of the key; no gateway needs to know of another.
   */
  async start(
    { request, fingerprint }: ParsedTrigger,
    /** Whether whoever asks may be told of a release that somebody else began under the same key. */
    mayJoin: (before: Joined) => boolean = () => true,
  ): Promise<StartedRelease> {
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
        memo: {
          [FINGERPRINT_MEMO]: fingerprint,
          [CALLER_MEMO]: { triggeredBy: request.triggeredBy, pollLease: request.pollLease } satisfies Caller,
        },
        staticSummary: `${redact(request.repository)} at ${request.ref}`,
        typedSearchAttributes: [
          { key: SEARCH_ATTRIBUTES.trace, value: traceIdOf(request) },
          ...(request.spinnaker
            ? [{ key: SEARCH_ATTRIBUTES.spinnaker, value: request.spinnaker.executionId }]
            : []),
        ],
      });
    // Temporal's own memory ends with its retention; the key's does not.
    const archived = await this.archived(request.release);
    if (archived) return joined(archived, request, mayJoin);
    try {
      await this.reach(begin);
      const { traceparent } = request.trace;
      return { release: request.release, traceId: traceIdOf(request), traceparent, created: true };
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
      return this.startedBefore(request, fingerprint, mayJoin);
    }
  }

  /** Everything that is known of a release. Throws TL_RELEASE_NOT_FOUND. */
  async get(id: string): Promise<ReleaseView> {
    const description = await this.describe(id).catch(async (error) => {
      const record = isReleaseId(id) && isReleaseMissing(error) && (await this.archived(id));
      if (record) return record;
      throw error;
    });
    if ('release' in description) {
      const { triggeredBy } = description.request;
      return {
        record: description,
        caller: { triggeredBy },
        runId: '',
        pending: [],
        note: 'Temporal has forgotten it; this is what the lineage store knows',
      };
    }
    const known = { caller: callerOf(description), runId: description.runId };
    const kept = description.memo?.[RECORD_MEMO] as ReleaseRecord | undefined;
    if (kept) return { ...known, record: kept, pending: [] };
    if (description.status.name !== 'RUNNING') {
      return { ...known, record: recordFromDescription(description, id as ReleaseId), pending: [] };
    }
    const pending = pendingActivities(description);
    const record = await this.query(id);
    if (record) return { ...known, record, pending };
    return {
      ...known,
      record: recordFromDescription(description, id as ReleaseId),
      pending,
      note: 'no worker answers; this is what Temporal knows',
    };
  }

  /** The newest releases that match, newest first. Throws TL_REQUEST_INVALID where the cursor is none. */
  async list(filter: ListFilter): Promise<ReleasePage> {
    const { client, connection } = this.options;
    const { namespace, loadedDataConverter } = client.options;
    const answer = await this.reach(() =>
      connection.workflowService.listWorkflowExecutions({
        namespace,
        query: visibilityQuery(filter),
        pageSize: filter.limit,
        nextPageToken: filter.cursor === undefined ? null : Buffer.from(filter.cursor, 'base64url'),
      }),
    ).catch((error) => {
      if (filter.cursor === undefined || !isGrpcServiceError(error)) throw error;
      throw new ThroughlineError('TL_REQUEST_INVALID', 'The cursor is not valid', {
        expected: 'the cursor of an earlier page',
      });
    });
    const infos = await Promise.all(
      answer.executions.map((raw) => executionInfoFromRaw(raw, loadedDataConverter, raw, namespace)),
    );
    const next = answer.nextPageToken;
    return {
      releases: infos.map((info) => summaryOf(info as WorkflowExecutionInfo)),
      cursor: next && next.length > 0 ? Buffer.from(next).toString('base64url') : undefined,
    };
  }

  /** Decides on a deployment that waits for somebody. Idempotent. Throws TL_RELEASE_NOT_FOUND, TL_APPROVAL_…. */
  async decide(id: string, decision: Decision): Promise<ApprovalRecord> {
    if (!isReleaseId(id)) throw releaseNotFound(id);
    const handle = this.options.client.workflow.getHandle(id);
    try {
      return await this.reach(
        () => handle.executeUpdate<ApprovalRecord, [Decision]>(DECIDE_UPDATE, { args: [decision] }),
        UPDATE_TIMEOUT_MS,
      );
    } catch (error) {
      if (error instanceof WorkflowUpdateFailedError) throw decisionProblem(error);
      if (error instanceof WorkflowNotFoundError) {
        await this.describe(id);
        throw new ThroughlineError('TL_APPROVAL_NOT_AWAITED', `${id} has ended`);
      }
      if (error instanceof WorkflowUpdateRPCTimeoutOrCancelledError) {
        throw new ThroughlineError('TL_WAITED_TOO_LONG', 'No worker took the decision', {
          hint: 'Look whether workers run, then decide again: the same decision counts once.',
        });
      }
      throw error;
    }
  }

  /** Tells a release that its caller still asks for it. */
  async polled(id: string): Promise<void> {
    await this.reach(() => this.options.client.workflow.getHandle(id).signal(POLLED_SIGNAL));
  }

  /** Asks for the end of a release. Idempotent; false where there is no such release. */
  async cancel(id: string): Promise<boolean> {
    if (!isReleaseId(id)) return false;
    try {
      await this.reach(() => this.options.client.workflow.getHandle(id).cancel());
      return true;
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error;
      return this.knows(id); // Temporal says "not found" of a finished workflow too
    }
  }

  /** Whether there is such a release. */
  async knows(id: string): Promise<boolean> {
    if (!isReleaseId(id)) return false;
    return this.describe(id).then(
      () => true,
      (error) => {
        if (isReleaseMissing(error)) return false;
        throw error;
      },
    );
  }

  /** A store that is slow, or away, holds no trigger up. */
  private async archived(id: ReleaseId): Promise<ReleaseRecord | undefined> {
    const { archive } = this.options;
    if (!archive) return undefined;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), ARCHIVE_TIMEOUT_MS);
    });
    return Promise.race([archive(id).catch(() => undefined), late]).finally(() => clearTimeout(timer));
  }

  /** Whether Temporal answers. Throws TL_TEMPORAL_UNAVAILABLE. */
  async ping(): Promise<void> {
    await this.reach(() => this.options.connection.workflowService.getSystemInfo({}), 2_000);
  }

  private async startedBefore(
    request: ReleaseRequest,
    fingerprint: string,
    mayJoin: (before: Joined) => boolean,
  ): Promise<StartedRelease> {
    const description = await this.describe(request.release);
    const before = description.memo?.[FINGERPRINT_MEMO];
    const { model, environments } = recordFromDescription(description, request.release);
    if (before !== fingerprint || !mayJoin({ model, environments, caller: callerOf(description) })) {
      throw keyReused(request.release);
    }
    const traceId = description.typedSearchAttributes.get(SEARCH_ATTRIBUTES.trace) ?? traceIdOf(request);
    const traceparent = request.trace.traceparent.replace(/(?<=^\w\w-)\w{32}/, traceId);
    return { release: request.release, traceId, traceparent, created: false };
  }

  private async describe(id: string): Promise<WorkflowExecutionDescription> {
    if (!isReleaseId(id)) throw releaseNotFound(id);
    try {
      return await this.reach(() => this.options.client.workflow.getHandle(id).describe());
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) throw releaseNotFound(id);
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

/** Whether a call failed because there is no such release. */
export const isReleaseMissing = (error: unknown) =>
  error instanceof ThroughlineError && error.code === 'TL_RELEASE_NOT_FOUND';

/** The release that the key started long ago. Throws TL_IDEMPOTENCY_KEY_REUSED. */
function joined(
  before: ReleaseRecord,
  { release, repository, ref, planPath }: ReleaseRequest,
  mayJoin: (before: Joined) => boolean,
): StartedRelease {
  const { request, model, environments, traceId, traceparent } = before;
  const same =
    request.repository === withoutUser(repository) && request.ref === ref && request.planPath === planPath;
  if (!same || !mayJoin({ model, environments, caller: { triggeredBy: request.triggeredBy } }))
    throw keyReused(release);
  return { release, traceId, traceparent, created: false };
}

function keyReused(release: string): ThroughlineError {
  return new ThroughlineError(
    'TL_IDEMPOTENCY_KEY_REUSED',
    `The key of ${release} was used for another request`,
    { expected: 'the same repository, ref, plan and parameters as before' },
  );
}

function traceIdOf(request: ReleaseRequest): string {
  return request.trace.traceparent.split('-')[1] ?? '';
}

export function releaseNotFound(id: string): ThroughlineError {
  return new ThroughlineError(
    'TL_RELEASE_NOT_FOUND',
    `There is no release ${JSON.stringify(id.slice(0, 100))}`,
  );
}

/** A condition of Temporal's list filter. */
function equals(name: string, value: string | undefined): string[] {
  return value === undefined ? [] : [`${name} = ${quoted(value)}`];
}

/** A quote in a value is doubled. */
const quoted = (value: string) => `'${value.replaceAll("'", "''")}'`;

function visibilityQuery(filter: ListFilter): string {
  const { within } = filter;
  return [
    `WorkflowType = '${RELEASE_WORKFLOW}'`,
    ...equals(SEARCH_ATTRIBUTES.model.name, filter.model),
    ...equals(SEARCH_ATTRIBUTES.commit.name, filter.commit),
    ...equals(SEARCH_ATTRIBUTES.trace.name, filter.traceId),
    ...equals(SEARCH_ATTRIBUTES.environments.name, filter.environment),
    ...equals(SEARCH_ATTRIBUTES.spinnaker.name, filter.execution),
    ...(filter.startedAfter ? [`StartTime >= ${quoted(filter.startedAfter)}`] : []),
    ...(filter.startedBefore ? [`StartTime < ${quoted(filter.startedBefore)}`] : []),
    ...(filter.status === 'RUNNING' ? [`ExecutionStatus = 'Running'`] : []),
    ...(filter.status && filter.status !== 'RUNNING'
      ? equals(SEARCH_ATTRIBUTES.outcome.name, filter.status)
      : []),
    ...(within ? [`(${within.map(scopeQuery).join(' OR ')})`] : []),
  ].join(' AND ');
}

function scopeQuery({ models, environments }: ReleaseScope): string {
  const among = (name: string, values: readonly string[]) => `${name} IN (${values.map(quoted).join(', ')})`;
  const parts = [
    ...(models ? [among(SEARCH_ATTRIBUTES.model.name, models)] : []),
    ...(environments ? [among(SEARCH_ATTRIBUTES.environments.name, environments)] : []),
  ];
  return parts.length > 0 ? `(${parts.join(' AND ')})` : `WorkflowType = '${RELEASE_WORKFLOW}'`;
}

/** The problem that the workflow refused a decision with. */
function decisionProblem(error: WorkflowUpdateFailedError): unknown {
  const { cause } = error;
  const [problem] = cause instanceof ApplicationFailure ? ((cause.details ?? []) as unknown[]) : [];
  if (typeof problem === 'object' && problem !== null && 'code' in problem && isErrorCode(problem.code)) {
    return ThroughlineError.from(problem as Problem);
  }
  return error;
}
