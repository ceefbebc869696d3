// Headers of activities, by name. Free of I/O: workflow code writes them, the projection reads them.

/** As in @temporalio/interceptors-opentelemetry-v2, `TRACE_HEADER`. */
export const TRACE_HEADER = '_tracer-data';
/** A release's record when the activity was scheduled. */
export const RECORD_HEADER = 'throughline-record';
