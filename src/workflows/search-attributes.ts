// The search attributes of a release: what `temporal workflow list --query` can ask for. Free of I/O: workflow code and
// the processes that register them both use this list.
import { defineSearchAttributeKey } from '@temporalio/common';

const keyword = (name: string) => defineSearchAttributeKey(name, 'KEYWORD');

export const SEARCH_ATTRIBUTES = {
  model: keyword('ModelName'),
  commit: keyword('SourceCommit'),
  dataset: keyword('DatasetVersion'),
  modelId: keyword('ModelId'),
  image: keyword('ImageDigest'),
  trace: keyword('TraceId'),
  spinnaker: keyword('SpinnakerExecution'),
  outcome: keyword('ReleaseOutcome'),
} as const;

/** Memo field that holds the final {@link ReleaseRecord} of a release, readable without any worker. */
export const RECORD_MEMO = 'release';
/** Memo field that holds the fingerprint of the request behind an idempotency key. */
export const FINGERPRINT_MEMO = 'request';

export const RELEASE_WORKFLOW = 'release';
export const STATUS_QUERY = 'status';

/** Delivers the traces of all releases of a namespace; there is one. */
export const DELIVERY_WORKFLOW = 'deliverTraces';
export const DELIVERY_ID = 'throughline-traces';
