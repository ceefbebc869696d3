// The long-running commands: gateway, worker, and dev, which is both with what they need.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Runtime } from '@temporalio/worker';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { startCollector } from '../dev/collector.js';
import { startDev } from '../dev/dev.js';
import { ThroughlineError } from '../domain/errors.js';
import { createGateway } from '../gateway/server.js';
import { archivedRelease, StoreHandle, StoreReader } from '../lineage/index.js';
import { readConfiguration, type ServerConfiguration } from '../policy/index.js';
import { watchReleases } from '../releases/metrics.js';
import { ReleaseService } from '../releases/service.js';
import { configuredTraces } from '../telemetry/backends.js';
import { createLogger, type Logger } from '../telemetry/log.js';
import { isExportConfigured, startTelemetry, type Telemetry } from '../telemetry/sdk.js';
import { temporalClient, workerConnection } from '../temporal/connect.js';
import { registerSearchAttributes } from '../temporal/register.js';
import { type WorkerConfig, workerConfig } from '../worker/config.js';
import { startLineageWorker } from '../worker/lineage-worker.js';
import { runtimeOf } from '../worker/runtimes.js';
import { installRuntime, startWorker } from '../worker/worker.js';
import { type ClientOptions, temporalTarget, withClient } from './options.js';
import { printJson, say } from './output.js';

export function gatewayCommand(program: Command): void {
  withClient(program.command('gateway'))
    .description('serve the HTTP API')
    .addOption(
      new Option('--listen <host:port>', 'where to listen')
        .env('THROUGHLINE_LISTEN')
        .default('127.0.0.1:8088'),
    )
    .addOption(
      new Option('--public-url <url>', 'how callers reach this gateway').env('THROUGHLINE_PUBLIC_URL'),
    )
    .addOption(configurationOption())
    .addOption(
      new Option(
        '--authentication <how>',
        'as the configuration says; with none everybody may do everything, also from elsewhere',
      )
        .env('THROUGHLINE_AUTHENTICATION')
        .choices(['configured', 'none'])
        .default('configured'),
    )
    .action(async (options: GatewayCommandOptions) => {
      const config = workerConfig({ ...process.env, ...configOption(options) });
      const { host, port } = parseListen(options.listen);
      const configuration = await readConfiguration(config.configuration);
      checkExposure(host, options, configuration);
      await serve('throughline-gateway', config, async ({ log }) => {
        const target = await temporalTarget(options);
        const { client, connection, address } = temporalClient(target);
        const taskQueue = options.taskQueue ?? config.taskQueue;
        const meter = config.metricsAddress ? Runtime.instance().metricMeter : undefined;
        const store = config.databaseUrl ? new StoreHandle({ url: config.databaseUrl }) : undefined;
        const lineage = store && new StoreReader(store, configuredTraces());
        const archive = store && (async (id: string) => archivedRelease((await store.open()).database, id));
        const releases = new ReleaseService({ client, connection, address, taskQueue, archive });
        const { publicUrl } = options;
        const gateway = await createGateway({
          releases,
          log,
          configuration,
          lineage,
          store,
          publicUrl,
          meter,
        });
        const uncount = meter && watchReleases(client, taskQueue, meter, log);
        const url = await gateway.listen({ host, port });
        log.info({ url, temporal: address }, 'gateway started');
        return {
          failed: new Promise<never>(() => {}),
          stop: async () => {
            uncount?.();
            await gateway.close(configuration.gateway.drain);
            await lineage?.close();
            await connection.close();
          },
        };
      });
    });
}

export function workerCommand(program: Command): void {
  withClient(program.command('worker'))
    .description('run releases: poll Temporal, train, build, deploy')
    .addOption(configurationOption())
    .action(async (options: ClientOptions & { config?: string }) => {
      const config = workerConfig({
        ...process.env,
        ...dataOption(options),
        ...queueOption(options),
        ...configOption(options),
      });
      const configuration = await readConfiguration(config.configuration);
      await serve('throughline-worker', config, async ({ log, telemetry }) => {
        const target = await temporalTarget(options);
        const connection = await workerConnection(target);
        const temporal = temporalClient(target);
        await registerSearchAttributes(temporal.connection, temporal.namespace);
        const worker = await startWorker({
          config,
          configuration,
          runtime: await runtimeOf(config, configuration, log),
          connection,
          temporal,
          telemetry,
          log,
        });
        const store = config.databaseUrl ? new StoreHandle({ url: config.databaseUrl }) : undefined;
        const recorder = store && (await startLineageWorker({ store, config, connection, temporal, log }));
        const failed = Promise.all([worker.stopped, recorder?.stopped]).then(
          () => new Promise<never>(() => {}),
        );
        return {
          failed,
          stop: async () => {
            await Promise.all([worker.stop(), recorder?.stop()]);
            await store?.close();
            await temporal.connection.close();
            await connection.close();
          },
        };
      });
    });
}

