// Sends the traces of releases to the collector. Works from Temporal alone, so that any worker can, at any time: which
// releases there are says visibility, what happened in them their histories, and what was sent before the state that the
// workflow keeps.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Resource } from '@opentelemetry/resources';
import type { SpanExporter } from '@opentelemetry/sdk-trace-base';
import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import type { DeliveryMemory, DeliveryState, SpanRecord, TracePosition } from '../activities/index.js';
import { messageOf, ThroughlineError } from '../domain/errors.js';
import type { ReleaseId } from '../domain/ids.js';
import { RELEASE_WORKFLOW } from '../domain/temporal-names.js';
import { deliver } from '../telemetry/deliver.js';
import { runsOf, traceAt } from '../telemetry/delivery.js';
import type { ReleaseRun } from '../telemetry/history.js';
import { projectTrace } from '../telemetry/projection.js';
import type { ActivityContext } from './activity-context.js';

/** How often it is looked for releases that have ended, and how far rounds are apart: those of one share its cost. */
const LOOK_MS = 1_000;
const ROUND_MS = 5_000;
/** A release that goes on is looked at after this time, again where something has happened, later and later otherwise. */
const FIRST_LOOK_MS = 5_000;
const LAST_LOOK_MS = 60_000;
/** Visibility may be that late with what has happened. */
const LATE_MS = 30_000;
/** As a rule it is not: everything that may have been late is looked at this often, and what runs; in between the newest. */
const WHOLE_LOOK_MS = 10_000;
const OFTEN_LATE_MS = 2_000;
/** How far back it looks where nothing is known: as long as a collector may have been away. */
const LONG_AGO_MS = 7 * 86_400_000;
/** A round is no larger, and an activity that finds nothing ends after this time. */
const MOST_RELEASES = 100;
const ENOUGH_MS = 30 * 60_000;
const PAGE = 500;

export interface TraceDependencies {
  readonly client: Client;
  readonly exporter: SpanExporter | undefined;
  readonly resource: Resource;
}

/** A release as visibility has it. */
interface Listed {
  readonly release: ReleaseId;
  readonly runId: string;
  /** Milliseconds since 1970; undefined while it goes on. */
  readonly closedAt: number | undefined;
}

/** What is to be sent of a release, and what is known when it has been. */
interface Parcel extends Listed {
  readonly spans: readonly SpanRecord[];
  readonly position: TracePosition | undefined;
  /** Another run goes on where this one was reset. */
  readonly goesOn?: boolean;
}

/** When something is looked at again. */
interface Turn {
  readonly at: number;
  readonly wait: number;
  /** How long the history was. */
  readonly events: number;
}

export class TraceDelivery {
  /** Releases that go on: what visibility has said so far. */
  private readonly running = new Map<ReleaseId, string>();
  private listedAt: number | undefined;
  private wholeLookAt = 0;
  private newestClosed = 0;
  private readonly turns = new Map<string, Turn>();
  private lastRound = 0;

