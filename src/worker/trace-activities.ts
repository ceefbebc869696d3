// The activities that deliver traces. They work from history alone, so that any worker can, at any time.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Resource } from '@opentelemetry/resources';
import type { SpanExporter } from '@opentelemetry/sdk-trace-base';
import { ApplicationFailure } from '@temporalio/activity';
import {
  type Client,
  type Connection,
  WorkflowExecutionAlreadyStartedError,
  WorkflowIdConflictPolicy,
  WorkflowIdReusePolicy,
  WorkflowNotFoundError,
} from '@temporalio/client';
import type { TracePosition } from '../activities/index.js';
import type { ReleaseId } from '../domain/ids.js';
import { parseTraceparent } from '../domain/trace.js';
import { deliver } from '../telemetry/deliver.js';
import { traceOf } from '../telemetry/delivery.js';
import { type HistoryEvent, type ReleaseRun, readRun } from '../telemetry/history.js';
import { RELEASE_WORKFLOW, TRACE_WORKFLOW, traceWorkflowId } from '../workflows/search-attributes.js';

/** The server answers a long poll within a minute; what takes longer is a broken connection. Milliseconds. */
const POLL_TIMEOUT_MS = 90_000;

export interface TraceDependencies {
  readonly client: Client;
  readonly connection: Connection;
  readonly namespace: string;
  readonly taskQueue: string;
  readonly exporter: SpanExporter | undefined;
  readonly resource: Resource;
}

export class TraceDelivery {
  constructor(private readonly dependencies: TraceDependencies) {}

  /** Waits for the end of a stage, or of the release, that `since` does not have. */
  async follow(
    release: ReleaseId,
    since: TracePosition | undefined,
    signal: AbortSignal,
  ): Promise<TracePosition> {
    const { client, exporter } = this.dependencies;
    if (!exporter) return { runId: '', ended: 0, closed: false, exported: false };
    for (;;) {
      const { runId } = await gone(() => client.workflow.getHandle(release).describe());
      const before = since?.runId === runId ? since.ended : 0;
      const run = await this.until(release, runId, before, signal);
      const ended = endedStages(run);
      const exported = (parseTraceparent(run.request.trace.traceparent).flags & 1) === 1;
      const closed = run.closing !== undefined && !run.closing.byReset;
      if (ended > before || !exported) return { runId, ended, closed, exported };
      // It has ended, with no stage more: by itself, or because a reset goes on with another run.
      const newest = await gone(() => client.workflow.getHandle(release).describe());
      if (newest.runId === runId) return { runId, ended, closed: true, exported };
    }
  }

  /** Reads on until more stages have ended than before, or the run has. */
  private async until(
    release: ReleaseId,
    runId: string,
    before: number,
    signal: AbortSignal,
  ): Promise<ReleaseRun> {
    const { connection, namespace } = this.dependencies;
    const events: HistoryEvent[] = [];
    let nextPageToken: Uint8Array | undefined;
    for (;;) {
      const page = await gone(() =>
        connection.withAbortSignal(signal, () =>
          connection.withDeadline(Date.now() + POLL_TIMEOUT_MS, () =>
            connection.workflowService.getWorkflowExecutionHistory({
              namespace,
              execution: { workflowId: release, runId },
              waitNewEvent: true,
              ...(nextPageToken ? { nextPageToken } : {}),
            }),
          ),
        ),
      );
      events.push(...(page.history?.events ?? []));
      nextPageToken = page.nextPageToken?.length ? page.nextPageToken : undefined;
      const run = events.length > 0 ? readRun(runId, events) : undefined;
      if (run && (run.closing || endedStages(run) > before)) return run;
      if (!nextPageToken) await sleep(1_000, undefined, { signal });
    }
  }

  /** Sends what has not been delivered. Gives the ids of what was. */
  async export(release: ReleaseId, delivered: readonly string[]): Promise<string[]> {
    const { client, exporter, resource } = this.dependencies;
    if (!exporter) return [];
    const known = new Set(delivered);
    const { spans } = await gone(() => traceOf(client, release));
    const wanted = spans.filter(({ spanId }) => !known.has(spanId));
    if (wanted.length > 0) await deliver(wanted, exporter, resource);
    return wanted.map(({ spanId }) => spanId);
  }

  /** Starts the delivery for every release that ended within `hours` and has none. Gives their number. */
  async reconcile(hours: number): Promise<number> {
    const { client, taskQueue } = this.dependencies;
    const since = new Date(Date.now() - hours * 3_600_000).toISOString();
    const ended = new Map<string, number>();
    for await (const { workflowId, closeTime } of client.workflow.list({
      query: `WorkflowType = '${RELEASE_WORKFLOW}' AND ExecutionStatus != 'Running' AND CloseTime > '${since}'`,
    })) {
      const at = closeTime?.getTime() ?? 0;
      ended.set(workflowId, Math.max(at, ended.get(workflowId) ?? 0));
    }
    for await (const delivery of client.workflow.list({
      query: `WorkflowType = '${TRACE_WORKFLOW}' AND (ExecutionStatus = 'Running' OR CloseTime > '${since}')`,
    })) {
      const release = delivery.workflowId.replace(/-trace$/, '');
      const at = ended.get(release);
      if (at === undefined) continue;
      const running = delivery.status.name === 'RUNNING' || delivery.status.name === 'CONTINUED_AS_NEW';
      const done = delivery.status.name === 'COMPLETED' && (delivery.closeTime?.getTime() ?? 0) >= at;
      if (running || done) ended.delete(release);
    }
    for (const release of ended.keys()) {
      await client.workflow
        .start(TRACE_WORKFLOW, {
          workflowId: traceWorkflowId(release),
          taskQueue,
          args: [release],
          workflowIdConflictPolicy: WorkflowIdConflictPolicy.USE_EXISTING,
          workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
          staticSummary: `trace of ${release}, which ended without`,
        })
        .catch((error) => {
          if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
        });
    }
    return ended.size;
  }
}

function endedStages({ record }: ReleaseRun): number {
  return record?.stages.filter(({ endedAt }) => endedAt).length ?? 0;
}

/** A release that Temporal no longer has will not come back. */
async function gone<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    const { code } = error as { code?: number };
    const NOT_FOUND = 5; // gRPC
    if (!(error instanceof WorkflowNotFoundError) && code !== NOT_FOUND) throw error;
    throw ApplicationFailure.nonRetryable(
      'Temporal no longer has the release’s history',
      'TL_RELEASE_NOT_FOUND',
    );
  }
}
