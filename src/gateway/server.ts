// The gateway: the HTTP service that starts, shows and cancels releases. It holds no state; any number of them can stand
// side by side on one Temporal (I1).
import { SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import type { MetricMeter } from '@temporalio/common';
import Fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify';
import { ERROR_KINDS, type Problem, ThroughlineError } from '../domain/errors.js';
import { parseTraceparent } from '../domain/trace.js';
import { redact } from '../git/index.js';
import type { LineageReader } from '../lineage/index.js';
import { parseTrigger } from '../releases/request.js';
import type { ReleaseService } from '../releases/service.js';
import { ATTR } from '../telemetry/attributes.js';
import { remoteSpanContext } from '../telemetry/context.js';
import type { Logger } from '../telemetry/log.js';
import { METRIC, recordSeconds } from '../telemetry/metric-names.js';
import { lineageRoutes } from './lineage.js';
import { openApiDocument } from './openapi.js';
import { presentRelease } from './present.js';
import { listQuerySchema, parseQuery } from './queries.js';

const MAX_BODY_BYTES = 1024 * 1024;
/** What a client is told to wait where Temporal is away. Seconds. */
const RETRY_AFTER = '10';

export interface GatewayOptions {
  readonly releases: ReleaseService;
  readonly log: Logger;
  /** How callers reach the gateway; where it is not set, as they did reach it. */
  readonly publicUrl: string | undefined;
  /** Who answers questions about lineage; without it there is no such route. */
  readonly lineage?: LineageReader | undefined;
  /** Where requests are measured. */
  readonly meter?: MetricMeter | undefined;
}

export function createGateway({ releases, log, publicUrl, lineage, meter }: GatewayOptions): FastifyInstance {
  const app = Fastify({
    bodyLimit: MAX_BODY_BYTES,
    requestTimeout: 30_000,
    return503OnClosing: true,
    routerOptions: { maxParamLength: 1_200 }, // of an image's reference, encoded
  });

  // Spinnaker sends a string payload as text/plain; what it holds is JSON all the same. A POST that takes no body may
  // come with the content type of one.
  const parseJson = app.getDefaultJsonParser('error', 'error');
  app.removeContentTypeParser(['application/json', 'text/plain']);
  app.addContentTypeParser(
    ['application/json', 'text/plain'],
    { parseAs: 'string' },
    (request, body, done) => {
      if (body === '') done(null, undefined);
      else parseJson(request, body as string, done);
    },
  );
  const measure = meter && recordSeconds(meter, METRIC.request, 'Duration of HTTP requests');
  app.addHook('onResponse', async (request, reply) => {
    measure?.(reply.elapsedTime / 1000, {
      [ATTR.requestMethod]: request.method,
      [ATTR.route]: request.routeOptions.url,
      [ATTR.responseStatus]: reply.statusCode,
    });
  });
  app.setErrorHandler((error: FastifyError | ThroughlineError, request, reply) =>
    sendError(error, request, reply, log),
  );
  app.setNotFoundHandler((request, reply) =>
    sendError(
      new ThroughlineError(
        'TL_ROUTE_NOT_FOUND',
        `There is no ${request.method} ${request.url.split('?')[0]?.slice(0, 200)}`,
      ),
      request,
      reply,
      log,
    ),
  );

  const base = (request: FastifyRequest) =>
    `${publicUrl ?? `${request.protocol}://${request.host}`}/v1/releases`;

  app.post('/v1/releases', async (request, reply) => {
    const at = new Date();
    const parsed = parseTrigger(request.body, {
      at,
      idempotencyKey: header(request, 'idempotency-key'),
      traceparent: header(request, 'traceparent'),
      tracestate: header(request, 'tracestate'),
      baggage: header(request, 'baggage'),
      releasesUrl: base(request),
    });
    // The release's span is the parent, also of this request's: its id is known before it begins, and it always arrives.
    const parent = remoteSpanContext(
      parseTraceparent(parsed.request.trace.traceparent),
      parsed.request.trace.tracestate,
    );
    const started = await trace.getTracer('throughline').startActiveSpan(
      'POST /v1/releases',
      {
        kind: SpanKind.SERVER,
        startTime: at,
        attributes: { [ATTR.requestMethod]: 'POST', [ATTR.route]: '/v1/releases' },
      },
      parent,
      async (span) => {
        try {
          return await releases.start(parsed);
        } catch (error) {
          span.setStatus({ code: SpanStatusCode.ERROR });
          throw error;
        } finally {
          span.end();
        }
      },
    );
    const statusUrl = `${base(request)}/${started.release}`;
    log.info(
      { release: started.release, created: started.created, trace_id: started.traceId },
      'release triggered',
    );
    return reply.code(202).header('location', statusUrl).send({
      id: started.release,
      status: 'RUNNING',
      statusUrl,
      traceId: started.traceId,
      traceparent: started.traceparent,
      created: started.created,
    });
  });

  app.get<{ Params: { id: string } }>('/v1/releases/:id', async (request) =>
    presentRelease(await releases.get(request.params.id), `${base(request)}/${request.params.id}`),
  );

  app.get('/v1/releases', async (request) => {
    const found = await releases.list(parseQuery(listQuerySchema, request.query));
    return { releases: found.map((one) => ({ ...one, url: `${base(request)}/${one.release}` })) };
  });

  app.post<{ Params: { id: string } }>('/v1/releases/:id/cancel', async (request, reply) => {
    // A caller that cancels wants to know that nothing goes on, which is true of what never was (FACTS, Spinnaker).
    const known = await releases.cancel(request.params.id);
    return reply
      .code(202)
      .send({ id: request.params.id.slice(0, 100), status: known ? 'CANCELING' : 'UNKNOWN' });
  });

  if (lineage) lineageRoutes(app, lineage);

  app.get('/healthz', async () => ({ status: 'ok' }));
  app.get('/readyz', async () => {
    await releases.ping();
    return { status: 'ready' };
  });
  app.get('/openapi.json', async () => openApiDocument());
  return app;
}

function header(request: FastifyRequest, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

function sendError(
  error: FastifyError | ThroughlineError,
  request: FastifyRequest,
  reply: FastifyReply,
  log: Logger,
): FastifyReply {
  const { problem, status } = asProblem(error);
  if (status >= 500) {
    log.error(
      { problem: problem.code, error: redact(error.message), route: request.routeOptions.url },
      'request failed',
    );
  }
  if (status === 503) reply.header('retry-after', RETRY_AFTER);
  const { remedy } = ERROR_KINDS[problem.code];
  return reply
    .code(status)
    .header('content-type', 'application/json; charset=utf-8')
    .send(JSON.parse(redact(JSON.stringify({ error: { hint: remedy, ...problem } }))));
}

function asProblem(error: FastifyError | ThroughlineError): { problem: Problem; status: number } {
  if (error instanceof ThroughlineError) {
    return { problem: error.problem, status: ERROR_KINDS[error.code].http };
  }
  const status = error.statusCode ?? 500;
  if (status === 413) {
    return {
      problem: {
        code: 'TL_REQUEST_TOO_LARGE',
        message: 'The body is too large',
        expected: `at most ${MAX_BODY_BYTES} bytes`,
      },
      status,
    };
  }
  if (status >= 400 && status < 500) {
    const expected = status === 415 ? 'content-type application/json' : 'a body that is one JSON object';
    return {
      problem: {
        code: 'TL_REQUEST_INVALID',
        message: 'The request cannot be read',
        expected,
        found: error.code,
      },
      status,
    };
  }
  return {
    problem: { code: 'TL_INTERNAL', message: 'An unexpected error; the log has the details' },
    status: 500,
  };
}
