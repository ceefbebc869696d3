// Sends what the store keeps for data catalogues: events of OpenLineage, oldest first, each until it was taken.
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf, ThroughlineError } from '../domain/errors.js';
import type { LineageStore } from '../lineage/store.js';
import type { Logger } from '../telemetry/log.js';
import type { ActivityContext } from './activity-context.js';

const LOOK_MS = 1_000;
const ENOUGH_MS = 30 * 60_000;
const BATCH = 100;
const TIMEOUT_MS = 10_000;

/** Where they go, by the variables that OpenLineage's own clients read. */
export interface OpenLineageSettings {
  /** Where events are posted. */
  readonly url: string;
  readonly apiKey: string | undefined;
  /** Of jobs. */
  readonly namespace: string;
}

export class EventSender {
  constructor(
    private readonly store: LineageStore,
    private readonly settings: OpenLineageSettings,
    private readonly log: Logger,
  ) {}

  /** For half an hour. Throws TL_CATALOG_UNREACHABLE: what was not taken is there at the next attempt. */
  async follow({ signal, report }: Pick<ActivityContext, 'signal' | 'report'>): Promise<void> {
    const enough = Date.now() + ENOUGH_MS;
    while (Date.now() < enough) {
      report('waiting for something to tell the data catalogue');
      const events = await this.store.unsent(BATCH);
      for (const { id, event } of events) {
        report(`telling the data catalogue of ${id}`);
        await this.send(id, event, signal);
        await this.store.sent(id);
      }
      if (events.length < BATCH) await sleep(LOOK_MS, undefined, { signal });
    }
  }

  private async send(id: string, event: unknown, signal: AbortSignal): Promise<void> {
    const { url, apiKey } = this.settings;
    let response: Response;
    try {
      response = await fetch(url, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          ...(apiKey ? { authorization: `Bearer ${apiKey}` } : {}),
        },
        body: JSON.stringify(event),
        signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
      });
    } catch (cause) {
      signal.throwIfAborted();
      throw away(messageOf(cause), cause);
    }
    const said = (await response.text().catch(() => '')).slice(0, 300);
    if (response.ok) return;
    // What it finds wrong it would find wrong again; what else it may say is about the way, or about who asks.
    if (response.status !== 400 && response.status !== 422) throw away(`status ${response.status} ${said}`);
    this.log.warn({ event: id, status: response.status, said }, 'the data catalogue refuses an event');
  }
}

function away(found: string, cause?: unknown): ThroughlineError {
  return new ThroughlineError('TL_CATALOG_UNREACHABLE', 'The data catalogue does not take events', {
    found,
    cause,
  });
}
