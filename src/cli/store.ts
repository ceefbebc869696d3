// Options of commands that ask the lineage store, and who answers them.
import { stat } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { devEndpoints } from '../dev/endpoints.js';
import { ThroughlineError } from '../domain/errors.js';
import {
  embeddedStore,
  type LineageAnswer,
  type LineageReader,
  type ReleaseAnswer,
  StoreHandle,
  StoreReader,
} from '../lineage/index.js';
import { configuredTraces } from '../telemetry/backends.js';
import { defaultDataDirectory } from '../worker/config.js';
import { GatewayReader } from './gateway-reader.js';
import { withJson } from './options.js';

export interface StoreOptions {
  readonly database?: string;
  readonly gateway?: string;
  readonly data?: string;
  readonly json?: boolean;
}

export const databaseOption = () =>
  new Option('--database <url>', 'the lineage store: postgres://…').env('THROUGHLINE_DATABASE_URL');

export function withStore(command: Command): Command {
  return withJson(command)
    .addOption(databaseOption())
    .addOption(
      new Option('--gateway <url>', 'a gateway that reaches the store').env('THROUGHLINE_GATEWAY_URL'),
    )
    .addOption(new Option('--data <dir>', 'data directory of `throughline dev`').env('THROUGHLINE_DATA'));
}

export async function withReader(
  options: StoreOptions,
  run: (reader: LineageReader) => Promise<void>,
): Promise<void> {
  const reader = await readerOf(options);
  try {
    await run(reader);
  } finally {
    await reader.close();
  }
}

/** The store itself, a gateway, or the `throughline dev` of this machine, whether it runs or not. */
async function readerOf(options: StoreOptions): Promise<LineageReader> {
  if (options.gateway) return new GatewayReader(options.gateway);
  if (options.database)
    return new StoreReader(new StoreHandle({ url: options.database }), configuredTraces());
  const data = options.data ?? defaultDataDirectory();
  const dev = await devEndpoints(data);
  if (dev) return new GatewayReader(dev.gateway);
  const directory = embeddedStore(data);
  if (await stat(directory).catch(() => undefined))
    return new StoreReader(new StoreHandle({ directory }), configuredTraces());
  throw new ThroughlineError('TL_CONFIG_INVALID', 'There is no lineage store to ask', {
    expected:
      '--database or THROUGHLINE_DATABASE_URL, --gateway or THROUGHLINE_GATEWAY_URL, or a `throughline dev` that ran on this machine',
    found: `nothing in ${data}`,
  });
}

/** The one release that has the id. */
export async function onlyRelease(reader: LineageReader, id: string): Promise<ReleaseAnswer> {
  return onlyOf(await reader.find(id), id);
}

/** The one release of an answer. */
export function onlyOf({ releases, more }: LineageAnswer, id: string): ReleaseAnswer {
  const [release] = releases;
  if (!release || releases.length > 1) {
    throw new ThroughlineError('TL_REQUEST_INVALID', `${id} is not the id of one release`, {
      expected: `one of: ${releases.map((one) => one.release).join(', ')}${more ? ', …' : ''}`,
    });
  }
  return release;
}
