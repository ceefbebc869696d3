// Metrics. They all leave by Temporal's own exporter (Prometheus), next to its own: one endpoint a process. What a
// release measures is measured in the workflow, where a replay measures nothing again.
import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import type { MetricMeter } from '@temporalio/common';
import type { DeliveryMemory, RecordingMemory } from '../activities/index.js';
import { messageOf } from '../domain/errors.js';
import {
  DELIVERY_ID,
  DRIFT_MEMO,
  DRIFT_WORKFLOW,
  LINEAGE_ID,
  RELEASE_WORKFLOW,
} from '../domain/temporal-names.js';
import { ATTR } from '../telemetry/attributes.js';
import type { Logger } from '../telemetry/log.js';
import { METRIC, setGauge } from '../telemetry/metric-names.js';

const LOOK_MS = 15_000;
/** temporal.api.enums.v1.TaskQueueType */
const QUEUE_TYPES = { workflow: 1, activity: 2 } as const;

/** Counts what runs, as Temporal knows it: every process says the same of the whole system. Gives a function that stops. */
export function watchReleases(
  client: Client,
  taskQueue: string,
  meter: MetricMeter,
  log: Logger,
): () => void {
  const active = setGauge(meter, METRIC.active, 'Releases that run');
  const backlog = setGauge(
    meter,
    METRIC.undelivered,
    'Traces of ended releases that the collector has not taken',
  );
  const unrecorded = setGauge(
    meter,
    METRIC.unrecorded,
    'Ended releases that are not in the lineage store, one at least while it is away',
  );
  const drifted = setGauge(
    meter,
    METRIC.drifted,
    'Deployments that are not what was released, as of the last look',
  );
  const queue = setGauge(meter, METRIC.queue, 'Tasks that no worker has taken yet');
  const waiting = async (taskQueueType: number) => {
    const { stats } = await client.workflowService.describeTaskQueue({
      namespace: client.options.namespace,
      taskQueue: { name: taskQueue },
      taskQueueType,
      reportStats: true,
    });
    return Number(stats?.approximateBacklogCount ?? 0);
  };
  const running = async (type: string) =>
    (await client.workflow.count(`WorkflowType = '${type}' AND ExecutionStatus = 'Running'`)).count;
  const look = async () => {
    try {
      for (const [type, number] of Object.entries(QUEUE_TYPES)) {
        queue(await waiting(number), { [ATTR.queueType]: type });
      }
      active(await running(RELEASE_WORKFLOW), { [ATTR.pipelineRunState]: 'executing' });
      const delivery = await memoryOf<DeliveryMemory>(client, DELIVERY_ID);
      backlog(delivery?.undelivered ?? 0);
      const lineage = await memoryOf<RecordingMemory>(client, LINEAGE_ID);
      unrecorded(lineage?.unrecorded ?? 0);
      drifted(await lastDrift(client));
    } catch (error) {
      log.debug({ error: messageOf(error) }, 'the releases were not counted');
    }
  };
  void look();
  const timer = setInterval(look, LOOK_MS);
  return () => clearInterval(timer);
}

/** What the last look for drift has found; none where there was no look. */
async function lastDrift(client: Client): Promise<number> {
  const { executions } = await client.workflowService.listWorkflowExecutions({
    namespace: client.options.namespace,
    query: `WorkflowType = '${DRIFT_WORKFLOW}' AND ExecutionStatus = 'Completed'`, // the newest first
    pageSize: 1,
  });
  const data = executions?.[0]?.memo?.fields?.[DRIFT_MEMO]?.data;
  return data ? Number(Buffer.from(data).toString('utf8')) : 0;
}

/** What a standing workflow has said last. Where no worker does what it does, there is none, and no backlog. */
async function memoryOf<T>(client: Client, workflow: string): Promise<T | undefined> {
  try {
    const { raw } = await client.workflow.getHandle(workflow).describe();
    const [details] = raw.pendingActivities?.[0]?.heartbeatDetails?.payloads ?? [];
    if (!details?.data) return undefined;
    return (JSON.parse(Buffer.from(details.data).toString('utf8')) as { memory?: T }).memory;
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return undefined;
    throw error;
  }
}
