// Which releases have changed: what visibility and the lengths of histories say. For whatever is computed from histories
// and must follow them, as the traces and the lineage do.
import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import type { ReleaseId } from '../domain/ids.js';
import { RELEASE_WORKFLOW } from '../domain/temporal-names.js';

/** How often to look. */
export const LOOK_MS = 1_000;
/** A release that goes on is looked at after this time, again where something has happened, later and later otherwise. */
const FIRST_LOOK_MS = 5_000;
const LAST_LOOK_MS = 60_000;
/** Visibility may be that late with what has happened. */
export const LATE_MS = 30_000;
/** As a rule it is not: everything that may have been late is looked at this often, and what runs; in between the newest. */
const WHOLE_LOOK_MS = 10_000;
const OFTEN_LATE_MS = 2_000;
const PAGE = 500;

/** A release as visibility has it. */
export interface Listed {
  readonly release: ReleaseId;
  readonly runId: string;
  /** Milliseconds since 1970; undefined while it goes on. */
  readonly closedAt: number | undefined;
  /** Of one that goes on: how long its history is. */
  readonly events?: number;
}

/** What a look has found. */
export interface Look {
  /** Whether everything was looked at that may have been late; otherwise nothing is known of what is older. */
  readonly whole: boolean;
  /** Runs that have closed; of one that was put off, too. */
  readonly closed: readonly Listed[];
  /** Those of them whose turn it is, and releases that go on whose history has grown. */
  readonly due: readonly Listed[];
}

/** When something is looked at again. */
interface Turn {
  readonly at: number;
  readonly wait: number;
  /** How long the history was when it was seen to. */
  readonly events: number;
}

export class ReleaseFeed {
  /** Releases that go on: what visibility has said so far. */
  private readonly running = new Map<ReleaseId, string>();
  private listedAt: number | undefined;
  private wholeLookAt = 0;
  private newestClosed = 0;
  private readonly turns = new Map<string, Turn>();

  constructor(private readonly client: Client) {}

  /** What has changed. `known` are runs that closed and have been seen to; everything before `closedUntil` has been. */
  async look(closedUntil: string, known: (run: Listed) => boolean): Promise<Look> {
    const whole = Date.now() - this.wholeLookAt >= WHOLE_LOOK_MS;
    if (whole) this.wholeLookAt = Date.now();
    const closed = (await this.closedSince(closedUntil, whole)).filter((run) => !known(run));
    const due = closed.filter(({ runId }) => (this.turns.get(runId)?.at ?? 0) <= Date.now());
    return { whole, closed, due: [...due, ...(await this.dueOfRunning(whole))] };
  }

  /** The next look is a whole one. */
  lookAtAll(): void {
    this.wholeLookAt = 0;
  }

  /** A run that closed is not to be seen to for a while, longer each time. */
  later(runId: string): void {
    const wait = Math.min((this.turns.get(runId)?.wait ?? LOOK_MS) * 2, LAST_LOOK_MS);
    this.turns.set(runId, { at: Date.now() + wait, wait, events: 0 });
  }

  /** It has been seen to. */
  done({ release, runId, closedAt, events = 0 }: Listed): void {
    this.turns.delete(runId);
    if (closedAt === undefined)
      this.turns.set(release, { at: Date.now() + FIRST_LOOK_MS, wait: FIRST_LOOK_MS, events });
    else if (!this.running.has(release)) this.turns.delete(release);
  }

  private async closedSince(closedUntil: string, whole: boolean): Promise<Listed[]> {
    const since = whole
      ? closedUntil
      : isoOf(Math.max(Date.parse(closedUntil), this.newestClosed - OFTEN_LATE_MS));
    const found: Listed[] = [];
    for await (const one of this.list(`CloseTime >= '${since}'`)) {
      this.newestClosed = Math.max(this.newestClosed, one.closedAt ?? 0);
      if (this.running.get(one.release) === one.runId) this.running.delete(one.release);
      found.push(one);
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
      if (events > turn.events) {
        due.push({ release, runId, closedAt: undefined, events });
        continue; // until it is done
      }
      const wait = Math.min(turn.wait * 1.5, LAST_LOOK_MS);
      this.turns.set(release, { at: now + wait, wait, events });
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
      return (await this.client.workflow.getHandle(release, runId).describe()).historyLength;
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error;
      this.running.delete(release);
      return 0;
    }
  }

  /** Every release that Temporal still has. */
  all(): AsyncIterable<Listed> {
    return this.list(`StartTime >= '${isoOf(0)}'`);
  }

  private async *list(condition: string): AsyncIterable<Listed> {
    const { client } = this;
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
}

const isoOf = (milliseconds: number) => new Date(milliseconds).toISOString();
