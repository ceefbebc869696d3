// Delivers the trace of a release that has ended, however long its collector is away.
import type { SpanRecord } from '../activities/index.js';
import { activities } from './policies.js';

export async function deliverTrace(spans: readonly SpanRecord[]): Promise<void> {
  await activities('deliver', `${spans.length} spans`).deliverSpans(spans);
}
