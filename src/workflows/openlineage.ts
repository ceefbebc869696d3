// Tells a data catalogue what releases have done. What is to be sent is in the store; one that is away delays that alone.
import { continueAsNew, workflowInfo } from '@temporalio/workflow';
import { lineageActivities } from './policies.js';

/** Runs for ever. */
export async function sendOpenLineage(): Promise<void> {
  while (!workflowInfo().continueAsNewSuggested) {
    await lineageActivities('deliver', 'events of OpenLineage').sendEvents();
  }
  await continueAsNew<typeof sendOpenLineage>();
}
