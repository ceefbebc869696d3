// Who asks, for every route that says which role it takes: known before anything of the request is acted on, and written down
// where something was done, or refused.
import rateLimit from '@fastify/rate-limit';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type ErrorCode, ThroughlineError } from '../../domain/errors.js';
import { isReleaseId } from '../../domain/ids.js';
import type { Role } from '../../policy/index.js';
import type { AuditTrail } from '../audit.js';
import type { Authenticator } from './authenticate.js';
import { ANYBODY, type Caller, demand } from './caller.js';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Which role the route takes; anybody may ask where it says none. */
    role?: Role;
    /** What the audit log calls it; a route that changes nothing is there only where it was refused. */
    action?: string;
    /** Whether a signature over the body is enough: what is asked for has to be in the body, all of it. */
    maySign?: boolean;
  }
  interface FastifyRequest {
    caller: Caller | undefined;
    /** The release that the request turned out to be about. */
    release: string | undefined;
    /** Why it was refused. */
    refusal: ErrorCode | undefined;
  }
}

export interface AccessOptions {
  readonly authenticator: Authenticator;
  readonly audit: AuditTrail;
  readonly requestsPerMinute: number;
  readonly publicUrl: string | undefined;
}

/** Of a route that takes a role. */
export function callerOf(request: FastifyRequest): Caller {
  if (!request.caller) throw new Error('the route says no role');
  return request.caller;
}

const MINUTE_MS = 60_000;
const HOST = /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::\d{1,5})?$/i;
const LOOPBACK_HOST = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i;

export async function guard(app: FastifyInstance, options: AccessOptions): Promise<void> {
  const { authenticator, audit, requestsPerMinute, publicUrl } = options;
  const publicHost = publicUrl && hostOf(publicUrl);
  const tooMany = new OncePerMinute();
  app.decorateRequest('caller', undefined);
  app.decorateRequest('release', undefined);
  app.decorateRequest('refusal', undefined);

  await app.register(rateLimit, { global: false });
  const count = app.createRateLimit({
    max: requestsPerMinute,
    timeWindow: MINUTE_MS,
    keyGenerator: ({ caller, ip }) => (caller ? `caller ${caller.name}` : `address ${ip}`),
  });
  /** Of a caller, or of an address where nobody known calls from it: guessing has its limit too. */
  const limit = async (request: FastifyRequest, reply: FastifyReply) => {
    const counted = await count(request);
    if (counted.isAllowed || !counted.isExceeded) return;
    reply.header('retry-after', counted.ttlInSeconds);
    throw new ThroughlineError('TL_RATE_LIMITED', `More than ${counted.max} requests in a minute`, {
      hint: `The next one is taken in ${counted.ttlInSeconds} s.`,
    });
  };

  app.addHook('onRequest', async (request, reply) => {
    if (!HOST.test(request.host)) {
      throw new ThroughlineError('TL_REQUEST_INVALID', 'The request names no host', {
        expected: 'a Host header with a name or an address, and a port where there is one',
      });
    }
    const { role, maySign = false } = request.routeOptions.config;
    if (role === undefined) return;
    if (!authenticator.required) {
      refuseForeignPages(request, publicHost);
      request.caller = ANYBODY;
      return;
    }
    try {
      request.caller = await authenticator.byHeaders(request.headers, maySign);
    } finally {
      await limit(request, reply);
    }
    if (request.caller) demand(request.caller, role);
  });

  // Whose signature it is was found out when the body was read; a request without one has none.
  app.addHook('preValidation', async (request) => {
    const { role } = request.routeOptions.config;
    if (role !== undefined && !request.caller) identifySigned(request, authenticator, Buffer.alloc(0));
  });

  app.addHook('onSend', async (request, reply) => {
    const { role, action } = request.routeOptions.config;
    if (role === undefined) return;
    const status = reply.statusCode;
    const denied = status === 401 || status === 403 || status === 429;
    if (action === undefined && !denied) return;
    // Whoever sends too much fills no log with that: it is there once a minute.
    if (status === 429 && !tooMany.first(request.caller?.name ?? request.ip)) return;
    const { id } = (request.params ?? {}) as { id?: string };
    await audit.record({
      actor: request.caller?.name ?? null,
      address: request.ip,
      action: action ?? `${request.method} ${request.routeOptions.url ?? ''}`,
      target: request.release ?? (id !== undefined && isReleaseId(id) ? id : null),
      outcome: status < 400 ? 'accepted' : 'refused',
      status,
      code: request.refusal ?? null,
    });
  });
}

/** Called with the body before it is read. Throws TL_UNAUTHENTICATED, TL_FORBIDDEN. */
export function identifySigned(request: FastifyRequest, authenticator: Authenticator, body: Buffer): void {
  const { role } = request.routeOptions.config;
  if (role === undefined || request.caller) return;
  request.caller = authenticator.bySignature(request.headers, body);
  demand(request.caller, role);
}

/**
 * Where nobody is asked who they are, a page that somebody looks at must not be able to ask in their name: neither from
 * another origin, nor by a name of its own for this machine (DNS rebinding).
 */
function refuseForeignPages(request: FastifyRequest, publicHost: string | undefined): void {
  const { origin } = request.headers;
  const foreign = origin !== undefined && hostOf(origin) !== request.host;
  const local = /^(?:::ffff:)?127\.|^::1$/.test(request.socket.localAddress ?? '');
  const rebound = local && request.host !== publicHost && !LOOPBACK_HOST.test(request.host);
  if (!foreign && !rebound) return;
  throw new ThroughlineError('TL_FORBIDDEN', 'A page of another origin may not use this gateway', {
    expected: 'a request of a program, or authentication in the server’s configuration',
  });
}

/** Says of a key when it has not been there for a minute. */
class OncePerMinute {
  private seen = new Set<string>();
  private since = 0;

  first(key: string): boolean {
    if (Date.now() - this.since > MINUTE_MS) {
      this.seen = new Set();
      this.since = Date.now();
    }
    if (this.seen.has(key)) return false;
    this.seen.add(key);
    return true;
  }
}

function hostOf(origin: string): string | undefined {
  try {
    return new URL(origin).host;
  } catch {
    return undefined;
  }
}
