// Names of metrics, by OpenTelemetry's semantic conventions (1.44) where they have one, and how they are written for
// Prometheus. Free of I/O: workflow code uses it.
import type { MetricMeter } from '@temporalio/common';

export const METRIC = {
  duration: 'cicd.pipeline.run.duration',
  active: 'cicd.pipeline.run.active',
  errors: 'cicd.pipeline.run.errors',
  stage: 'throughline.stage.duration',
  retries: 'throughline.activity.retries',
  queue: 'throughline.queue.backlog',
  undelivered: 'throughline.trace.undelivered',
  unrecorded: 'throughline.lineage.unrecorded',
  drifted: 'throughline.drift.targets',
  request: 'http.server.request.duration',
} as const;

type MetricName = (typeof METRIC)[keyof typeof METRIC];
type Attributes = Readonly<Record<string, string | number | undefined>>;

/** Upper bounds of the buckets, in seconds: from a second to a day; for HTTP, as the conventions advise. */
const DURATIONS = [1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400];
const REQUESTS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];
export const BUCKETS: Readonly<Record<string, number[]>> = {
  [prometheusName(METRIC.duration, 'seconds')]: DURATIONS,
  [prometheusName(METRIC.stage, 'seconds')]: DURATIONS,
  [prometheusName(METRIC.request, 'seconds')]: REQUESTS,
};

/**
 * OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility": no dots, the unit behind the name, and
 * `total` behind what only grows. Temporal's exporter takes names as they are given, and drops those with dots.
 */
function prometheusName(name: string, suffix?: 'seconds' | 'total'): string {
  return [name.replaceAll('.', '_'), ...(suffix ? [suffix] : [])].join('_');
}

/** A metric has the same labels each time; one that does not apply is empty, which Prometheus reads as absent. */
function labels(attributes: Attributes): Record<string, string> {
  return Object.fromEntries(
    Object.entries(attributes).map(([name, value]) => [prometheusName(name), String(value ?? '')]),
  );
}

export function recordSeconds(
  meter: MetricMeter,
  name: MetricName,
  description: string,
): (seconds: number, attributes: Attributes) => void {
  const histogram = meter.createHistogram(prometheusName(name, 'seconds'), 'float', undefined, description);
  return (seconds, attributes) => histogram.record(seconds, labels(attributes));
}

export function countUp(
  meter: MetricMeter,
  name: MetricName,
  description: string,
): (attributes: Attributes) => void {
  const counter = meter.createCounter(prometheusName(name, 'total'), undefined, description);
  return (attributes) => counter.add(1, labels(attributes));
}

export function setGauge(
  meter: MetricMeter,
  name: MetricName,
  description: string,
): (value: number, attributes?: Attributes) => void {
  const gauge = meter.createGauge(prometheusName(name), 'int', undefined, description);
  return (value, attributes = {}) => gauge.set(value, labels(attributes));
}
