// Names of metrics, by OpenTelemetry's semantic conventions (1.44) where they have one. Free of I/O: workflow code uses it.
export const METRIC = {
  duration: 'cicd.pipeline.run.duration',
  active: 'cicd.pipeline.run.active',
  errors: 'cicd.pipeline.run.errors',
  stage: 'throughline.stage.duration',
  retries: 'throughline.activity.retries',
  undelivered: 'throughline.trace.undelivered',
  request: 'http.server.request.duration',
} as const;

/** Upper bounds of the buckets, in seconds: from a second to a day. */
export const DURATION_BUCKETS = [1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400];
/** HTTP, as the conventions advise. Seconds. */
export const REQUEST_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];
