// Hands computed spans to the collector and waits for its answer, unlike a batch processor, which forgets what it could
// not send. The caller tries again; ids and content stay the same.
import {
  createTraceState,
  type HrTime,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
} from '@opentelemetry/api';
import { ExportResultCode, hrTimeDuration, millisToHrTime } from '@opentelemetry/core';
import { JsonTraceSerializer } from '@opentelemetry/otlp-transformer';
import type { Resource } from '@opentelemetry/resources';
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace-base';
import { parseTraceparent } from '../domain/trace.js';
import { VERSION } from '../version.js';
import type { SpanRecord } from './projection.js';

const SCOPE = { name: 'throughline', version: VERSION };

/** Resolves when the collector has taken the spans; rejects with its answer otherwise. */
export async function deliver(
  spans: readonly SpanRecord[],
  exporter: SpanExporter,
  resource: Resource,
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    exporter.export(
      spans.map((span) => readable(span, resource)),
      ({ code, error }) => {
        if (code === ExportResultCode.SUCCESS) resolve();
        else reject(error ?? new Error('the collector refused the spans'));
      },
    );
  });
}

/** OTLP/JSON (opentelemetry-proto, "JSON Protobuf Encoding"). */
export function toOtlpJson(spans: readonly SpanRecord[], resource: Resource): unknown {
  const bytes = JsonTraceSerializer.serializeRequest(spans.map((span) => readable(span, resource)));
  return JSON.parse(Buffer.from(bytes ?? []).toString('utf8') || '{}');
}

/** At least a nanosecond later: what ends when it begins is a broken clock to Jaeger, and known to the millisecond here. */
function after(start: HrTime, end: HrTime): HrTime {
  const later = end[0] > start[0] || (end[0] === start[0] && end[1] > start[1]);
  return later ? end : [start[0], start[1] + 1];
}

function readable(span: SpanRecord, resource: Resource): ReadableSpan {
  const startTime = millisToHrTime(Date.parse(span.start));
  const endTime = after(startTime, millisToHrTime(Date.parse(span.end)));
  const context = {
    traceId: span.traceId,
    spanId: span.spanId,
    traceFlags: span.flags,
    ...(span.tracestate ? { traceState: createTraceState(span.tracestate) } : {}),
  };
  return {
    name: span.name,
    kind: SpanKind[span.kind],
    spanContext: () => context,
    ...(span.parentSpanId
      ? { parentSpanContext: { ...context, spanId: span.parentSpanId, isRemote: span.parentIsRemote } }
      : {}),
    startTime,
    endTime,
    duration: hrTimeDuration(startTime, endTime),
    ended: true,
    status:
      span.error === undefined
        ? { code: SpanStatusCode.UNSET }
        : { code: SpanStatusCode.ERROR, message: span.error },
    attributes: Object.fromEntries(
      Object.entries(span.attributes).map(([name, value]) => [
        name,
        typeof value === 'object' ? [...value] : value,
      ]),
    ),
    links: (span.links ?? []).map((traceparent) => ({ context: linkedContext(traceparent) })),
    events: [],
    resource,
    instrumentationScope: SCOPE,
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
  };
}

function linkedContext(traceparent: string): SpanContext {
  const { traceId, spanId, flags } = parseTraceparent(traceparent);
  return { traceId, spanId, traceFlags: flags, isRemote: true };
}
