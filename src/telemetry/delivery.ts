// Reads the history of a release, projects it, and hands the spans over. Used by the activities that deliver traces, and
// by `throughline trace`.
import type { Client } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/client';
import type { ReleaseId } from '../domain/ids.js';
import { type HistoryEvent, type ReleaseRun, readRun } from './history.js';
import { type ProjectedTrace, projectTrace } from './projection.js';

/** A reset of a reset, and so on: more than this is nobody's release any more. */
const MAX_RUNS = 20;

/** Every run of a release that Temporal still has, the newest last. Throws WorkflowNotFoundError. */
export async function runsOf(
  client: Client,
  release: ReleaseId,
  /** The newest, where it is known. */
  newest?: string,
): Promise<ReleaseRun[]> {
  const runs: ReleaseRun[] = [];
  let next = newest ?? (await client.workflow.getHandle(release).describe()).runId;
  while (next && runs.length < MAX_RUNS) {
    const run = await readRunOf(client, release, next).catch((error) => {
      // Of earlier runs only what retention has left; without the newest there is nothing.
      if (runs.length > 0 && error instanceof WorkflowNotFoundError) return undefined;
      throw error;
    });
    if (!run) break;
    runs.unshift(run);
    next = run.base ?? '';
  }
  return runs;
}

async function readRunOf(client: Client, release: ReleaseId, runId: string): Promise<ReleaseRun> {
  const { events } = await client.workflow.getHandle(release, runId).fetchHistory();
  return readRun(runId, (events ?? []) as HistoryEvent[]);
}

export async function traceOf(client: Client, release: ReleaseId): Promise<ProjectedTrace> {
  return projectTrace(await runsOf(client, release));
}

/** What there was to say of the runs when the last of them had so many events. */
export function traceAt(
  runs: readonly ReleaseRun[],
  runId: string,
  events: number,
): ProjectedTrace | undefined {
  const index = runs.findIndex((run) => run.runId === runId);
  const run = runs[index];
  if (!run) return undefined;
  return projectTrace([...runs.slice(0, index), readRun(runId, run.events.slice(0, events))]);
}
