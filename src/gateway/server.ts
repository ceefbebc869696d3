// The gateway: the HTTP service that starts, shows, decides on and cancels releases. It holds no state; any number of them can
// stand side by side on one Temporal (I1).
import helmet from '@fastify/helmet';
import type { MetricMeter } from '@temporalio/common';
import Fastify, { type FastifyError, type FastifyInstance } from 'fastify';
import { ThroughlineError } from '../domain/errors.js';
import type { LineageReader, StoreHandle } from '../lineage/index.js';
import { NO_CONFIGURATION, type ServerConfiguration } from '../policy/index.js';
import type { ReleaseService } from '../releases/service.js';
import { TargetService } from '../releases/targets.js';
import { ATTR } from '../telemetry/attributes.js';
import type { Logger } from '../telemetry/log.js';
import { METRIC, recordSeconds } from '../telemetry/metric-names.js';
import { Authenticator } from './access/authenticate.js';
import { guard, identifySigned } from './access/hooks.js';
import { AuditTrail } from './audit.js';
import { auditRoute } from './audit-route.js';
import {
  answerClientError,
  BARE_HEADERS,
  MAX_BODY_BYTES,
  MAX_HEADER_BYTES,
  sendError,
  withoutExpressions,
} from './errors.js';
import { lineageRoutes } from './lineage.js';
import { openApiDocument } from './openapi.js';
import { releaseRoutes } from './releases.js';
import { targetRoutes } from './targets.js';

/** A whole request has to arrive within this time, its headers within the other. Milliseconds. */
const REQUEST_MS = 30_000;
const HEADERS_MS = 10_000;
/** Longer than load balancers keep an idle connection, so that none of them sends into one that is being closed. */
const IDLE_MS = 75_000;

/** What has been begun when a gateway ends has this long. Milliseconds. */
const LAST_ANSWER_MS = 20_000;

export interface GatewayOptions {
  readonly releases: ReleaseService;
  readonly log: Logger;
  /** What releases and callers may do. */
  readonly configuration?: ServerConfiguration | undefined;
  /** How callers reach the gateway; where it is not set, as they did reach it. */
  readonly publicUrl: string | undefined;
  /** Who answers questions about lineage. */
  readonly lineage?: LineageReader | undefined;
  /** Where the audit log is kept; without it, it is in the process's log alone. */
  readonly store?: StoreHandle | undefined;
  /** Where requests are measured. */
  readonly meter?: MetricMeter | undefined;
}

export interface Gateway {
  readonly app: FastifyInstance;
  /** Where it answers, when it does. */
  listen(address: { readonly host: string; readonly port: number }): Promise<string>;
  /** Says that it is not ready, goes on answering for so many seconds, then ends with what it has begun. */
  close(drainSeconds?: number): Promise<void>;
}

