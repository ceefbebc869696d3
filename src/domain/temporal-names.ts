// Names under which releases stand in Temporal: of workflows, headers and memo fields. Changing one of them loses what
// was written under it before.

/** As in @temporalio/interceptors-opentelemetry-v2, `TRACE_HEADER`. */
export const TRACE_HEADER = '_tracer-data';
/** A release's record when the activity was scheduled. */
export const RECORD_HEADER = 'throughline-record';

/** Memo field that holds the final ReleaseRecord of a release, readable without any worker. */
export const RECORD_MEMO = 'release';
/** Memo field that holds the fingerprint of the request behind an idempotency key. */
export const FINGERPRINT_MEMO = 'request';

export const RELEASE_WORKFLOW = 'release';
export const STATUS_QUERY = 'status';
/** Update by which somebody approves or refuses a deployment. */
export const DECIDE_UPDATE = 'decide';
/** Signal that the caller has asked for the release. */
export const POLLED_SIGNAL = 'polled';
/** Memo field with who triggered a release, and for how long it goes on without being asked for. */
export const CALLER_MEMO = 'caller';

/** Writes what releases deploy to a branch of a GitOps repository; there is one for each branch that is in use. */
export const WRITER_WORKFLOW = 'writeGitOps';
export const writerIdOf = (repository: string, branch: string) =>
  `throughline-gitops-${repository}#${branch}`;
export const WRITE_UPDATE = 'write';
/** Update by which a release takes back what has not been written. */
export const WITHDRAW_UPDATE = 'withdraw';
export const WRITER_STATE_QUERY = 'state';
/** Type of the failure by which the writer puts off those who ask while it begins a new run. */
export const WRITER_RENEWS = 'WriterRenews';

/** Delivers the traces of all releases of a namespace; there is one. */
export const DELIVERY_WORKFLOW = 'deliverTraces';
export const DELIVERY_ID = 'throughline-traces';

/** Tells a listener of releases; there is one for each. */
export const EVENTS_WORKFLOW = 'deliverEvents';
export const eventsIdOf = (listener: string) => `throughline-events-${listener}`;

/** Writes the lineage of all releases of a namespace; there is one. */
export const LINEAGE_WORKFLOW = 'recordLineage';
export const LINEAGE_ID = 'throughline-lineage';

/** Tells a data catalogue what releases have done; there is one. */
export const CATALOG_WORKFLOW = 'sendOpenLineage';
export const CATALOG_ID = 'throughline-openlineage';

/** Compares what runs with what was released; a schedule of the same name starts it. */
export const DRIFT_WORKFLOW = 'checkDrift';
export const DRIFT_ID = 'throughline-drift';
/** Memo field of its end: how many targets have drifted. */
export const DRIFT_MEMO = 'drifted';

/** Where the store is written and read: only processes that reach it poll it. */
export const lineageQueueOf = (taskQueue: string) => `${taskQueue}-lineage`;
