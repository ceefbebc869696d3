// The worker process: polls Temporal and runs the release workflow and its activities.
import { createServer, type Server } from 'node:http';
import { hostname } from 'node:os';
import { fileURLToPath } from 'node:url';
import {
  DefaultLogger,
  type MetricsExporterConfig,
  type NativeConnection,
  Runtime,
  Worker,
} from '@temporalio/worker';
import { DELIVERY_ID, DELIVERY_WORKFLOW, EVENTS_WORKFLOW, eventsIdOf } from '../domain/temporal-names.js';
import { readSecrets, type ServerConfiguration } from '../policy/index.js';
import { GitOpsDesk } from '../releases/gitops-desk.js';
import { watchReleases } from '../releases/metrics.js';
import { ReleaseService } from '../releases/service.js';
import { attemptContext } from '../telemetry/interceptors.js';
import type { Logger } from '../telemetry/log.js';
import { BUCKETS } from '../telemetry/metric-names.js';
import { releaseResource, type Telemetry } from '../telemetry/sdk.js';
import type { TemporalClient } from '../temporal/connect.js';
import { createActivities } from './activities.js';
import type { WorkerConfig } from './config.js';
import { EventDelivery, listenerKey } from './event-delivery.js';
import type { Runtime as WorkRuntime } from './runtimes.js';
import { startStanding } from './standing.js';
import { TraceDelivery } from './trace-delivery.js';

// Made by the build: no compiler runs in production, and every worker of a version has the same bundle.
const BUNDLE = fileURLToPath(new URL('../../dist/workflow-bundle.js', import.meta.url));

/** A workflow whose worker died is given to another after this long; the SDK's default is 10 s. */
const STICKY_TIMEOUT = '3s';
/** How long running activities may take to let go when the worker is stopped; they go on in the next worker. */
const SHUTDOWN_GRACE = '5s';

export interface RunningWorker {
  /** Resolves when the worker has stopped; rejects where it broke. */
  readonly stopped: Promise<void>;
  stop(): Promise<void>;
}

export interface WorkerDependencies {
  readonly config: WorkerConfig;
  readonly configuration: ServerConfiguration;
  /** Where Jobs run and images are built. */
  readonly runtime: WorkRuntime;
  /** What the worker polls by. */
  readonly connection: NativeConnection;
  /** What it asks Temporal by: calls of the native connection cannot be aborted, and a worker that ends would wait for them. */
  readonly temporal: TemporalClient;
  readonly telemetry: Telemetry;
  readonly log: Logger;
}

export async function startWorker(dependencies: WorkerDependencies): Promise<RunningWorker> {
  const { config, configuration, runtime, connection, telemetry, log } = dependencies;
  const { client, namespace } = dependencies.temporal;
  const identity = `${process.pid}@${hostname()}`;
  const { data } = config;
  const { taskQueue } = config;
  const { exporter } = telemetry;
  const resource = releaseResource();
  const traces = new TraceDelivery({ ...dependencies.temporal, exporter, resource });
  const listeners = await listenersOf(dependencies);
  const desk = new GitOpsDesk({ client, taskQueue, log });
  const activities = createActivities({
    worker: identity,
    log,
    settings: {
      heartbeatTimeoutSeconds: config.heartbeatTimeoutSeconds,
      runtime: config.runtime,
      ...(runtime.adapters.signer ? { attests: true } : {}),
      ...(configuration.approval.separate ? { separateApproval: true } : {}),
    },
    ...runtime.adapters,
    desk,
    exporter,
    resource,
    traces,
    listeners,
  });
  for (const listener of listeners.keys())
    await startStanding(client, log, {
      id: eventsIdOf(listener),
      type: EVENTS_WORKFLOW,
      taskQueue,
      args: [listener],
      summary: 'tells a listener of releases',
    });
  if (exporter)
    await startStanding(client, log, {
      id: DELIVERY_ID,
      type: DELIVERY_WORKFLOW,
      taskQueue,
      summary: 'delivers the traces of releases',
    });
  const worker = await Worker.create({
    connection,
    namespace,
    identity,
    taskQueue: config.taskQueue,
    workflowBundle: { codePath: BUNDLE },
    activities: { ...activities },
    interceptors: {
      activity: [attemptContext],
    },
    stickyQueueScheduleToStartTimeout: STICKY_TIMEOUT,
    shutdownGraceTime: SHUTDOWN_GRACE,
    shutdownForceTime: '20s',
    ...(config.maxCachedWorkflows === undefined ? {} : { maxCachedWorkflows: config.maxCachedWorkflows }),
    maxHeartbeatThrottleInterval: '5s',
    defaultHeartbeatThrottleInterval: '1s',
    // Most activities wait for something else; each is a timer and a few files, or a place in a shared watch.
    maxConcurrentActivityTaskExecutions: 1000,
  });
  const uncount = config.metricsAddress
    ? watchReleases(client, taskQueue, Runtime.instance().metricMeter, log)
    : undefined;
  const health = config.healthAddress && (await serveHealth(worker, config.healthAddress));
  const stopped = worker.run().finally(() => {
    uncount?.();
    health?.close();
    desk.close();
    return runtime.close();
  });
  log.info({ taskQueue: config.taskQueue, namespace, data }, 'worker started');
  return running(worker, stopped);
}

