// `throughline dev`: everything on this machine, in one process and one data directory: an embedded Temporal server with
// its UI, the gateway and a worker. What runs when it stops goes on at the next start.
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ThroughlineError } from '../domain/errors.js';
import { createGateway } from '../gateway/server.js';
import { archivedRelease, embeddedStore, StoreHandle, StoreReader } from '../lineage/index.js';
import type { ServerConfiguration } from '../policy/index.js';
import { identify, writeAtomically } from '../processes/index.js';
import { becomeOwner } from '../processes/ownership.js';
import { ReleaseService } from '../releases/service.js';
import { configuredTraces, devTraces } from '../telemetry/backends.js';
import type { Logger } from '../telemetry/log.js';
import type { Telemetry } from '../telemetry/sdk.js';
import { temporalClient, workerConnection } from '../temporal/connect.js';
import { registerSearchAttributes } from '../temporal/register.js';
import { cacheDirectory, type WorkerConfig } from '../worker/config.js';
import { startLineageWorker } from '../worker/lineage-worker.js';
import { runtimeOf } from '../worker/runtimes.js';
import { startWorker } from '../worker/worker.js';
import type { Collector } from './collector.js';
import { type DevEndpoints, devEndpoints, endpointsFile } from './endpoints.js';
import { freePort } from './ports.js';
import { temporalBinary } from './temporal-binary.js';
import { startTemporalServer } from './temporal-server.js';

export interface DevOptions {
  readonly config: WorkerConfig;
  readonly configuration: ServerConfiguration;
  readonly telemetry: Telemetry;
  readonly log: Logger;
  readonly collector: Collector | undefined;
  readonly gatewayPort: number;
  readonly temporalPort: number;
  readonly uiPort: number;
  /** Without it, workers are started by themselves (`throughline worker`). */
  readonly withWorker: boolean;
  readonly say: (text: string) => void;
}

export interface RunningDev {
  readonly endpoints: DevEndpoints;
  /** Rejects where a part of it breaks. */
  readonly failed: Promise<never>;
  stop(): Promise<void>;
}

export async function startDev(options: DevOptions): Promise<RunningDev> {
  const { config, configuration, telemetry, log, say } = options;
  await mkdir(join(config.data, 'dev'), { recursive: true, mode: 0o700 });
  const other = await devEndpoints(config.data);
  if (other || !(await becomeOwner(join(config.data, 'dev')))) {
    throw new ThroughlineError('TL_DATA_DIR_IN_USE', `Another throughline dev runs on ${config.data}`, {
      found: other ? `process ${other.process.pid}, at ${other.gateway}` : undefined,
    });
  }
  const stops: (() => Promise<unknown>)[] = [];
  const stop = async () => {
    for (let next = stops.pop(); next; next = stops.pop()) await next();
  };
  try {
    const binary = await temporalBinary(cacheDirectory(), say);
    say('starting Temporal');
    const server = await startTemporalServer({
      binary,
      data: config.data,
      port: options.temporalPort,
      uiPort: options.uiPort,
    });
    stops.push(() => server.stop());
    const target = { address: server.address, namespace: 'default' };
    const temporal = temporalClient(target);
    const { client, connection, address, namespace } = temporal;
    stops.push(() => connection.close());
    await connection.ensureConnected();
    await registerSearchAttributes(connection, namespace);

    const native = await workerConnection(target);
    stops.push(() => native.close());
    const store = new StoreHandle({ directory: embeddedStore(config.data) });
    stops.push(() => store.close());
    await store.open();
    const { taskQueue } = config;
    const recorder = await startLineageWorker({ store, config, connection: native, temporal, log });
    stops.push(() => recorder.stop());
    const ends = [recorder.stopped];
    if (options.withWorker) {
      say('starting the worker');
      const worker = await startWorker({
        config,
        configuration,
        runtime: await runtimeOf(config, configuration, log),
        connection: native,
        temporal,
        telemetry,
        log,
      });
      stops.push(() => worker.stop());
      ends.push(worker.stopped);
    }
    const workerFailed = Promise.all(ends).then(() => new Promise<never>(() => {}));
    workerFailed.catch(() => undefined);
    const archive = async (id: string) => archivedRelease((await store.open()).database, id);
    const releases = new ReleaseService({ client, connection, address, taskQueue, archive });
    const traces = configuredTraces() ?? (options.collector && devTraces(options.collector.spans));
    const lineage = new StoreReader(store, traces);
    const gateway = await createGateway({
      releases,
      log,
      configuration,
      publicUrl: undefined,
      lineage,
      store,
    });
    const url = await gateway.listen({ host: '127.0.0.1', port: await freePort(options.gatewayPort) });
    stops.push(() => gateway.close());

    const self = await identify(process.pid);
    if (!self) throw new Error('cannot identify the own process');
    const endpoints: DevEndpoints = {
      gateway: url,
      temporal: server.address,
      ui: server.uiUrl,
      otlp: options.collector && { http: options.collector.http, grpc: options.collector.grpc },
      spans: options.collector?.spans,
      process: self,
    };
    const record = endpointsFile(config.data);
    await writeAtomically(record, JSON.stringify(endpoints));
    stops.push(() => rm(record, { force: true }));
    return { endpoints, failed: Promise.race([server.failed, workerFailed]), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