  constructor(private readonly dependencies: TraceDependencies) {}

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
      const whole = Date.now() - this.wholeLookAt >= WHOLE_LOOK_MS;
      if (whole) this.wholeLookAt = Date.now();
      const closed = await this.closedSince(state, whole);
      if (whole) remember({ undelivered: closed.length } satisfies DeliveryMemory);
      const due = closed.filter(({ runId }) => this.isDue(runId));
      const open = await this.dueOfRunning(whole);
      if (due.length + open.length > 0) {
        const early = this.lastRound + ROUND_MS - Date.now();
        if (early > 0) {
          await sleep(early, undefined, { signal });
          this.lastRound = 0; // what has ended meanwhile comes along
          if (whole) this.wholeLookAt = 0;
          continue;
        }
        report(`sending traces of ${due.length + open.length} releases`);
        const parcels = await this.pack([...due, ...open].slice(0, MOST_RELEASES), state);
        this.lastRound = Date.now();
        const sent = await this.send(parcels, exporter);
        if (sent.length > 0) return this.after(state, whole ? closed : undefined, sent);
      }
      await sleep(LOOK_MS, undefined, { signal });
    }
    return state;
  }

  /** Runs that have closed and have not been seen to. */
  private async closedSince({ closedUntil, closed }: DeliveryState, whole: boolean): Promise<Listed[]> {
    const since = whole
      ? closedUntil
      : isoOf(Math.max(Date.parse(closedUntil), this.newestClosed - OFTEN_LATE_MS));
    const found: Listed[] = [];
    for await (const one of this.list(`CloseTime >= '${since}'`)) {
      this.newestClosed = Math.max(this.newestClosed, one.closedAt ?? 0);
      if (this.running.get(one.release) === one.runId) this.running.delete(one.release);
      if (closed[one.runId] === undefined) found.push(one);
    }
    return found;
  }

  /** Releases that go on, whose turn it is, and whose history has grown. */
  private async dueOfRunning(whole: boolean): Promise<Listed[]> {
    const now = Date.now();
    if (whole) await this.listRunning(now);
    const due: Listed[] = [];
    for (const [release, runId] of this.running) {
      const turn = this.turns.get(release);
      if (!turn || turn.at > now) continue;
      const events = await this.lengthOf(release, runId);
      const wait = events === turn.events ? Math.min(turn.wait * 1.5, LAST_LOOK_MS) : FIRST_LOOK_MS;
      this.turns.set(release, { at: now + wait, wait, events });
      if (events > turn.events) due.push({ release, runId, closedAt: undefined });
    }
    return due;
  }

  private async listRunning(now: number): Promise<void> {
    const since = this.listedAt === undefined ? '' : ` AND StartTime >= '${isoOf(this.listedAt - LATE_MS)}'`;
    for await (const { release, runId } of this.list(`ExecutionStatus = 'Running'${since}`)) {
      if (this.running.get(release) === runId) continue;
      this.running.set(release, runId);
      this.turns.set(release, { at: now + FIRST_LOOK_MS, wait: FIRST_LOOK_MS, events: 0 });
    }
    this.listedAt = now;
  }

  private async lengthOf(release: ReleaseId, runId: string): Promise<number> {
    try {
      return (await this.dependencies.client.workflow.getHandle(release, runId).describe()).historyLength;
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error;
      this.running.delete(release);
      return 0;
    }
  }

  private async *list(condition: string): AsyncIterable<Listed> {
    const { client } = this.dependencies;
    let nextPageToken = new Uint8Array();
    do {
      const page = await client.workflowService.listWorkflowExecutions({
        namespace: client.options.namespace,
        query: `WorkflowType = '${RELEASE_WORKFLOW}' AND ${condition}`,
        pageSize: PAGE,
        nextPageToken,
      });
      for (const { execution, closeTime } of page.executions ?? []) {
        yield {
          release: (execution?.workflowId ?? '') as ReleaseId,
          runId: execution?.runId ?? '',
          closedAt: closeTime ? Number(closeTime.seconds) * 1000 + (closeTime.nanos ?? 0) / 1e6 : undefined,
        };
      }
      nextPageToken = new Uint8Array(page.nextPageToken ?? []);
    } while (nextPageToken.length > 0);
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
        else this.later(parcel.runId);
      }
      if (sent.length > 0) return sent;
      for (const { runId } of parcels) this.later(runId);
      throw new ThroughlineError('TL_COLLECTOR_UNREACHABLE', 'The collector does not take traces', {
        found: messageOf(cause),
      });
    }
  }

  private isDue(key: string): boolean {
    return (this.turns.get(key)?.at ?? 0) <= Date.now();
  }

  private later(key: string): void {
    const wait = Math.min((this.turns.get(key)?.wait ?? LOOK_MS) * 2, LAST_LOOK_MS);
    this.turns.set(key, { at: Date.now() + wait, wait, events: 0 });
  }

  /** `listed` is everything that was left to be sent; without it nothing is known of what is older. */
  private after(
    state: DeliveryState,
    listed: readonly Listed[] | undefined,
    sent: readonly Parcel[],
  ): DeliveryState {
    const open = { ...state.open };
    const closed: Record<string, string> = { ...state.closed };
    for (const { release, runId, closedAt, position, goesOn } of sent) {
      this.turns.delete(runId);
      if (closedAt === undefined) {
        if (position) open[release] = position;
        continue;
      }
      closed[runId] = isoOf(closedAt);
      if (goesOn) continue;
      delete open[release];
      if (!this.running.has(release)) this.turns.delete(release);
    }
    if (!listed) return { ...state, closed, open };
    // Up to the first that is still to be sent; without one up to now, as late as visibility may be.
    const left = listed
      .filter(({ runId }) => closed[runId] === undefined)
      .map(({ closedAt }) => closedAt ?? 0);
    const closedUntil = isoOf(
      Math.max(Date.parse(state.closedUntil), Math.min(Date.now() - LATE_MS, ...left)),
    );
    return {
      closedUntil,
      closed: Object.fromEntries(Object.entries(closed).filter(([, at]) => at >= closedUntil)),
      open,
    };
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

const isoOf = (milliseconds: number) => new Date(milliseconds).toISOString();
