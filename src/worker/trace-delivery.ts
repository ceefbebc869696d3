// Sends the traces of releases to the collector. Works from Temporal alone, so that any worker can, at any time: which
// releases there are says visibility, what happened in them their histories, and what was sent before the state that the
// workflow keeps.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Resource } from '@opentelemetry/resources';
import type { SpanExporter } from '@opentelemetry/sdk-trace-base';
import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import type { DeliveryMemory, DeliveryState, SpanRecord, TracePosition } from '../activities/index.js';
import { messageOf, ThroughlineError } from '../domain/errors.js';
import { deliver } from '../telemetry/deliver.js';
import { runsOf, traceAt } from '../telemetry/delivery.js';
import type { ReleaseRun } from '../telemetry/history.js';
import { projectTrace } from '../telemetry/projection.js';
import type { ActivityContext } from './activity-context.js';
import { advance, type Sent } from './delivery-state.js';
import { type Listed, LOOK_MS, ReleaseFeed } from './release-feed.js';

/** How far rounds are apart: what has ended meanwhile shares the cost of one. */
const ROUND_MS = 5_000;
/** How far back it looks where nothing is known: as long as a collector may have been away. */
const LONG_AGO_MS = 7 * 86_400_000;
/** A round is no larger, and an activity that finds nothing ends after this time. */
const MOST_RELEASES = 100;
const ENOUGH_MS = 30 * 60_000;

export interface TraceDependencies {
  readonly client: Client;
  readonly exporter: SpanExporter | undefined;
  readonly resource: Resource;
}

/** What is to be sent of a release, and what is known when it has been. */
interface Parcel extends Sent {
  readonly spans: readonly SpanRecord[];
}

export class TraceDelivery {
  private readonly feed: ReleaseFeed;
  private lastRound = 0;

  constructor(private readonly dependencies: TraceDependencies) {
    this.feed = new ReleaseFeed(dependencies.client);
  }

  /** Waits until there is something to send, and sends it. Throws TL_COLLECTOR_UNREACHABLE where nothing could be sent. */
  async deliver(
    before: DeliveryState | undefined,
    { signal, report, remember }: Pick<ActivityContext, 'signal' | 'report' | 'remember'>,
  ): Promise<DeliveryState> {
    const { exporter } = this.dependencies;
    if (!exporter) {
      throw new ThroughlineError('TL_COLLECTOR_UNREACHABLE', 'This worker knows no collector', {
        expected: 'OTEL_EXPORTER_OTLP_ENDPOINT, as another worker of this task queue has it',
      });
    }
    const state = before ?? {
      closedUntil: new Date(Date.now() - LONG_AGO_MS).toISOString(),
      closed: {},
      open: {},
    };
    const enough = Date.now() + ENOUGH_MS;
    while (Date.now() < enough) {
      report('waiting for something of a release to end');
      const { whole, closed, due } = await this.feed.look(
        state.closedUntil,
        ({ runId }) => state.closed[runId] !== undefined,
      );
      if (whole) remember({ undelivered: closed.length } satisfies DeliveryMemory);
      if (due.length > 0) {
        const early = this.lastRound + ROUND_MS - Date.now();
        if (early > 0) {
          await sleep(early, undefined, { signal });
          this.lastRound = 0; // what has ended meanwhile comes along
          if (whole) this.feed.lookAtAll();
          continue;
        }
        report(`sending traces of ${due.length} releases`);
        const parcels = await this.pack(due.slice(0, MOST_RELEASES), state);
        this.lastRound = Date.now();
        const sent = await this.send(parcels, exporter);
        if (sent.length > 0) return advance(state, whole ? closed : undefined, sent, this.feed);
      }
      await sleep(LOOK_MS, undefined, { signal });
    }
    return state;
  }

  /** What there is to send. A release that Temporal no longer has will not come back, and has nothing. */
  private async pack(listed: readonly Listed[], state: DeliveryState): Promise<Parcel[]> {
    const parcels: Parcel[] = [];
    for (const one of listed) {
      const runs = await runsOf(this.dependencies.client, one.release, one.runId).catch((error) => {
        if (error instanceof WorkflowNotFoundError) return [];
        throw error;
      });
      const newest = runs.at(-1);
      if (!newest) {
        parcels.push({ ...one, spans: [], position: undefined });
        continue;
      }
      if (one.closedAt !== undefined && newest.closing?.byReset) {
        parcels.push({ ...one, spans: [], position: undefined, goesOn: true }); // another run has all of it
        continue;
      }
      const known = new Set(sentBefore(runs, state.open[one.release]));
      const spans = projectTrace(runs).spans.filter(({ spanId }) => !known.has(spanId));
      const position = { runId: newest.runId, events: newest.events.length };
      if (spans.length > 0 || one.closedAt !== undefined) parcels.push({ ...one, spans, position });
      else this.feed.done(one);
    }
    return parcels;
  }

  /** All of them at once, and one by one where the collector does not take that: one bad trace holds no other up. */
  private async send(parcels: readonly Parcel[], exporter: SpanExporter): Promise<readonly Parcel[]> {
    const export_ = (spans: readonly SpanRecord[]) =>
      spans.length > 0 ? deliver(spans, exporter, this.dependencies.resource) : Promise.resolve();
    try {
      await export_(parcels.flatMap(({ spans }) => spans));
      return parcels;
    } catch (cause) {
      const sent: Parcel[] = [];
      for (const parcel of parcels.length > 1 ? parcels : []) {
        const taken = await export_(parcel.spans).then(
          () => true,
          () => false,
        );
        if (taken) sent.push(parcel);
        else if (sent.length === 0)
          break; // it takes nothing at all
        else this.feed.later(parcel.runId);
      }
      if (sent.length > 0) return sent;
      for (const { runId } of parcels) this.feed.later(runId);
      throw new ThroughlineError('TL_COLLECTOR_UNREACHABLE', 'The collector does not take traces', {
        found: messageOf(cause),
      });
    }
  }
}

/** Ids of the spans that have been sent: up to a place in history, or with a run that had come to an end of its own. */
function sentBefore(runs: readonly ReleaseRun[], position: TracePosition | undefined): string[] {
  const at = position && traceAt(runs, position.runId, position.events);
  if (at) return at.spans.map(({ spanId }) => spanId);
  const ended = runs.slice(0, -1).findLastIndex(({ closing }) => closing && !closing.byReset);
  if (ended < 0) return [];
  return projectTrace(runs.slice(0, ended + 1)).spans.map(({ spanId }) => spanId);
}
