// Rollbacks and holds over HTTP. A rollback is a release: it is answered as a trigger is.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Allowed } from '../policy/index.js';
import type { ReleaseService } from '../releases/service.js';
import type { TargetService } from '../releases/targets.js';
import type { Logger } from '../telemetry/log.js';
import { may } from './access/caller.js';
import { callerOf } from './access/hooks.js';
import { answerStarted, releasesUrl, startTriggered, triggerContext } from './trigger.js';

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
    const url = releasesUrl(request, publicUrl);
    const parsed = await targets.rollback(request.body, triggerContext(request, url), concerns(request));
    const started = await startTriggered(request, parsed, { releases, allow });
    const { environment, from, to } = parsed.request.rollback ?? {};
    log.info(
      {
        release: started.release,
        environment,
        from: from?.release,
        to: to?.release,
        trace_id: started.traceId,
      },
      'rollback triggered',
    );
    return answerStarted(reply, started, url);
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
