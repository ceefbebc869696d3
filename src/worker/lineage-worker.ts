// The part of a process that writes the lineage: polls a task queue of its own, because not every worker reaches the store.
import { hostname } from 'node:os';
import { type NativeConnection, Worker } from '@temporalio/worker';
import type { RecordingMemory } from '../activities/index.js';
import type { DriftCheck } from '../domain/drift.js';
import { ThroughlineError } from '../domain/errors.js';
import {
  CATALOG_ID,
  CATALOG_WORKFLOW,
  LINEAGE_ID,
  LINEAGE_WORKFLOW,
  lineageQueueOf,
} from '../domain/temporal-names.js';
import { expectedStates, putDrift } from '../lineage/drift.js';
import type { StoreHandle } from '../lineage/store.js';
import type { Logger } from '../telemetry/log.js';
import type { TemporalClient } from '../temporal/connect.js';
import { inActivity } from './activity-context.js';
import { gitCacheOf, type WorkerConfig } from './config.js';
import { scheduleDrift } from './drift-schedule.js';
import { EventSender } from './event-sender.js';
import { LineageRecorder } from './lineage-recorder.js';
import { startStanding } from './standing.js';
import { type RunningWorker, running } from './worker.js';

export interface LineageWorkerDependencies {
  readonly store: StoreHandle;
  readonly config: Pick<WorkerConfig, 'taskQueue' | 'data' | 'driftInterval' | 'gitopsScan' | 'openLineage'>;
  readonly connection: NativeConnection;
  readonly temporal: TemporalClient;
  readonly log: Logger;
}

export async function startLineageWorker(dependencies: LineageWorkerDependencies): Promise<RunningWorker> {
  const { store, connection, temporal, log } = dependencies;
  const { taskQueue, data, driftInterval, gitopsScan, openLineage } = dependencies.config;
  const cache = gitCacheOf(data);
  const { client, namespace } = temporal;
  const identity = `${process.pid}@${hostname()}`;
  let recorder: LineageRecorder | undefined; // what it remembers saves the next activity some questions
  const worker = await Worker.create({
    connection,
    namespace,
    identity,
    taskQueue: lineageQueueOf(taskQueue),
    activities: {
      recordReleases: () =>
        inActivity(identity, log, {}, async (context) => {
          context.report('opening the lineage store');
          const { unrecorded = 0 } = (context.remembered ?? {}) as Partial<RecordingMemory>;
          context.remember({ unrecorded: Math.max(1, unrecorded) } satisfies RecordingMemory); // until it answers
          recorder ??= new LineageRecorder({
            client,
            namespace,
            store: await store.open(),
            cache,
            log,
            openLineage: openLineage?.namespace,
            scanSeconds: gitopsScan,
          });
          await recorder.follow(context);
        }),
      sendEvents: () =>
        inActivity(identity, log, {}, async (context) => {
          if (!openLineage)
            throw new ThroughlineError('TL_CATALOG_UNREACHABLE', 'This worker knows no data catalogue', {
              expected: 'OPENLINEAGE_URL, as another worker of this task queue has it',
            });
          await new EventSender(await store.open(), openLineage, log).follow(context);
        }),
      expectedStates: () =>
        inActivity(identity, log, {}, async () => expectedStates((await store.open()).database)),
      recordDrift: (checks: readonly DriftCheck[], at: string) =>
        inActivity(identity, log, {}, async () =>
          putDrift((await store.open()).database, checks, new Date(at)),
        ),
    },
    shutdownGraceTime: '1s',
    shutdownForceTime: '10s',
    maxHeartbeatThrottleInterval: '1s',
    defaultHeartbeatThrottleInterval: '1s',
    maxConcurrentActivityTaskExecutions: 4, // one that follows releases, and what is asked for
  });
  await startStanding(client, log, {
    id: LINEAGE_ID,
    type: LINEAGE_WORKFLOW,
    taskQueue,
    summary: 'writes the lineage of releases',
  });
  if (openLineage)
    await startStanding(client, log, {
      id: CATALOG_ID,
      type: CATALOG_WORKFLOW,
      taskQueue,
      summary: 'tells a data catalogue of releases',
    });
  await scheduleDrift(client, log, { taskQueue, interval: driftInterval });
  return running(worker, worker.run());
}
