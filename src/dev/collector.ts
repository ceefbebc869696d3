// The OTLP receiver of `throughline dev`, over gRPC and HTTP: keeps what programs and services send, so that a release's
// trace shows epochs and linked predictions without any other backend. What it keeps outlives a restart.
import { appendFile, readFile } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';
import Fastify from 'fastify';
import { writeAtomically } from '../processes/index.js';
import type { SeenSpan } from '../telemetry/seen.js';
import { decodeJson, decodeProtobuf, type ReceivedSpan, startOtlpReceiver } from './otlp-receiver.js';
import { freePort } from './ports.js';

/** Older spans make room. */
const MOST = 50_000;
/** trace.proto, Status.StatusCode. */
const STATUS_ERROR = 2;
const MAX_BODY_BYTES = 16 * 1024 * 1024;

export interface Collector {
  /** What OTEL_EXPORTER_OTLP_ENDPOINT is set to, for `http/protobuf` and `http/json`. */
  readonly http: string;
  readonly grpc: string;
  /** Where spans are asked for: `?trace=ID`. */
  readonly spans: string;
  stop(): Promise<void>;
}

export interface CollectorOptions {
  /** JSON lines, a span each. */
  readonly file: string;
  /** Wanted ports; others where they are taken. */
  readonly httpPort: number;
  readonly grpcPort: number;
}

export async function startCollector({ file, httpPort, grpcPort }: CollectorOptions): Promise<Collector> {
  const store = await SpanStore.open(file);
  const grpc = await startOtlpReceiver({
    port: await freePort(grpcPort),
    onSpans: (received) => store.add(received),
  });
  const app = Fastify({ bodyLimit: MAX_BODY_BYTES });
  app.addContentTypeParser(
    ['application/x-protobuf', 'application/json'],
    { parseAs: 'buffer' },
    (request, body, done) => {
      try {
        const gzip = request.headers['content-encoding'] === 'gzip';
        done(null, gzip ? gunzipSync(body as Buffer, { maxOutputLength: MAX_BODY_BYTES }) : body);
      } catch (error) {
        done(Object.assign(error as Error, { statusCode: 400 }));
      }
    },
  );
  // OTLP/HTTP: the answer has the request's encoding, and an empty message is an empty body.
  app.post('/v1/traces', async (request, reply) => {
    const json = request.headers['content-type']?.startsWith('application/json') ?? false;
    const body = request.body as Buffer;
    await store.add(json ? decodeJson(body.toString('utf8')) : decodeProtobuf(body));
    return json
      ? reply.type('application/json').send('{}')
      : reply.type('application/x-protobuf').send(Buffer.alloc(0));
  });
  // Metrics and logs are taken, so that a program that sends them does not complain; they are not kept.
  for (const signal of ['metrics', 'logs']) app.post(`/v1/${signal}`, async (_, reply) => reply.send());
  app.get<{ Querystring: { trace?: string } }>('/spans', async ({ query }) => store.of(query.trace ?? ''));
  const url = await app.listen({ host: '127.0.0.1', port: await freePort(httpPort) });
  return {
    http: url,
    grpc: grpc.endpoint,
    spans: `${url}/spans`,
    async stop() {
      grpc.stop();
      await app.close();
      await store.saved;
    },
  };
}

class SpanStore {
  private readonly spans = new Map<string, SeenSpan>();
  private lines = 0;
  saved: Promise<unknown> = Promise.resolve();

  private constructor(private readonly file: string) {}

  static async open(file: string): Promise<SpanStore> {
    const store = new SpanStore(file);
    const text = await readFile(file, 'utf8').catch(() => '');
    for (const line of text.split('\n')) {
      try {
        if (line) store.take(JSON.parse(line) as SeenSpan);
      } catch {
        // the last line of a process that was killed
      }
    }
    return store;
  }

  /** Resolves when they are on disk: an exporter that was answered may forget them. */
  async add(received: readonly ReceivedSpan[]): Promise<void> {
    const seen = received.map(seenOf);
    for (const span of seen) this.take(span);
    const full = this.lines > 2 * MOST;
    const text = (full ? [...this.spans.values()] : seen).map((span) => `${JSON.stringify(span)}\n`).join('');
    if (full) this.lines = this.spans.size;
    const write = () =>
      full ? writeAtomically(this.file, text) : appendFile(this.file, text, { mode: 0o600 });
    this.saved = this.saved.then(write, write);
    await this.saved;
  }

  /** The spans of a trace, and those that link to it. */
  of(trace: string): SeenSpan[] {
    return [...this.spans.values()].filter(
      (span) => span.traceId === trace || span.links.some(({ traceId }) => traceId === trace),
    );
  }

  private take(span: SeenSpan): void {
    this.spans.set(`${span.traceId}/${span.spanId}`, span);
    this.lines += 1;
    const oldest = this.spans.size > MOST ? this.spans.keys().next().value : undefined;
    if (oldest) this.spans.delete(oldest);
  }
}

function seenOf(span: ReceivedSpan): SeenSpan {
  const { service, traceId, spanId, parentSpanId, name, attributes, events, links, status } = span;
  return {
    service,
    traceId,
    spanId,
    parentSpanId,
    name,
    start: Number(span.startUnixNano) / 1e6,
    end: Number(span.endUnixNano) / 1e6,
    failed: status.code === STATUS_ERROR,
    events: events.map((event) => ({
      name: event.name,
      at: Number(event.unixNano) / 1e6,
      attributes: event.attributes,
    })),
    attributes,
    links: links.map((link) => ({ traceId: link.traceId, spanId: link.spanId })),
  };
}
