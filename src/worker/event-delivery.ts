// Tells whoever is to know of releases: CloudEvents over HTTP, signed, each until it was taken, in the order in which things
// happened to a release. What there is to tell is a function of the release's record; how far each listener has been told
// keeps its workflow, so that nothing is lost with a process.
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { CloudEvent, HTTP } from 'cloudevents';
import type { Webhook } from 'standardwebhooks';
import type { DeliveryState } from '../activities/index.js';
import { messageOf, ThroughlineError } from '../domain/errors.js';
import type { ReleaseRecord } from '../domain/release.js';
import { type CdEvent, cdEventsOf, type EventSource } from '../events/cdevents.js';
import { eventsAfter, eventsOf } from '../releases/events.js';
import { isReleaseMissing, type ReleaseService } from '../releases/service.js';
import type { Logger } from '../telemetry/log.js';
import type { TemporalClient } from '../temporal/connect.js';
import type { ActivityContext } from './activity-context.js';
import { advance, type Sent } from './delivery-state.js';
import { type Listed, LOOK_MS, ReleaseFeed } from './release-feed.js';

const ENOUGH_MS = 30 * 60_000;
const TIMEOUT_MS = 10_000;
/** An event that a listener finds wrong it would find wrong again; what else it may say is about the way, or about who asks. */
const REFUSED = new Set([400, 405, 410, 413, 415, 422]);

export interface EventListener {
  readonly url: string;
  /** Signs; nothing is signed without. */
  readonly secret: Webhook | undefined;
}

/** Names a listener in workflows, where no URL belongs: it may have a token in it (I9). */
export const listenerKey = (url: string) => createHash('sha256').update(url).digest('hex').slice(0, 12);

export interface EventDeliveryDependencies extends Pick<TemporalClient, 'client'> {
  readonly releases: ReleaseService;
  readonly listener: EventListener;
  readonly source: EventSource;
  readonly log: Logger;
}

export class EventDelivery {
  private readonly feed: ReleaseFeed;

  constructor(private readonly dependencies: EventDeliveryDependencies) {
    this.feed = new ReleaseFeed(dependencies.client);
  }

  /** Waits until there is something to tell, and tells it. Throws TL_EVENTS_UNREACHABLE where nothing could be told. */
  async deliver(
    before: DeliveryState | undefined,
    { signal, report }: Pick<ActivityContext, 'signal' | 'report'>,
  ): Promise<DeliveryState> {
    // A listener is told of what happens, not of what has been; from when on is in the history before anything is told.
    if (!before) return { closedUntil: new Date().toISOString(), closed: {}, open: {} };
    const state = before;
    const enough = Date.now() + ENOUGH_MS;
    while (Date.now() < enough) {
      report('waiting for something to tell of a release');
      const { whole, closed, due } = await this.feed.look(
        state.closedUntil,
        ({ runId }) => state.closed[runId] !== undefined,
      );
      const sent: Sent[] = [];
      let failure: unknown;
      for (const one of due) {
        report(`telling of ${one.release}`);
        const { told, error } = await this.tell(one, state, signal);
        if (told) sent.push(told);
        if (error) {
          failure = error;
          break; // it would take no other either
        }
      }
      if (sent.length > 0) return advance(state, whole ? closed : undefined, sent, this.feed);
      if (failure) throw failure;
      await sleep(LOOK_MS, undefined, { signal });
    }
    return state;
  }

  /** What is to be told of a release. What was taken counts, also where the rest was not. */
  private async tell(
    one: Listed,
    state: DeliveryState,
    signal: AbortSignal,
  ): Promise<{ told?: Sent; error?: unknown }> {
    const { releases, source } = this.dependencies;
    const view = await releases.get(one.release).catch((error) => {
      if (isReleaseMissing(error)) return undefined;
      throw error;
    });
    if (!view) return { told: { ...one, position: undefined } };
    // Another run goes on: what there is to tell is in its record.
    if (one.closedAt !== undefined && view.runId !== one.runId)
      return { told: { ...one, position: undefined, goesOn: true } };
    const { record, note } = view;
    if (note) return {}; // no worker answers: it is asked again when one does
    const known = state.open[one.release]?.events ?? 0;
    const events = eventsAfter(eventsOf(record), String(known));
    if (events.length === 0 && one.closedAt === undefined) {
      this.feed.done(one);
      return {};
    }
    let count = known;
    const told = () => ({ ...one, position: { runId: one.runId, events: count } });
    for (const event of events) {
      try {
        for (const cdEvent of cdEventsOf(record, event, source)) await this.send(cdEvent, record, signal);
      } catch (error) {
        signal.throwIfAborted();
        // Not closed for good: the rest of it is still to be told.
        const some = count > known ? { told: { ...told(), closedAt: undefined } } : {};
        return { ...some, error };
      }
      count = Math.max(count, Number(event.id) || count);
    }
    return { told: told() };
  }

  private async send(event: CdEvent, { release }: ReleaseRecord, signal: AbortSignal): Promise<void> {
    const { listener, log } = this.dependencies;
    const { id, source, type, timestamp } = event.context;
    const { headers, body } = HTTP.structured(
      new CloudEvent({
        id,
        source,
        type,
        time: timestamp,
        subject: event.subject.id,
        datacontenttype: 'application/json',
        data: event,
      }),
    );
    const text = String(body);
    const at = new Date();
    let response: Response;
    try {
      response = await fetch(listener.url, {
        method: 'POST',
        headers: {
          ...(headers as Record<string, string>),
          'webhook-id': id,
          'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
          ...(listener.secret ? { 'webhook-signature': listener.secret.sign(id, at, text) } : {}),
        },
        body: text,
        redirect: 'error',
        signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
      });
    } catch (cause) {
      signal.throwIfAborted();
      throw away(messageOf(cause), cause);
    }
    await response.body?.cancel().catch(() => undefined);
    if (response.ok) return;
    if (!REFUSED.has(response.status)) throw away(`status ${response.status}`);
    log.warn({ release, event: id, status: response.status }, 'a listener refuses an event');
  }
}

function away(found: string, cause?: unknown): ThroughlineError {
  return new ThroughlineError('TL_EVENTS_UNREACHABLE', 'A listener does not take events', { found, cause });
}
