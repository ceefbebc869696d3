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
  environments: defineSearchAttributeKey('Environment', 'KEYWORD_LIST'),
} as const;
