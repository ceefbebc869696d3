// Writes what releases have done into the lineage store. It has no state of its own: the store says how far it has come. A
// store that is away delays what is written, and no release.
import { continueAsNew, workflowInfo } from '@temporalio/workflow';
import { lineageActivities } from './policies.js';

/** Runs for ever. */
export async function recordLineage(): Promise<void> {
  while (!workflowInfo().continueAsNewSuggested) {
    await lineageActivities('deliver', 'lineage of releases').recordReleases();
  }
  await continueAsNew<typeof recordLineage>();
}
