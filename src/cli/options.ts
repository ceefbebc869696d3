// Options that several commands share.
import { type Command, Option } from 'commander';
import { devEndpoints } from '../dev/endpoints.js';
import { ReleaseService } from '../releases/service.js';
import { startTelemetry, type Telemetry } from '../telemetry/sdk.js';
import { type TemporalTarget, temporalClient } from '../temporal/connect.js';
import { defaultDataDirectory } from '../worker/config.js';

export interface ClientOptions {
  readonly address?: string;
  readonly namespace?: string;
  readonly profile?: string;
  readonly data?: string;
  readonly taskQueue?: string;
  readonly json?: boolean;
}

export function withJson(command: Command): Command {
  return command.option('--json', 'print JSON on standard output');
}

/** Options of commands that talk to Temporal. */
export function withClient(command: Command): Command {
  return withJson(command)
    .option(
      '--address <host:port>',
      'Temporal’s address (default: TEMPORAL_ADDRESS, its profile, a running `throughline dev`)',
    )
    .option('--namespace <name>', 'Temporal’s namespace')
    .option('--profile <name>', 'profile of Temporal’s own configuration file')
    .addOption(new Option('--data <dir>', 'data directory of `throughline dev`').env('THROUGHLINE_DATA'))
    .addOption(
      new Option('--task-queue <name>', 'task queue of the workers')
        .env('THROUGHLINE_TASK_QUEUE')
        .default('throughline'),
    );
}

/** Where Temporal is: as told, else by Temporal's own configuration, else the `throughline dev` that runs here. */
export async function temporalTarget(options: ClientOptions): Promise<TemporalTarget> {
  const { address, namespace, profile } = options;
  if (address || profile || process.env.TEMPORAL_ADDRESS || process.env.TEMPORAL_PROFILE)
    return { address, namespace, profile };
  const dev = await devEndpoints(options.data ?? defaultDataDirectory());
  return { address: dev?.temporal, namespace, profile };
}

/** Runs a command with a connection to Temporal, and lets go of it. */
export async function withReleases<T>(
  options: ClientOptions,
  run: (releases: ReleaseService) => Promise<T>,
): Promise<T> {
  const telemetry: Telemetry = startTelemetry('throughline-cli');
  const { client, connection, address } = temporalClient(await temporalTarget(options));
  const taskQueue = options.taskQueue ?? 'throughline';
  try {
    return await run(new ReleaseService({ client, connection, address, taskQueue }));
  } finally {
    await connection.close();
    await telemetry.shutdown();
  }
}
