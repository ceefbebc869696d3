// Delivers the traces of releases as their stages end, and their ends, however long the collector is away and whatever
// became of the release. The spans are computed from its history each time; kept here is only how far they have been
// sent. One workflow does it for all releases: none of them has an event of its own for it, or waits for it.
import { continueAsNew, workflowInfo } from '@temporalio/workflow';
import type { DeliveryState, SpanRecord } from '../activities/index.js';
import type { ReleaseId } from '../domain/ids.js';
import { activities } from './policies.js';

/** Runs for ever. */
export async function deliverTraces(before?: DeliveryState): Promise<void> {
  let state = before;
  while (!workflowInfo().continueAsNewSuggested) {
    // Ends with the collector's answer, and what it says is then in history: a worker that dies between the two is the
    // only way to a span that is sent again.
    state = await activities('deliver', 'traces of releases').deliverTraces(state);
  }
  await continueAsNew<typeof deliverTraces>(state);
}

/** How 0.1.0 delivered a trace: a workflow for each release, with the spans. Releases of it may still start one. */
export async function deliverTrace(of: ReleaseId | readonly SpanRecord[]): Promise<number> {
  if (typeof of === 'string') return 0; // deliverTraces finds it
  await activities('deliver', `${of.length} spans`).deliverSpans(of);
  return of.length;
}
