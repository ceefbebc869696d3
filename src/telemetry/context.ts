// From trace context as data to OpenTelemetry's own.
import { type Context, createTraceState, ROOT_CONTEXT, trace } from '@opentelemetry/api';
import type { SpanContext } from '../domain/trace.js';

/** A context whose active span is the given one, of another process. */
export function remoteSpanContext(span: SpanContext, tracestate?: string): Context {
  return trace.setSpanContext(ROOT_CONTEXT, {
    traceId: span.traceId,
    spanId: span.spanId,
    traceFlags: span.flags,
    isRemote: true,
    ...(tracestate ? { traceState: createTraceState(tracestate) } : {}),
  });
}