export async function createGateway(options: GatewayOptions): Promise<Gateway> {
  const { releases, log, lineage, store, meter, configuration = NO_CONFIGURATION } = options;
  const { gateway: settings, allow } = configuration;
  const publicUrl = (options.publicUrl ?? settings.publicUrl)?.replace(/\/+$/, '');
  const authenticator = await Authenticator.of(configuration.authentication);
  const audit = new AuditTrail(log, store);
  const ending = new AbortController();
  let draining = false;

  const app = Fastify({
    bodyLimit: MAX_BODY_BYTES,
    requestTimeout: REQUEST_MS,
    keepAliveTimeout: IDLE_MS,
    http: {
      headersTimeout: HEADERS_MS,
      maxHeaderSize: MAX_HEADER_BYTES,
      connectionsCheckingInterval: 2_000,
      requireHostHeader: false, // guard() says it with a code
    },
    trustProxy: settings.trustedProxies.length > 0 ? settings.trustedProxies : false,
    return503OnClosing: false, // what came on a connection that was open is answered
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: 1_200 }, // of an image's reference, encoded
    clientErrorHandler: answerClientError,
    frameworkErrors: (error, request, reply) => sendError(error, request, reply.headers(BARE_HEADERS), log),
  });
  let answering = 0;
  app.server.on('request', (_request, response) => {
    answering += 1;
    response.once('close', () => {
      answering -= 1;
    });
  });
  app.server.on('checkExpectation', (_request, response) => {
    response.writeHead(417, { ...BARE_HEADERS, connection: 'close' });
    response.end(JSON.stringify({ error: { code: 'TL_REQUEST_INVALID', message: 'Expect is not taken' } }));
  });

  // Spinnaker sends a string payload as text/plain; what it holds is JSON all the same. A POST that takes no body may
  // come with the content type of one.
  const parseJson = app.getDefaultJsonParser('error', 'error');
  app.removeContentTypeParser(['application/json', 'text/plain']);
  app.addContentTypeParser(
    ['application/json', 'text/plain'],
    { parseAs: 'buffer' },
    (request, bytes, done) => {
      let body: string;
      try {
        body = textOf(bytes as Buffer, request.headers['content-type']);
        identifySigned(request, authenticator, bytes as Buffer);
      } catch (error) {
        done(error as Error);
        return;
      }
      if (body === '') done(null, undefined);
      else parseJson(request, body, done);
    },
  );
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

  await app.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
    },
    strictTransportSecurity: publicUrl?.startsWith('https:') ? { maxAge: 31_536_000 } : false,
  });
  const { requestsPerMinute } = settings;
  await guard(app, { authenticator, audit, requestsPerMinute, publicUrl });
  measureRequests(app, meter);
  app.addHook('onSend', async (_request, reply, payload) => {
    reply.header('cache-control', 'no-store');
    if (draining) reply.header('connection', 'close');
    return typeof payload === 'string' ? withoutExpressions(payload) : payload;
  });

  releaseRoutes(app, {
    releases,
    log,
    publicUrl,
    allow,
    pollLease: settings.pollLease,
    ending: ending.signal,
  });
  const targets = new TargetService(releases, log);
  targetRoutes(app, { releases, targets, log, publicUrl, allow });
  lineageRoutes(app, lineage);
  auditRoute(app, audit);
  const reached = onceASecond(() => releases.ping());
  app.get('/healthz', async () => ({ status: 'ok' }));
  app.get('/readyz', async () => {
    if (draining) throw new ThroughlineError('TL_DRAINING', 'This gateway is about to end');
    await reached();
    return { status: 'ready' };
  });
  app.get('/openapi.json', async () => openApiDocument());

  return {
    app,
    listen: (address) => app.listen(address),
    async close(drainSeconds = 0) {
      draining = true;
      await new Promise((resolve) => setTimeout(resolve, drainSeconds * 1000));
      ending.abort();
      // Node leaves connections open that are idle after this, or on which nothing has been asked yet.
      const late = Date.now() + LAST_ANSWER_MS;
      const sweep = setInterval(() => {
        if (answering === 0 || Date.now() > late) app.server.closeAllConnections();
      }, 100);
      await app.close().finally(() => clearInterval(sweep));
      targets.close();
      await audit.close();
    },
  };
}

/** Anybody may ask whether a gateway is ready: Temporal is not asked as often. */
function onceASecond(ask: () => Promise<void>): () => Promise<void> {
  let last: { readonly at: number; readonly answer: Promise<void> } | undefined;
  return () => {
    if (!last || Date.now() - last.at > 1_000) last = { at: Date.now(), answer: ask() };
    return last.answer;
  };
}

/** Java's clients send text as ISO-8859-1, and say so; JSON is UTF-8 whatever somebody says (RFC 8259, 8.1). */
function textOf(bytes: Buffer, contentType = ''): string {
  const [, charset = 'utf-8'] = /^text\/plain\s*;.*charset="?([\w-]{1,40})/i.exec(contentType) ?? [];
  try {
    return new TextDecoder(charset).decode(bytes);
  } catch {
    throw new ThroughlineError('TL_REQUEST_INVALID', 'The charset of the body is not known', {
      expected: 'UTF-8',
    });
  }
}

function measureRequests(app: FastifyInstance, meter: MetricMeter | undefined): void {
  if (!meter) return;
  const measure = recordSeconds(meter, METRIC.request, 'Duration of HTTP requests');
  app.addHook('onResponse', async (request, reply) => {
    measure(reply.elapsedTime / 1000, {
      [ATTR.requestMethod]: request.method,
      [ATTR.route]: request.routeOptions.url,
      [ATTR.responseStatus]: reply.statusCode,
    });
  });
}
