// How a release is begun over HTTP, whatever asks for it: a trigger, or a rollback.
import { SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { parseTraceparent } from '../domain/trace.js';
import { type Allowed, checkTrigger, covers } from '../policy/index.js';
import type { ParsedTrigger, TriggerContext } from '../releases/request.js';
import type { Joined, ReleaseService, StartedRelease } from '../releases/service.js';
import { ATTR } from '../telemetry/attributes.js';
import { remoteSpanContext } from '../telemetry/context.js';
import { type Caller, scopesOf } from './access/caller.js';
import { callerOf } from './access/hooks.js';

export function header(request: FastifyRequest, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** Base of the URLs that releases have: as it is configured, else as the caller has reached the gateway. */
export function releasesUrl(request: FastifyRequest, publicUrl: string | undefined): string {
  return `${publicUrl ?? `${request.protocol}://${request.host}`}/v1/releases`;
}

/** What comes besides the body: headers, and who asks. */
export function triggerContext(request: FastifyRequest, url: string): TriggerContext {
  const caller = callerOf(request);
  return {
    at: new Date(),
    idempotencyKey: header(request, 'idempotency-key') ?? messageKey(caller),
    traceparent: header(request, 'traceparent'),
    tracestate: header(request, 'tracestate'),
    baggage: header(request, 'baggage'),
    releasesUrl: url,
    ...(caller.known
      ? { requestedBy: caller.name, triggeredBy: caller.name, within: scopesOf(caller, 'trigger') }
      : {}),
  };
}

/** Starts the release, or finds the one that the key has started before, where the caller may be told of it. */
export async function startTriggered(
  request: FastifyRequest,
  parsed: ParsedTrigger,
  { releases, allow }: { readonly releases: ReleaseService; readonly allow: Allowed },
): Promise<StartedRelease> {
  request.release = parsed.request.release;
  checkTrigger(allow, parsed.request);
  const caller = callerOf(request);
  return inServerSpan(request.routeOptions.url ?? '', parsed, () =>
    releases.start(parsed, (before) => mayJoin(caller, before)),
  );
}

/** Spinnaker's contract (docs/spinnaker.md). */
export function answerStarted(reply: FastifyReply, started: StartedRelease, url: string): FastifyReply {
  const { release, traceId, traceparent, created } = started;
  const statusUrl = `${url}/${release}`;
  return reply
    .code(202)
    .header('location', statusUrl)
    .send({ id: release, status: 'RUNNING', statusUrl, traceId, traceparent, created });
}

/** Whether a caller may be told of the release that its key has started before. */
function mayJoin(caller: Caller, { model, environments, caller: by }: Joined): boolean {
  const scopes = scopesOf(caller, 'trigger');
  if (scopes === undefined || by.triggeredBy === caller.name) return true;
  return model !== undefined && covers(scopes, { model, environments });
}

/** A signed message that is sent again is the same message, and starts nothing new. */
const messageKey = ({ name, message }: Caller) => message && `message/${name}/${message}`;

/** The release's span is the parent, also of this request's: its id is known before it begins, and it always arrives. */
function inServerSpan(
  route: string,
  { request: { trace: carrier, requestedAt } }: ParsedTrigger,
  start: () => Promise<StartedRelease>,
): Promise<StartedRelease> {
  return trace.getTracer('throughline').startActiveSpan(
    `POST ${route}`,
    {
      kind: SpanKind.SERVER,
      startTime: new Date(requestedAt),
      attributes: { [ATTR.requestMethod]: 'POST', [ATTR.route]: route },
    },
    remoteSpanContext(parseTraceparent(carrier.traceparent), carrier.tracestate),
    async (span) => {
      try {
        return await start();
      } catch (error) {
        span.setStatus({ code: SpanStatusCode.ERROR });
        throw error;
      } finally {
        span.end();
      }
    },
  );
}
