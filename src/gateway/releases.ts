// Releases over HTTP: exactly what Spinnaker's webhook stage needs (docs/spinnaker.md), for people and for programs.
import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type ApprovalRecord, awaitingOf } from '../domain/approval.js';
import { ThroughlineError } from '../domain/errors.js';
import { type Allowed, covers } from '../policy/index.js';
import { LAST_EVENT } from '../releases/events.js';
import { decisionSchema, parseBody, parseTrigger, releaseOfKey } from '../releases/request.js';
import {
  isReleaseMissing,
  type ReleaseService,
  type ReleaseView,
  releaseNotFound,
} from '../releases/service.js';
import type { Logger } from '../telemetry/log.js';
import { type Caller, may, scopesOf } from './access/caller.js';
import { callerOf } from './access/hooks.js';
import { withoutExpressions } from './errors.js';
import { KEEP_ALIVE, LiveReleases, serverSentEvent } from './live.js';
import { PollLeases } from './poll-leases.js';
import { presentRelease } from './present.js';
import { listQuerySchema, parseQuery } from './queries.js';
import { answerStarted, header, releasesUrl, startTriggered, triggerContext } from './trigger.js';

export interface ReleaseRoutesOptions {
  readonly releases: ReleaseService;
  readonly log: Logger;
  /** How callers reach the gateway; where it is not set, as they did reach it. */
  readonly publicUrl: string | undefined;
  readonly allow: Allowed;
  /** Seconds. */
  readonly pollLease: number | undefined;
  /** Aborted when the gateway is about to end: whoever follows a release goes on elsewhere. */
  readonly ending: AbortSignal;
}

interface ById {
  Params: { id: string };
}

const READ = { config: { role: 'read' } } as const;
const KEEP_ALIVE_MS = 15_000;

