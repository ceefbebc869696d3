// Tells one listener of releases. How far it has been told is kept here, so that nothing is lost with a process; one that is
// away delays its own events, and nothing else.
import { continueAsNew, workflowInfo } from '@temporalio/workflow';
import type { DeliveryState } from '../activities/index.js';
import { activities } from './policies.js';

/** Runs for ever. `listener` names it without its URL. */
export async function deliverEvents(listener: string, before?: DeliveryState): Promise<void> {
  let state = before;
  while (!workflowInfo().continueAsNewSuggested) {
    state = await activities('deliver', 'events of releases').deliverEvents(listener, state);
  }
  await continueAsNew<typeof deliverEvents>(listener, state);
}
