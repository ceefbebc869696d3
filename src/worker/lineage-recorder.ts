// Writes what releases have done into the lineage store, as their stages end and when they do. It works from Temporal's
// histories, as the delivery of traces does, and the store itself says how far it has come: both change in one
// transaction, so there is nothing that a crash could tear apart, and a store that was lost fills itself again.
import { setTimeout as sleep } from 'node:timers/promises';
import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import type { RecordingMemory } from '../activities/index.js';
import type { ReleaseId } from '../domain/ids.js';
import { openLineageOf } from '../lineage/openlineage.js';
import { type LineageRecord, lineageOf } from '../lineage/record.js';
import type { LineageStore } from '../lineage/store.js';
import { runsOf } from '../telemetry/delivery.js';
import type { Logger } from '../telemetry/log.js';
import type { ActivityContext } from './activity-context.js';
import { GitOpsScan } from './gitops-scan.js';
import { LATE_MS, type Listed, LOOK_MS, ReleaseFeed } from './release-feed.js';

/** Histories that are read at once, and releases that are written at once. */
const AT_ONCE = 8;
const BATCH = 100;
/** An activity that finds nothing ends after this time. */
const ENOUGH_MS = 30 * 60_000;
/** How often the position is written where nothing else is. */
const IDLE_MS = 60_000;

export interface RecorderDependencies {
  readonly client: Client;
  /** Temporal's namespace: what the position is of. */
  readonly namespace: string;
  readonly store: LineageStore;
  /** Where mirrors of git repositories lie. */
  readonly cache: string;
  readonly log: Logger;
  /** How often GitOps repositories are looked at for what was done by hand. */
  readonly scanSeconds?: number;
  /** Namespace of jobs in a data catalogue, where there is one that is to be told. */
  readonly openLineage?: string | undefined;
}

type Watching = Pick<ActivityContext, 'signal' | 'report'>;
type Following = Watching & Pick<ActivityContext, 'remember'>;

export class LineageRecorder {
  private readonly feed: ReleaseFeed;
  /** Runs that have closed and are in the store, with the time of their end. */
  private readonly recorded = new Map<string, number>();

  private readonly gitops: GitOpsScan;
  private scannedAt = 0;

  constructor(private readonly dependencies: RecorderDependencies) {
    const { client, cache, store, log } = dependencies;
    this.feed = new ReleaseFeed(client);
    this.gitops = new GitOpsScan(cache, store, log);
  }

  /** Follows the releases for half an hour. Throws TL_STORE_UNREACHABLE. */
  async follow({ signal, report, remember }: Following): Promise<void> {
    const { scanSeconds = 15 } = this.dependencies;
    const enough = Date.now() + ENOUGH_MS;
    let since = await this.begin();
    let writtenAt = 0;
    while (Date.now() < enough) {
      report('waiting for something of a release to end');
      const { whole, closed, due } = await this.feed.look(since, ({ runId }) => this.recorded.has(runId));
      if (closed.length > 0) remember({ unrecorded: closed.length } satisfies RecordingMemory); // should that fail
      const unknown = await this.leaveOutRecorded(due);
      for (let from = 0; from < unknown.length; from += BATCH) {
        signal.throwIfAborted();
        report(`recording ${unknown.length - from} releases`);
        await this.record(unknown.slice(from, from + BATCH));
      }
      if (whole) {
        const left = closed.filter(({ runId }) => !this.recorded.has(runId)).length;
        remember({ unrecorded: left } satisfies RecordingMemory);
      }
      if (whole && (unknown.length > 0 || Date.now() - writtenAt > IDLE_MS)) {
        since = await this.advance(since, closed);
        writtenAt = Date.now();
      }
      if (Date.now() - this.scannedAt > scanSeconds * 1000) {
        report('looking at the GitOps repositories');
        await this.gitops.scan(signal);
        this.scannedAt = Date.now();
      }
      await sleep(LOOK_MS, undefined, { signal });
    }
  }

  /** Records every release that Temporal still knows. Gives how many. Throws TL_STORE_UNREACHABLE. */
  async rebuild({ signal, report }: Watching): Promise<number> {
    let count = 0;
    let batch: Listed[] = [];
    const write = async () => {
      count += await this.record(batch);
      report(`${count} releases`);
      batch = [];
    };
    for await (const one of this.feed.all()) {
      signal.throwIfAborted();
      batch.push(one);
      if (batch.length >= BATCH) await write();
    }
    await write();
    report('reading the GitOps repositories');
    await this.gitops.scan(signal, true);
    return count;
  }

  private async begin(): Promise<string> {
    const { store, namespace } = this.dependencies;
    return ((await store.position(namespace)) ?? new Date(0)).toISOString();
  }

  /** What another process has recorded, or this one before it was started anew. */
  private async leaveOutRecorded(due: readonly Listed[]): Promise<Listed[]> {
    const closed = due.filter(({ closedAt }) => closedAt !== undefined);
    if (closed.length === 0) return [...due];
    const there = await this.dependencies.store.ended(closed.map(({ release }) => release));
    return due.filter((one) => {
      if (one.closedAt === undefined || !there.get(one.release)?.includes(one.runId)) return true;
      this.seen(one);
      return false;
    });
  }

  private async record(listed: readonly Listed[]): Promise<number> {
    const records = (await inParallel(listed, AT_ONCE, (one) => this.read(one))).filter(
      (record) => record !== undefined,
    );
    const { store, openLineage } = this.dependencies;
    const events = openLineage ? records.flatMap((record) => openLineageOf(record, openLineage)) : [];
    await store.put(records, undefined, events);
    for (const one of listed) this.seen(one);
    return records.length;
  }

  /** Undefined where retention was faster, or where another run goes on. */
  private async read({ release, runId, closedAt }: Listed): Promise<LineageRecord | undefined> {
    try {
      const runs = await runsOf(this.dependencies.client, release as ReleaseId, runId);
      if (closedAt !== undefined && runs.at(-1)?.closing?.byReset) return undefined;
      return lineageOf(runs);
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return undefined;
      throw error;
    }
  }

  private seen(one: Listed): void {
    if (one.closedAt !== undefined) this.recorded.set(one.runId, one.closedAt);
    this.feed.done(one);
  }

  /** Up to the first that is still to be recorded; without one up to now, as late as visibility may be. */
  private async advance(since: string, closed: readonly Listed[]): Promise<string> {
    const { store, namespace } = this.dependencies;
    const left = closed.filter(({ runId }) => !this.recorded.has(runId)).map(({ closedAt }) => closedAt ?? 0);
    const until = new Date(Math.max(Date.parse(since), Math.min(Date.now() - LATE_MS, ...left)));
    await store.put([], { source: namespace, closedUntil: until });
    for (const [run, at] of this.recorded) if (at < until.getTime()) this.recorded.delete(run);
    return until.toISOString();
  }
}

async function inParallel<T, R>(all: readonly T[], width: number, run: (one: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let from = 0; from < all.length; from += width) {
    results.push(...(await Promise.all(all.slice(from, from + width).map(run))));
  }
  return results;
}
