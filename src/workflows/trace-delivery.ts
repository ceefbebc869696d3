// Delivers the trace of a release as its stages end, and its end, however long its collector is away. The spans are
// computed from the release's history each time; kept here is only which of them a collector has answered for.
import { continueAsNew, sleep, workflowInfo } from '@temporalio/workflow';
import type { SpanRecord, TracePosition } from '../activities/index.js';
import type { ReleaseId } from '../domain/ids.js';
import { activities } from './policies.js';

/** What 0.1.0 gave it: the spans themselves. */
type Spans = readonly SpanRecord[];

export async function deliverTrace(
  of: ReleaseId | Spans,
  before: readonly string[] = [],
  from?: TracePosition,
): Promise<number> {
  if (typeof of !== 'string') {
    await activities('deliver', `${of.length} spans`).deliverSpans(of);
    return of.length;
  }
  const delivered = new Set(before);
  let position = from;
  for (;;) {
    // One waits and changes nothing, the other sends and is short: a worker that dies between the collector's answer and
    // Temporal's is the only way to send a span again.
    position = await activities('follow', `until a stage of ${of} ends`).followRelease(of, position);
    if (!position.exported) return delivered.size;
    const sent = await activities('deliver', `what has ended of ${of}`).exportTrace(of, [...delivered]);
    for (const id of sent) delivered.add(id);
    if (position.closed) return delivered.size;
    if (workflowInfo().continueAsNewSuggested) {
      await continueAsNew<typeof deliverTrace>(of, [...delivered], position);
    }
  }
}

/** How often it is looked for releases whose trace was not delivered. */
const LOOK = '1 minute';
const LOOKS = 200;
/** How far back it looks: as a rule, and the first time. Hours. */
const RECENT = 2;
const LONG_AGO = 7 * 24;

/** Finds releases that have ended without their trace, and has it delivered. Runs for ever. */
export async function reconcileTraces(): Promise<void> {
  for (let looks = 0; looks < LOOKS; looks += 1) {
    await activities('reconcile', 'releases without their trace').reconcileTraces(
      looks === 0 ? LONG_AGO : RECENT,
    );
    await sleep(LOOK);
  }
  await continueAsNew<typeof reconcileTraces>();
}
