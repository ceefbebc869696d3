// Metrics. They all leave by Temporal's own exporter (Prometheus), next to its own: one endpoint a process. What a
// release measures is measured in the workflow, where a replay measures nothing again.
import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import type { MetricMeter } from '@temporalio/common';
import type { DeliveryMemory } from '../activities/index.js';
import { messageOf } from '../domain/errors.js';
import { DELIVERY_ID, RELEASE_WORKFLOW } from '../domain/temporal-names.js';
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
      backlog(await undelivered(client));
    } catch (error) {
      log.debug({ error: messageOf(error) }, 'the releases were not counted');
    }
  };
  void look();
  const timer = setInterval(look, LOOK_MS);
  return () => clearInterval(timer);
}

/** As whoever delivers has said last. Nothing is delivered where no worker has a collector: then there is no backlog. */
async function undelivered(client: Client): Promise<number> {
  try {
    const { raw } = await client.workflow.getHandle(DELIVERY_ID).describe();
    const [details] = raw.pendingActivities?.[0]?.heartbeatDetails?.payloads ?? [];
    if (!details?.data) return 0;
    const { memory } = JSON.parse(Buffer.from(details.data).toString('utf8')) as { memory?: DeliveryMemory };
    return memory?.undelivered ?? 0;
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return 0;
    throw error;
  }
}