export function releaseRoutes(app: FastifyInstance, options: ReleaseRoutesOptions): void {
  const { releases, log, publicUrl, allow, pollLease, ending } = options;
  const live = new LiveReleases(releases);
  const leases = new PollLeases(releases, log);
  const base = (request: FastifyRequest) => releasesUrl(request, publicUrl);

  app.post(
    '/v1/releases',
    { config: { role: 'trigger', action: 'trigger', maySign: true } },
    async (request, reply) => {
      const parsed = parseTrigger(request.body, {
        ...triggerContext(request, base(request)),
        pollLease,
      });
      const started = await startTriggered(request, parsed, { releases, allow });
      log.info(
        { release: started.release, created: started.created, trace_id: started.traceId },
        'release triggered',
      );
      return answerStarted(reply, started, base(request));
    },
  );

  app.get('/v1/releases', READ, async (request) => {
    const filter = parseQuery(listQuerySchema, request.query);
    const page = await releases.list({ ...filter, within: scopesOf(callerOf(request), 'read') });
    return {
      releases: page.releases.map((one) => ({ ...one, url: `${base(request)}/${one.release}` })),
      ...(page.cursor ? { cursor: page.cursor } : {}),
    };
  });

  app.get<ById>('/v1/releases/:id', READ, async (request) => {
    const view = await seen(request);
    leases.asked(view, callerOf(request));
    return presentRelease(view, `${base(request)}/${request.params.id}`);
  });

  app.get<ById>('/v1/releases/:id/events', READ, async (request, reply) => {
    await seen(request);
    const after = header(request, 'last-event-id');
    if (after === LAST_EVENT) return reply.code(204).send(); // which tells an EventSource not to come again
    const signal = AbortSignal.any([ending, closed(reply)]);
    const events = live.follow(request.params.id, { after, signal });
    return reply
      .header('content-type', 'text/event-stream; charset=utf-8')
      .header('x-accel-buffering', 'no')
      .send(eventStream(events, log));
  });

  app.post(
    '/v1/releases/cancel',
    { config: { role: 'trigger', action: 'cancel', maySign: true } },
    async (request, reply) => {
      request.release = releaseOfKey(request.body, header(request, 'idempotency-key'));
      return cancel(request, reply, request.release);
    },
  );
  app.post<ById>(
    '/v1/releases/:id/cancel',
    { config: { role: 'trigger', action: 'cancel' } },
    async (request, reply) => cancel(request, reply, request.params.id),
  );

  for (const [verb, decision] of [
    ['approve', 'approved'],
    ['reject', 'refused'],
  ] as const) {
    app.post<ById>(
      `/v1/releases/:id/${verb}`,
      { config: { role: 'approve', action: verb } },
      async (request): Promise<ApprovalRecord & { readonly id: string }> => {
        const caller = callerOf(request);
        const { comment, environment, by } = parseBody(decisionSchema, request.body ?? {});
        if (by !== undefined && caller.known) {
          throw new ThroughlineError('TL_REQUEST_INVALID', 'The field by is not taken', {
            expected: 'nothing: who decides is whose credentials they are',
          });
        }
        const { id } = request.params;
        const made = await releases.decide(id, {
          decision,
          environment: await decidedOn(request, environment),
          by: by ?? caller.name,
          comment,
        });
        log.info({ release: id, environment: made.environment, by: made.by }, `deployment ${decision}`);
        return { id, ...made };
      },
    );
  }

  /** The release of the path, where the caller may see it. One that it may not see is none. Throws TL_RELEASE_NOT_FOUND. */
  async function seen(request: FastifyRequest<ById>): Promise<ReleaseView> {
    const { id } = request.params;
    const view = await releases.get(id);
    if (!concerns(callerOf(request), 'read', view)) throw releaseNotFound(id);
    return view;
  }

  async function cancel(request: FastifyRequest, reply: FastifyReply, id: string): Promise<FastifyReply> {
    // A caller that cancels wants to know that nothing goes on, which is true of what never was (FACTS, Spinnaker).
    const known = (await concerned(callerOf(request), id)) && (await releases.cancel(id));
    return reply.code(202).send({ id: id.slice(0, 100), status: known ? 'CANCELING' : 'UNKNOWN' });
  }

  /** Whether a caller may cancel such a release, where there is one. */
  async function concerned(caller: Caller, id: string): Promise<boolean> {
    if (scopesOf(caller, 'trigger') === undefined) return true;
    return releases.get(id).then(
      (view) => concerns(caller, 'trigger', view),
      (error) => {
        if (isReleaseMissing(error)) return false;
        throw error;
      },
    );
  }

  /**
   * The environment that the caller decides on, undefined for whichever waits. Bound to some, it is named: by the time of the
   * decision another may wait. Throws TL_RELEASE_NOT_FOUND where the caller has nothing to do with the release,
   * TL_FORBIDDEN where it has.
   */
  async function decidedOn(
    request: FastifyRequest<ById>,
    environment: string | undefined,
  ): Promise<string | undefined> {
    const caller = callerOf(request);
    if (scopesOf(caller, 'approve') === undefined) return environment;
    const { id } = request.params;
    const { record } = await releases.get(id);
    const { model, environments } = record;
    const wanted = environment ?? awaitingOf(record)?.environment;
    if (
      wanted !== undefined &&
      environments?.includes(wanted) &&
      may(caller, 'approve', { model, environments: [wanted] })
    )
      return wanted;
    if (!may(caller, 'approve', { model, environments }) && !may(caller, 'read', { model, environments }))
      throw releaseNotFound(id);
    throw new ThroughlineError('TL_FORBIDDEN', `${caller.name} may not decide on that`, {
      expected: 'a grant with the role approve, for the model and the environment',
    });
  }
}

/** Whether a caller has to do with a release in a role. Before its model is known, whoever triggered it has. */
function concerns(caller: Caller, role: 'read' | 'trigger', { record, caller: by }: ReleaseView): boolean {
  const scopes = scopesOf(caller, role);
  if (record.model === undefined)
    return scopes === undefined || (caller.known && by.triggeredBy === caller.name);
  return covers(scopes, record);
}

/** Aborted when the answer has been sent, or nobody waits for it any more. */
function closed(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => controller.abort());
  return controller.signal;
}

/** Events as a stream of text, with a sign of life in between. */
function eventStream(events: ReturnType<LiveReleases['follow']>, log: Logger): Readable {
  const stream = new Readable({ read() {} });
  const alive = setInterval(() => stream.push(KEEP_ALIVE), KEEP_ALIVE_MS);
  const run = async () => {
    stream.push('retry: 1000\n\n');
    for await (const event of events) stream.push(withoutExpressions(serverSentEvent(event)));
  };
  run()
    .catch((error) => log.warn({ error: String(error) }, 'a follower was cut off'))
    .finally(() => {
      clearInterval(alive);
      stream.push(null);
    });
  return stream;
}