export function devCommand(program: Command): void {
  program
    .command('dev')
    .description('run everything on this machine: Temporal with its UI, the gateway and a worker')
    .addOption(new Option('--data <dir>', 'where everything is kept').env('THROUGHLINE_DATA'))
    .option('--port <port>', 'the gateway’s port; 0 for any', port, 8088)
    .option('--temporal-port <port>', 'Temporal’s port; 0 for any', port, 7233)
    .option('--ui-port <port>', 'port of Temporal’s UI; 0 for any', port, 8233)
    .option('--otlp-http-port <port>', 'port of the OTLP receiver, HTTP; 0 for any', port, 4318)
    .option('--otlp-grpc-port <port>', 'port of the OTLP receiver, gRPC; 0 for any', port, 4317)
    .addOption(configurationOption())
    .option('--no-worker', 'leave the worker out; start it with `throughline worker`')
    .option('--json', 'print one JSON line with the addresses when everything runs')
    .action(
      async (options: {
        data?: string;
        port: number;
        temporalPort: number;
        uiPort: number;
        otlpHttpPort: number;
        otlpGrpcPort: number;
        worker: boolean;
        config?: string;
        json?: boolean;
      }) => {
        const settings = {
          THROUGHLINE_LOG_LEVEL: 'warn',
          ...process.env,
          ...dataOption(options),
          ...configOption(options),
        };
        const { data } = workerConfig(settings);
        await mkdir(data, { recursive: true, mode: 0o700 });
        const collector = await startCollector({
          file: join(data, 'spans.jsonl'),
          httpPort: options.otlpHttpPort,
          grpcPort: options.otlpGrpcPort,
        });
        // Unless there is another one: then what is sent goes there.
        if (!isExportConfigured(process.env)) process.env.OTEL_EXPORTER_OTLP_ENDPOINT = collector.http;
        const config = workerConfig({ ...settings, ...process.env, ...configOption(options) });
        const configuration = await readConfiguration(config.configuration);
        await serve('throughline-dev', config, async ({ log, telemetry }) => {
          const dev = await startDev({
            config,
            configuration,
            telemetry,
            log,
            collector,
            say,
            gatewayPort: options.port,
            temporalPort: options.temporalPort,
            uiPort: options.uiPort,
            withWorker: options.worker,
          });
          const { gateway, temporal, ui } = dev.endpoints;
          if (options.json) printJson({ gateway, temporal, ui, otlp: dev.endpoints.otlp, data: config.data });
          say(
            [
              '',
              `  gateway   ${gateway}/v1/releases`,
              `  Temporal  ${temporal}   (temporal workflow list --address ${temporal})`,
              `  UI        ${ui}/namespaces/default/workflows`,
              `  OTLP      ${collector.http}   (gRPC: ${collector.grpc})`,
              `  data      ${config.data}`,
              '',
              'Ctrl-C stops it; what runs goes on at the next start.',
            ].join('\n'),
          );
          return {
            failed: dev.failed,
            stop: async () => {
              await dev.stop();
              await telemetry.shutdown();
              await collector.stop();
            },
          };
        });
      },
    );
}

interface GatewayCommandOptions extends ClientOptions {
  readonly listen: string;
  readonly publicUrl?: string;
  readonly config?: string;
  readonly authentication: 'configured' | 'none';
}

const configurationOption = () =>
  new Option('--config <file>', 'what releases and callers may do (docs/access.md)').env(
    'THROUGHLINE_CONFIG',
  );

const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|::1|\[::1\])$/;

/** Throws TL_CONFIG_INVALID where a gateway that asks nobody who they are would be reached from elsewhere. */
function checkExposure(
  host: string,
  { authentication }: GatewayCommandOptions,
  configuration: ServerConfiguration,
): void {
  if (authentication === 'none' && configuration.authentication) {
    throw new ThroughlineError(
      'TL_CONFIG_INVALID',
      'It is not clear whether callers have to say who they are',
      {
        expected: 'authentication in the configuration, or --authentication none, not both',
      },
    );
  }
  if (authentication === 'none' || configuration.authentication || LOOPBACK.test(host)) return;
  throw new ThroughlineError('TL_CONFIG_INVALID', `The gateway would let everybody in who reaches ${host}`, {
    expected: 'authentication in the file that --config or THROUGHLINE_CONFIG names (docs/access.md)',
    hint: 'Where something else keeps strangers away: --authentication none, or THROUGHLINE_AUTHENTICATION=none.',
  });
}

interface Running {
  /** Rejects where it breaks. */
  readonly failed: Promise<never>;
  stop(): Promise<void>;
}

/** Runs something until a signal asks for its end, or it breaks. A second signal does not wait. */
async function serve(
  service: string,
  { logLevel, metricsAddress }: Pick<WorkerConfig, 'logLevel' | 'metricsAddress'>,
  start: (given: { log: Logger; telemetry: Telemetry }) => Promise<Running>,
): Promise<void> {
  const log = createLogger(service, logLevel);
  const telemetry = startTelemetry(service);
  installRuntime(log, metricsAddress);
  const asked = new Promise<string>((resolve) => {
    let count = 0;
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        count += 1;
        if (count > 1) process.exit(130);
        resolve(signal);
      });
    }
  });
  try {
    const running = await start({ log, telemetry });
    try {
      await Promise.race([asked, running.failed]);
    } finally {
      say('stopping');
      await running.stop();
    }
  } finally {
    await telemetry.shutdown();
  }
}

function dataOption(options: { data?: string }): Record<string, string> {
  return options.data === undefined ? {} : { THROUGHLINE_DATA: options.data };
}

function configOption({ config }: { config?: string }): Record<string, string> {
  return config === undefined ? {} : { THROUGHLINE_CONFIG: config };
}

function queueOption(options: ClientOptions): Record<string, string> {
  return options.taskQueue === undefined ? {} : { THROUGHLINE_TASK_QUEUE: options.taskQueue };
}

function parseListen(text: string): { host: string; port: number } {
  const split = text.lastIndexOf(':');
  const number = Number(text.slice(split + 1));
  if (split < 0 || !Number.isInteger(number) || number < 0 || number > 65_535) {
    throw new ThroughlineError('TL_CONFIG_INVALID', 'The address to listen on is not usable', {
      expected: 'HOST:PORT',
      found: text,
    });
  }
  return { host: text.slice(0, split) || '0.0.0.0', port: number };
}

function port(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0 || value > 65_535)
    throw new InvalidArgumentError('expected a port number');
  return value;
}