/** Who is to be told of releases, by the keys that workflows know them by. */
async function listenersOf({
  config,
  configuration,
  temporal,
  log,
}: WorkerDependencies): Promise<ReadonlyMap<string, EventDelivery>> {
  const { publicUrl = 'http://throughline.invalid' } = configuration.gateway;
  const source = {
    source: publicUrl,
    urlOf: (release: string) => `${publicUrl.replace(/\/+$/, '')}/v1/releases/${release}`,
  };
  const releases = new ReleaseService({ ...temporal, taskQueue: config.taskQueue });
  return new Map(
    await Promise.all(
      configuration.events.map(async ({ url, secretFile }): Promise<[string, EventDelivery]> => {
        const secret = secretFile === undefined ? undefined : (await readSecrets(secretFile))[0];
        const listener = { url, secret };
        return [
          listenerKey(url),
          new EventDelivery({ client: temporal.client, releases, listener, source, log }),
        ];
      }),
    ),
  );
}

/** A worker that polls; `stopped` is its end with all that belongs to it. */
export function running(worker: Worker, stopped: Promise<void>): RunningWorker {
  return {
    stopped,
    async stop() {
      if (worker.getState() === 'RUNNING') worker.shutdown();
      await stopped;
    },
  };
}

/** Lines of the SDK about failures that the activity itself has logged, with its code and without internals. */
const SAID_BETTER = /^(?:Activity|Workflow) (?:failed|completed as cancelled)/;

/** Sends the SDK's own log lines where ours go. Once a process, before anything connects. */
export function installRuntime(log: Logger, metricsAddress?: string): void {
  Runtime.install({
    ...(metricsAddress ? { telemetryOptions: { metrics: prometheus(metricsAddress) } } : {}),
    logger: new DefaultLogger('WARN', ({ level, message, meta }) => {
      if (SAID_BETTER.test(message)) return;
      const { error, ...rest } = meta ?? {};
      const write = level === 'ERROR' ? log.error : log.warn;
      write.call(log, { ...plainMeta(rest), ...(error ? { error: String(error) } : {}) }, message);
    }),
    // The process's own commands decide when to stop, and in which order.
    shutdownSignals: [],
  });
}

/** Temporal's own metrics are in seconds too; ours bring their names with them. */
function prometheus(address: string): MetricsExporterConfig {
  const [, host, port] = /^(.*):(\d+)$/.exec(address) ?? [];
  return {
    prometheus: {
      bindAddress: `${host || '0.0.0.0'}:${port}`,
      unitSuffix: true,
      useSecondsForDurations: true,
      histogramBucketOverrides: { ...BUCKETS },
    },
  };
}

function plainMeta(meta: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(meta).filter(([, value]) => ['string', 'number', 'boolean'].includes(typeof value)),
  );
}

async function serveHealth(worker: Worker, address: { host: string; port: number }): Promise<Server> {
  const server = createServer((request, response) => {
    const ready = worker.getState() === 'RUNNING';
    const ok = request.url === '/healthz' || (request.url === '/readyz' && ready);
    response.writeHead(ok ? 200 : request.url === '/readyz' ? 503 : 404, {
      'content-type': 'application/json',
    });
    response.end(JSON.stringify({ state: worker.getState() }));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(address.port, address.host, resolve);
  });
  return server;
}
