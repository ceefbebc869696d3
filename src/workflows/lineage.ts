// Writes what releases have done into the lineage store. It has no state of its own: the store says how far it has come. A
// store that is away delays what is written, and no release.
import { continueAsNew, workflowInfo } from '@temporalio/workflow';
import { lineageQueueOf } from '../domain/temporal-names.js';
import { activities } from './policies.js';

/** Runs for ever. */
export async function recordLineage(): Promise<void> {
  const { taskQueue } = workflowInfo();
  while (!workflowInfo().continueAsNewSuggested) {
    await activities('deliver', 'lineage of releases', undefined, {
      taskQueue: lineageQueueOf(taskQueue),
    }).recordReleases();
  }
  await continueAsNew<typeof recordLineage>();
}
