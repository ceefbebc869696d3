import { type Command, Option } from 'commander';
import { devEndpoints } from '../dev/endpoints.js';
import { ThroughlineError } from '../domain/errors.js';
import { isReleaseId, type ReleaseId } from '../domain/ids.js';
import { ATTR } from '../telemetry/attributes.js';
import { deliver, toOtlpJson } from '../telemetry/deliver.js';
import { traceOf } from '../telemetry/delivery.js';
import type { ProjectedTrace, SpanRecord } from '../telemetry/projection.js';
import {
  createExporter,
  isExportConfigured,
  PROTOCOLS,
  type Protocol,
  releaseResource,
} from '../telemetry/sdk.js';
import { type SeenSpan, spansOfTrace } from '../telemetry/seen.js';
import { criticalPath, renderTree, type TreeSpan } from '../telemetry/tree.js';
import { temporalClient } from '../temporal/connect.js';
import { defaultDataDirectory } from '../worker/config.js';
import { type ClientOptions, temporalTarget, withClient } from './options.js';
import { print, printJson, say } from './output.js';

interface TraceOptions extends ClientOptions {
  readonly export?: string | true;
  readonly protocol: Protocol;
  readonly traceUrl?: string;
}

export function traceCommand(program: Command): void {
  withClient(program.command('trace'))
    .description(
      'show the trace of a release, computed from its history; or send it again, with the same ids',
    )
    .argument('<release>', 'id of the release')
    .option('--export [url]', 'send it to an OTLP endpoint (default: OTEL_EXPORTER_OTLP_ENDPOINT)')
    .addOption(
      new Option('--protocol <protocol>', 'how the given endpoint is spoken to')
        .choices(PROTOCOLS)
        .default('http/protobuf'),
    )
    .addOption(
      new Option('--trace-url <url>', 'where a backend shows a trace, with {traceId} in it').env(
        'THROUGHLINE_TRACE_URL',
      ),
    )
    .action(async (id: string, options: TraceOptions) => {
      const { client, connection } = temporalClient(await temporalTarget(options));
      try {
        const trace = await read(client, id);
        if (options.export !== undefined) await send(trace, options);
        if (options.json) printJson(toOtlpJson(trace.spans, releaseResource()));
        else if (options.export === undefined) await show(trace, options);
      } finally {
        await connection.close();
      }
    });
}

async function read(client: Parameters<typeof traceOf>[0], id: string): Promise<ProjectedTrace> {
  const unknown = () =>
    new ThroughlineError('TL_RELEASE_NOT_FOUND', `There is no release ${JSON.stringify(id.slice(0, 100))}`);
  if (!isReleaseId(id)) throw unknown();
  try {
    return await traceOf(client, id as ReleaseId);
  } catch (error) {
    if ((error as Error).name === 'WorkflowNotFoundError') throw unknown();
    throw error;
  }
}

async function send(trace: ProjectedTrace, options: TraceOptions): Promise<void> {
  const given = typeof options.export === 'string' ? options.export : undefined;
  if (!given && !isExportConfigured(process.env)) {
    throw new ThroughlineError('TL_CONFIG_INVALID', 'There is no OTLP endpoint to send the trace to', {
      expected: '--export URL, or OTEL_EXPORTER_OTLP_ENDPOINT',
    });
  }
  if (!trace.sampled) {
    say('The caller decided against this trace (traceparent, flag "sampled"): nothing is sent.');
    return;
  }
  const exporter = createExporter(
    process.env,
    given ? { url: given, protocol: options.protocol } : undefined,
  );
  if (!exporter) return;
  try {
    await deliver(trace.spans, exporter, releaseResource());
  } catch (error) {
    throw new ThroughlineError('TL_COLLECTOR_UNREACHABLE', 'The collector did not take the trace', {
      found: error instanceof Error ? error.message : String(error),
      where: { file: given ?? process.env.OTEL_EXPORTER_OTLP_ENDPOINT ?? '' },
    });
  } finally {
    await exporter.shutdown();
  }
  say(`${trace.spans.length} spans sent, trace ${trace.traceId}`);
}

async function show(trace: ProjectedTrace, options: TraceOptions): Promise<void> {
  const seen = await seenOf(trace.traceId, options);
  const own = new Set(trace.spans.map(({ spanId }) => spanId));
  const foreign = seen.filter((span) => span.traceId === trace.traceId && !own.has(span.spanId));
  const linked = seen.filter((span) => span.traceId !== trace.traceId);
  const spans = [...trace.spans.map(ofRelease), ...foreign.map(ofService)];
  const root = spans.find(({ name }) => name.startsWith('RUN '));
  print(renderTree(spans, root ? criticalPath(spans, root) : new Set()).join('\n'));
  if (!trace.sampled)
    print('\nThe caller decided against this trace (traceparent, flag "sampled"): there are no spans.');
  else if (!trace.closed) print('\nThe release goes on: this is what has ended.');
  if (linked.length > 0) {
    print(`\nlinked to it: ${linked.length}`);
    for (const { service, name, traceId } of linked.slice(-10))
      print(`  ${name} (${service})  trace ${traceId}`);
  }
  print(`\ntrace ${trace.traceId}${root ? '   ● on the critical path' : ''}`);
  const url = options.traceUrl?.replace('{traceId}', trace.traceId);
  if (url) print(url);
}

/** What programs and services have sent to a `throughline dev` of this machine. */
async function seenOf(traceId: string, options: TraceOptions): Promise<readonly SeenSpan[]> {
  const dev = await devEndpoints(options.data ?? defaultDataDirectory());
  return dev?.spans ? spansOfTrace(dev.spans, traceId) : [];
}

function ofRelease(span: SpanRecord): TreeSpan {
  const { attributes } = span;
  const count = Number(attributes[ATTR.attempts] ?? 0);
  const text = (name: string) => (attributes[name] === undefined ? [] : [String(attributes[name])]);
  return {
    spanId: span.spanId,
    parentSpanId: span.parentSpanId,
    name: span.name,
    start: Date.parse(span.start),
    end: Date.parse(span.end),
    failed: attributes[ATTR.errorType] !== undefined,
    notes: [
      ...(count > 1 ? [`attempt ${attributes[ATTR.attempt]} of ${count}`] : []),
      ...text(ATTR.errorType),
      ...text(ATTR.pipelineResult),
      ...text(ATTR.workerId).map((worker) => `worker ${worker}`),
      ...text(ATTR.podName),
      ...text(ATTR.podEnd),
      ...text(ATTR.headRevision).map((commit) => commit.slice(0, 12)),
    ],
  };
}

function ofService(span: SeenSpan): TreeSpan {
  return {
    spanId: span.spanId,
    parentSpanId: span.parentSpanId,
    name: span.name,
    service: span.service,
    start: span.start,
    end: span.end,
    failed: span.failed,
    notes: [],
    events: span.events.map(({ name, at, attributes }) => ({
      name,
      at,
      notes: Object.entries(attributes).map(([attribute, value]) => `${attribute}=${short(value)}`),
    })),
  };
}

/** A metric to four digits: the tree is for reading, `--json` of the backend for calculating. */
const short = (value: unknown) =>
  typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(4)) : value;
