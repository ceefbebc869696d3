// Tells a data catalogue what releases have done. What is to be sent is in the store; one that is away delays that alone.
import { continueAsNew, workflowInfo } from '@temporalio/workflow';
import { lineageQueueOf } from '../domain/temporal-names.js';
import { activities } from './policies.js';

/** Runs for ever. */
export async function sendOpenLineage(): Promise<void> {
  const { taskQueue } = workflowInfo();
  while (!workflowInfo().continueAsNewSuggested) {
    await activities('deliver', 'events of OpenLineage', undefined, {
      taskQueue: lineageQueueOf(taskQueue),
    }).sendEvents();
  }
  await continueAsNew<typeof sendOpenLineage>();
}
