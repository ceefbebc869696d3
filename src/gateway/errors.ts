// Everything that can go wrong with a request, as an answer with a stable code: what routes throw, what Fastify finds, and
// what Node finds before there is a request at all.
import type { Socket } from 'node:net';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { ERROR_KINDS, type ErrorCode, type Problem, ThroughlineError } from '../domain/errors.js';
import { redact } from '../domain/urls.js';
import type { Logger } from '../telemetry/log.js';

export const MAX_BODY_BYTES = 1024 * 1024;
export const MAX_HEADER_BYTES = 16 * 1024;
/** What a client is told to wait where something is away: Orca's repeats at once where it is 0. Seconds. */
const RETRY_AFTER = '10';

/** Of answers that are sent before a route, and so its hooks, are known; all others have them from helmet, and more. */
export const BARE_HEADERS = {
  'content-type': 'application/json; charset=utf-8',
  'content-security-policy': "default-src 'none';frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-store',
} as const;

/** Of a gateway without THROUGHLINE_DATABASE_URL. */
export function storeMissing(): ThroughlineError {
  return new ThroughlineError('TL_STORE_MISSING', 'This gateway has no lineage store');
}

/** Orca evaluates `${…}` in whatever it is answered (FACTS, Spinnaker); no answer has one. */
export function withoutExpressions(text: string): string {
  return text.includes('${') ? text.replaceAll('${', '$ {') : text;
}

export function sendError(
  error: FastifyError | ThroughlineError,
  request: FastifyRequest,
  reply: FastifyReply,
  log: Logger,
): FastifyReply {
  const { problem, status } = asProblem(error);
  if (status >= 500) {
    log.error(
      { problem: problem.code, error: redact(error.message), route: request.routeOptions?.url },
      'request failed',
    );
  }
  if (status === 503) reply.header('retry-after', RETRY_AFTER);
  if (status === 401) reply.header('www-authenticate', 'Bearer');
  request.refusal = problem.code;
  return reply.code(status).header('content-type', 'application/json; charset=utf-8').send(bodyOf(problem));
}

function bodyOf(problem: Problem): string {
  const { remedy } = ERROR_KINDS[problem.code];
  return withoutExpressions(redact(JSON.stringify({ error: { hint: remedy, ...problem } })));
}

/** What is about the way from the gateway to something else: addresses are in the log, and nobody's business who asks. */
const OURS: ReadonlySet<ErrorCode> = new Set([
  'TL_TEMPORAL_UNAVAILABLE',
  'TL_STORE_UNREACHABLE',
  'TL_IDENTITY_UNREACHABLE',
  'TL_INTERNAL',
]);

function asProblem(error: FastifyError | ThroughlineError): { problem: Problem; status: number } {
  if (error instanceof ThroughlineError) {
    const { http: status, title } = ERROR_KINDS[error.code];
    const { code } = error;
    return { problem: OURS.has(code) ? { code, message: title } : error.problem, status };
  }
  const status = error.statusCode ?? 500;
  if (status === 413) {
    const expected = `at most ${MAX_BODY_BYTES} bytes`;
    return { problem: { code: 'TL_REQUEST_TOO_LARGE', message: 'The body is too large', expected }, status };
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

/** What Node's parser gives up on, by its own codes. */
const CLIENT_ERRORS: Readonly<Record<string, Problem & { status: string }>> = {
  HPE_HEADER_OVERFLOW: {
    code: 'TL_REQUEST_TOO_LARGE',
    message: 'The headers are too large',
    expected: `at most ${MAX_HEADER_BYTES} bytes`,
    status: '431 Request Header Fields Too Large',
  },
  HPE_CHUNK_EXTENSIONS_OVERFLOW: {
    code: 'TL_REQUEST_TOO_LARGE',
    message: 'The chunk extensions are too large',
    status: '413 Payload Too Large',
  },
  ERR_HTTP_REQUEST_TIMEOUT: {
    code: 'TL_REQUEST_TIMEOUT',
    message: 'The request was not sent in time',
    status: '408 Request Timeout',
  },
};

/** Answers what is no HTTP, and ends the connection. */
export function answerClientError(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const { status, ...problem } = CLIENT_ERRORS[error.code ?? ''] ?? {
    code: 'TL_REQUEST_INVALID' as const,
    message: 'This is no HTTP request',
    status: '400 Bad Request',
  };
  const body = bodyOf(problem);
  socket.end(
    [
      `HTTP/1.1 ${status}`,
      ...Object.entries(BARE_HEADERS).map(([name, value]) => `${name}: ${value}`),
      `content-length: ${Buffer.byteLength(body)}`,
      'connection: close',
      '',
      body,
    ].join('\r\n'),
  );
}
