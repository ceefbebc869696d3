// A release as it goes: Server-Sent Events (HTML standard, section 9.2). Events have the same ids in every gateway, so that
// whoever was cut off goes on in another one where it was (`Last-Event-ID`).
import { setTimeout as sleep } from 'node:timers/promises';
import { ThroughlineError } from '../domain/errors.js';
import { eventsAfter, eventsOf, LAST_EVENT, type ReleaseEvent } from '../releases/events.js';
import type { ReleaseService, ReleaseView } from '../releases/service.js';
import { describeProgress } from './present.js';

/** How often a release is looked at, however many follow it. Milliseconds. */
const LOOK_MS = 1_000;

/** What a follower gets: something that has happened, or what is being done just now. */
export type LiveEvent = ReleaseEvent | { readonly type: 'progress'; readonly text: string };

export interface FollowOptions {
  /** Id of the last event that the follower has; everything from the beginning where it has none. */
  readonly after: string | undefined;
  readonly signal: AbortSignal;
}

/** Looks at releases for everybody who follows them. */
export class LiveReleases {
  private readonly looked = new Map<string, { readonly at: number; readonly view: Promise<ReleaseView> }>();

  constructor(private readonly releases: ReleaseService) {}

  /** What happens to a release, until its end. Throws TL_RELEASE_NOT_FOUND. */
  async *follow(id: string, { after, signal }: FollowOptions): AsyncGenerator<LiveEvent> {
    let last = after;
    let doing = '';
    for (;;) {
      const view = await this.look(id).catch((error: unknown) => {
        // It goes on while Temporal is away; whoever follows it waits too.
        if (!(error instanceof ThroughlineError) || error.code !== 'TL_TEMPORAL_UNAVAILABLE') throw error;
        return undefined;
      });
      if (signal.aborted) return;
      if (view) {
        for (const event of eventsAfter(eventsOf(view.record), last)) {
          yield event;
          last = event.id;
        }
        if (view.record.outcome || last === LAST_EVENT) return;
      }
      const text = view ? describeProgress(view.record, view.pending) : 'waiting for Temporal';
      if (text !== doing) yield { type: 'progress', text };
      doing = text;
      await sleep(LOOK_MS, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
    }
  }

  private look(id: string): Promise<ReleaseView> {
    const before = this.looked.get(id);
    if (before && Date.now() - before.at < LOOK_MS * 0.9) return before.view;
    const view = this.releases.get(id);
    view.catch(() => undefined);
    const entry = { at: Date.now(), view };
    this.looked.set(id, entry);
    setTimeout(() => {
      if (this.looked.get(id) === entry) this.looked.delete(id);
    }, LOOK_MS * 2).unref();
    return view;
  }
}

/** A comment that keeps a connection open. */
export const KEEP_ALIVE = ': still here\n\n';

/** An event as text. */
export function serverSentEvent(event: LiveEvent): string {
  const { type } = event;
  const id = 'id' in event ? `id: ${event.id}\n` : '';
  return `${id}event: ${type}\ndata: ${JSON.stringify(event)}\n\n`;
}
