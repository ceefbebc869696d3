// Reads the history of a release, projects it, and hands the spans over. Used by the activities that deliver traces, and
// by `throughline trace`.
import type { Client } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/client';
import type { ReleaseId } from '../domain/ids.js';
import { RELEASE_WORKFLOW } from '../workflows/search-attributes.js';
import { type HistoryEvent, type ReleaseRun, readRun } from './history.js';
import { type ProjectedTrace, projectTrace } from './projection.js';

/** A reset of a reset, and so on: more than this is nobody's release any more. */
const MAX_RUNS = 20;

/** Every run of a release that Temporal still has, the newest last. Throws WorkflowNotFoundError. */
export async function runsOf(client: Client, release: ReleaseId): Promise<ReleaseRun[]> {
  const { runId } = await client.workflow.getHandle(release).describe();
  const runs: ReleaseRun[] = [];
  for (let next: string | undefined = runId; next && runs.length < MAX_RUNS; ) {
    const run: ReleaseRun = await readRunOf(client, release, next).catch((error) => {
      // Of earlier runs only what retention has left; without the newest there is nothing.
      if (runs.length > 0 && error instanceof WorkflowNotFoundError) return undefined as never;
      throw error;
    });
    if (!run) break;
    runs.unshift(run);
    next = run.base;
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

export { RELEASE_WORKFLOW };
