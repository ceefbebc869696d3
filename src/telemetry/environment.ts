// The environment carrier (OpenTelemetry specification, "Environment Variables as Context Propagation Carriers").
import type { TraceCarrier } from '../domain/trace.js';

/** What a child program extracts its parent from. */
export function carrierEnvironment(trace: TraceCarrier): Record<string, string> {
  return {
    TRACEPARENT: trace.traceparent,
    ...(trace.tracestate ? { TRACESTATE: trace.tracestate } : {}),
    ...(trace.baggage ? { BAGGAGE: trace.baggage } : {}),
  };
}
