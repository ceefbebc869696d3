// How far something that follows all releases has come, as its workflow keeps it.
import type { DeliveryState, TracePosition } from '../activities/index.js';
import { LATE_MS, type Listed, type ReleaseFeed } from './release-feed.js';

/** A release of which something has been sent, and what is known by that. */
export interface Sent extends Listed {
  readonly position: TracePosition | undefined;
  /** Another run goes on where this one was reset. */
  readonly goesOn?: boolean;
}

/** `listed` is everything that was left to be sent; without it nothing is known of what is older. */
export function advance(
  state: DeliveryState,
  listed: readonly Listed[] | undefined,
  sent: readonly Sent[],
  feed: ReleaseFeed,
): DeliveryState {
  const open = { ...state.open };
  const closed: Record<string, string> = { ...state.closed };
  for (const parcel of sent) {
    const { release, runId, closedAt, position, goesOn } = parcel;
    feed.done(parcel);
    if (closedAt === undefined) {
      if (position) open[release] = position;
      continue;
    }
    closed[runId] = isoOf(closedAt);
    if (goesOn) continue;
    delete open[release];
  }
  if (!listed) return { ...state, closed, open };
  // Up to the first that is still to be sent; without one up to now, as late as visibility may be.
  const left = listed.filter(({ runId }) => closed[runId] === undefined).map(({ closedAt }) => closedAt ?? 0);
  const closedUntil = isoOf(Math.max(Date.parse(state.closedUntil), Math.min(Date.now() - LATE_MS, ...left)));
  return {
    closedUntil,
    closed: Object.fromEntries(Object.entries(closed).filter(([, at]) => at >= closedUntil)),
    open,
  };
}

const isoOf = (milliseconds: number) => new Date(milliseconds).toISOString();
