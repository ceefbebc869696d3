// Metrics. They all leave by Temporal's own exporter (Prometheus), next to its own: one endpoint a process. What a
// release measures is measured in the workflow, where a replay measures nothing again.
import type { Client } from '@temporalio/client';
import type { MetricMeter } from '@temporalio/common';
import { messageOf } from '../domain/errors.js';
import { RELEASE_WORKFLOW, TRACE_WORKFLOW } from '../workflows/search-attributes.js';
import type { Logger } from './log.js';
import { METRIC } from './metric-names.js';

const LOOK_MS = 15_000;

/** Counts what runs, as Temporal knows it: every process says the same of the whole system. Gives a function that stops. */
export function watchReleases(client: Client, meter: MetricMeter, log: Logger): () => void {
  const active = meter.createGauge(METRIC.active, 'int', '{run}', 'Releases that run');
  const backlog = meter.createGauge(
    METRIC.undelivered,
    'int',
    '{trace}',
    'Traces of ended releases that the collector has not taken',
  );
  const running = async (type: string) =>
    (await client.workflow.count(`WorkflowType = '${type}' AND ExecutionStatus = 'Running'`)).count;
  const look = async () => {
    try {
      const [releases, deliveries] = await Promise.all([running(RELEASE_WORKFLOW), running(TRACE_WORKFLOW)]);
      active.set(releases, { 'cicd.pipeline.run.state': 'executing' });
      // A release that runs has a delivery that follows it; the others wait for their collector.
      backlog.set(Math.max(0, deliveries - releases));
    } catch (error) {
      log.debug({ error: messageOf(error) }, 'the releases were not counted');
    }
  };
  void look();
  const timer = setInterval(look, LOOK_MS);
  return () => clearInterval(timer);
}
