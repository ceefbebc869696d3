import { type Command, InvalidArgumentError } from 'commander';
import { devEndpoints } from '../dev/endpoints.js';
import { ThroughlineError } from '../domain/errors.js';
import {
  embeddedStore,
  type LineageReader,
  LineageStore,
  lineageDot,
  lineageMermaid,
  lineageText,
  servedText,
} from '../lineage/index.js';
import { createLogger } from '../telemetry/log.js';
import { temporalClient } from '../temporal/connect.js';
import { defaultDataDirectory, gitCacheOf } from '../worker/config.js';
import { LineageRecorder } from '../worker/lineage-recorder.js';
import { type ClientOptions, temporalTarget, withClient } from './options.js';
import { print, printJson, say } from './output.js';
import { databaseOption, type StoreOptions, withReader, withStore } from './store.js';

interface LineageOptions extends StoreOptions {
  readonly at?: Date;
  readonly environment?: string;
  readonly attestations?: boolean;
  readonly dot?: boolean;
  readonly mermaid?: boolean;
}

export function lineageCommand(program: Command): void {
  const command = withStore(program.command('lineage'))
    .description('from any id to the whole chain: commit, dataset, training run, model, image, deployments')
    .argument(
      '[id]',
      'a trace, span, traceparent, prediction’s trace, pod, image, digest, model, dataset@version, Job, commit, release, run or execution',
    )
    .option('--at <time>', 'what was served then (ISO 8601), with --environment', time)
    .option('--environment <name>', 'what this environment serves, or served --at')
    .option('--attestations', 'print what was signed, as Sigstore bundles (JSON)')
    .option('--dot', 'print a graph for Graphviz')
    .option('--mermaid', 'print a graph for Mermaid')
    .action((id: string | undefined, options: LineageOptions) =>
      withReader(options, (reader) => answer(reader, id, options)),
    );
  withClient(command.command('rebuild'))
    .description('write the store again, from everything that Temporal still knows')
    .addOption(databaseOption())
    .action((_own: unknown, own: Command) => rebuild(own.optsWithGlobals()));
}

async function answer(reader: LineageReader, id: string | undefined, options: LineageOptions): Promise<void> {
  const { environment, at = new Date(), json } = options;
  if (id === undefined) {
    if (environment === undefined) {
      throw new ThroughlineError('TL_REQUEST_INVALID', 'Lineage of what?', {
        expected: 'an id, or --environment NAME with or without --at TIME',
      });
    }
    const served = await reader.servedAt(environment, at);
    if (json) printJson(served);
    else print(servedText(served));
    return;
  }
  if (options.attestations) {
    printJson((await reader.attestations(id)).attestations);
    return;
  }
  const found = await reader.find(id);
  if (json) printJson(found);
  else if (options.dot) print(lineageDot(found));
  else if (options.mermaid) print(lineageMermaid(found));
  else print(lineageText(found));
}

async function rebuild(options: ClientOptions & StoreOptions): Promise<void> {
  const data = options.data ?? defaultDataDirectory();
  if (!options.database && (await devEndpoints(data))) {
    throw new ThroughlineError('TL_DATA_DIR_IN_USE', `A throughline dev runs on ${data}`, {
      expected: 'that it is stopped; or nothing at all: it fills an empty store by itself',
    });
  }
  const location = options.database ? { url: options.database } : { directory: embeddedStore(data) };
  const temporal = temporalClient(await temporalTarget(options));
  const store = await LineageStore.open(location);
  try {
    const recorder = new LineageRecorder({
      ...temporal,
      store,
      cache: gitCacheOf(data),
      log: createLogger('throughline', 'warn'),
    });
    const signal = new AbortController().signal;
    const count = await recorder.rebuild({ signal, report: say });
    if (options.json) printJson({ releases: count });
    else print(`${count} releases recorded from ${temporal.address}, namespace ${temporal.namespace}`);
  } finally {
    await store.close();
    await temporal.connection.close();
  }
}

function time(text: string): Date {
  const at = new Date(text);
  if (Number.isNaN(at.getTime()))
    throw new InvalidArgumentError('expected a time, as in 2026-01-31T14:05:00Z');
  return at;
}
