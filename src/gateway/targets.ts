// Rollbacks and holds over HTTP. A rollback is a release: it is answered as a trigger is.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type Allowed, checkTrigger } from '../policy/index.js';
import type { ReleaseService } from '../releases/service.js';
import type { TargetService } from '../releases/targets.js';
import type { Logger } from '../telemetry/log.js';
import { may, scopesOf } from './access/caller.js';
import { callerOf } from './access/hooks.js';

export interface TargetRoutesOptions {
  readonly releases: ReleaseService;
  readonly targets: TargetService;
  readonly log: Logger;
  readonly publicUrl: string | undefined;
  readonly allow: Allowed;
}

export function targetRoutes(app: FastifyInstance, options: TargetRoutesOptions): void {
  const { releases, targets, log, publicUrl, allow } = options;
  const concerns =
    (request: FastifyRequest) =>
    ({ model, environment }: { readonly model: string; readonly environment: string }) =>
      may(callerOf(request), 'trigger', { model, environments: [environment] });

  app.post('/v1/rollbacks', { config: { role: 'trigger', action: 'rollback' } }, async (request, reply) => {
    const caller = callerOf(request);
    const base = `${publicUrl ?? `${request.protocol}://${request.host}`}/v1/releases`;
    const parsed = await targets.rollback(
      request.body,
      {
        at: new Date(),
        idempotencyKey: header(request, 'idempotency-key'),
        traceparent: header(request, 'traceparent'),
        tracestate: header(request, 'tracestate'),
        baggage: header(request, 'baggage'),
        releasesUrl: base,
        ...(caller.known
          ? { requestedBy: caller.name, triggeredBy: caller.name, within: scopesOf(caller, 'trigger') }
          : {}),
      },
      concerns(request),
    );
    request.release = parsed.request.release;
    checkTrigger(allow, parsed.request);
    const { release, traceId, traceparent, created } = await releases.start(parsed);
    const { environment, from, to } = parsed.request.rollback ?? {};
    log.info(
      { release, environment, from: from?.release, to: to?.release, trace_id: traceId },
      'rollback triggered',
    );
    const statusUrl = `${base}/${release}`;
    return reply
      .code(202)
      .header('location', statusUrl)
      .send({ id: release, status: 'RUNNING', statusUrl, traceId, traceparent, created });
  });

  app.post('/v1/holds', { config: { role: 'trigger', action: 'hold' } }, async (request) => {
    const caller = callerOf(request);
    const held = await targets.hold(request.body, caller.name, concerns(request));
    log.info(
      { model: held.model, environment: held.environment, by: caller.name },
      held.held ? 'target held' : 'target let go',
    );
    return held;
  });
}

function header(request: FastifyRequest, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}
