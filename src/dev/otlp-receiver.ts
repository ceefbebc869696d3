// A small OTLP receiver (gRPC): keeps the spans that programs and services of this machine send, so that a release's
// trace can be looked at without any other backend.
import {
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServiceDefinition,
  type sendUnaryData,
} from '@grpc/grpc-js';
import protobuf from 'protobufjs';

// Field numbers: opentelemetry-proto 1.x, trace.proto, common.proto, trace_service.proto. Fields that are not listed
// are skipped by the decoder.
const PROTO = `
syntax = "proto3";
message Request { repeated ResourceSpans resource_spans = 1; }
message Response {}
message ResourceSpans { Resource resource = 1; repeated ScopeSpans scope_spans = 2; }
message Resource { repeated KeyValue attributes = 1; }
message ScopeSpans { repeated Span spans = 2; }
message Span {
  bytes trace_id = 1; bytes span_id = 2; string trace_state = 3; bytes parent_span_id = 4; string name = 5; int32 kind = 6;
  fixed64 start_time_unix_nano = 7; fixed64 end_time_unix_nano = 8; repeated KeyValue attributes = 9;
  repeated Event events = 11; repeated Link links = 13; Status status = 15;
  fixed32 flags = 16;
}
message Event { fixed64 time_unix_nano = 1; string name = 2; repeated KeyValue attributes = 3; }
message Link { bytes trace_id = 1; bytes span_id = 2; repeated KeyValue attributes = 4; }
message Status { string message = 2; int32 code = 3; }
message KeyValue { string key = 1; AnyValue value = 2; }
message AnyValue { oneof value {
  string string_value = 1; bool bool_value = 2; int64 int_value = 3; double double_value = 4; ArrayValue array_value = 5; } }
message ArrayValue { repeated AnyValue values = 1; }
`;

const { root } = protobuf.parse(PROTO);
const Request = root.lookupType('Request');
const Response = root.lookupType('Response');

const decodeRequest = (bytes: Uint8Array) =>
  Request.toObject(Request.decode(bytes), { longs: String, defaults: true, oneofs: true }) as WireRequest;

/** An ExportTraceServiceRequest in its binary form. Throws where it is none. */
export const decodeProtobuf = (bytes: Uint8Array): ReceivedSpan[] =>
  decodeRequest(bytes).resourceSpans.flatMap(readSpans);

/** The same as JSON: ids are in hexadecimal there, unlike in the JSON form of any other protobuf message. */
export function decodeJson(text: string): ReceivedSpan[] {
  const message = JSON.parse(text, (key, value) =>
    /^(?:traceId|spanId|parentSpanId)$/.test(key) && typeof value === 'string'
      ? Buffer.from(value, 'hex').toString('base64')
      : value,
  ) as Record<string, unknown>;
  return decodeProtobuf(Request.encode(Request.fromObject(message)).finish());
}

export interface ReceivedSpan {
  readonly service: string;
  /** Of the resource. */
  readonly resource: Readonly<Record<string, unknown>>;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | undefined;
  readonly traceState: string;
  /** As in trace.proto, SpanFlags. */
  readonly flags: number;
  readonly name: string;
  /** As in trace.proto, SpanKind: 1 INTERNAL, 2 SERVER, 3 CLIENT. */
  readonly kind: number;
  readonly startUnixNano: bigint;
  readonly endUnixNano: bigint;
  readonly attributes: Readonly<Record<string, unknown>>;
  /** As in trace.proto, StatusCode: 0 UNSET, 1 OK, 2 ERROR. */
  readonly status: { readonly code: number; readonly message: string };
  readonly events: readonly {
    readonly name: string;
    readonly unixNano: bigint;
    readonly attributes: Readonly<Record<string, unknown>>;
  }[];
  readonly links: readonly {
    traceId: string;
    spanId: string;
    attributes: Readonly<Record<string, unknown>>;
  }[];
}

export interface OtlpReceiver {
  /** What OTEL_EXPORTER_OTLP_ENDPOINT is set to. */
  readonly endpoint: string;
  readonly spans: readonly ReceivedSpan[];
  stop(): void;
}

export interface ReceiverOptions {
  /** 0: any. */
  readonly port?: number;
  /** Where spans go, besides what is given back. */
  readonly spans?: ReceivedSpan[];
  /** Called before the sender is answered, which waits for it. */
  readonly onSpans?: (spans: readonly ReceivedSpan[]) => Promise<void>;
}

export async function startOtlpReceiver(options: ReceiverOptions = {}): Promise<OtlpReceiver> {
  const service: ServiceDefinition = {
    Export: {
      path: '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
      requestStream: false,
      responseStream: false,
      requestSerialize: (value) => Buffer.from(Request.encode(value).finish()),
      requestDeserialize: decodeRequest,
      responseSerialize: (value) => Buffer.from(Response.encode(value).finish()),
      responseDeserialize: (bytes) => Response.decode(bytes),
    },
  };
  const { port: wanted = 0, spans = [], onSpans } = options;
  const server = new Server();
  server.addService(service, {
    Export(call: ServerUnaryCall<WireRequest, unknown>, reply: sendUnaryData<unknown>) {
      const received = call.request.resourceSpans.flatMap(readSpans);
      if (onSpans) {
        onSpans(received).then(
          () => reply(null, {}),
          (error) => reply(error as Error),
        );
      } else {
        spans.push(...received);
        reply(null, {});
      }
    },
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${wanted}`, ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return { endpoint: `http://127.0.0.1:${port}`, spans, stop: () => server.forceShutdown() };
}

interface WireValue {
  readonly value?: string;
  readonly arrayValue?: { readonly values: WireValue[] };
  readonly [field: string]: unknown;
}
interface WireAttributes extends Array<{ key: string; value: WireValue | null }> {}
interface WireSpan {
  traceId: Uint8Array;
  spanId: Uint8Array;
  parentSpanId: Uint8Array;
  traceState: string;
  flags: number;
  name: string;
  kind: number;
  status: { code: number; message: string } | null;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: WireAttributes;
  events: { name: string; timeUnixNano: string; attributes: WireAttributes }[];
  links: { traceId: Uint8Array; spanId: Uint8Array; attributes: WireAttributes }[];
}
interface WireResourceSpans {
  resource: { attributes: WireAttributes } | null;
  scopeSpans: { spans: WireSpan[] }[];
}
interface WireRequest {
  resourceSpans: WireResourceSpans[];
}

function readSpans({ resource, scopeSpans }: WireResourceSpans): ReceivedSpan[] {
  const attributes = attributesOf(resource?.attributes ?? []);
  const service = String(attributes['service.name'] ?? '');
  return scopeSpans
    .flatMap(({ spans }) => spans)
    .map((span) => ({
      service,
      resource: attributes,
      traceId: hex(span.traceId),
      spanId: hex(span.spanId),
      parentSpanId: span.parentSpanId.length > 0 ? hex(span.parentSpanId) : undefined,
      traceState: span.traceState,
      flags: span.flags,
      name: span.name,
      kind: span.kind,
      status: { code: span.status?.code ?? 0, message: span.status?.message ?? '' },
      startUnixNano: BigInt(span.startTimeUnixNano),
      endUnixNano: BigInt(span.endTimeUnixNano),
      attributes: attributesOf(span.attributes),
      events: span.events.map((event) => ({
        name: event.name,
        unixNano: BigInt(event.timeUnixNano),
        attributes: attributesOf(event.attributes),
      })),
      links: span.links.map((link) => ({
        traceId: hex(link.traceId),
        spanId: hex(link.spanId),
        attributes: attributesOf(link.attributes),
      })),
    }));
}

function attributesOf(attributes: WireAttributes): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, value ? plainValue(value) : undefined]));
}

function plainValue(value: WireValue): unknown {
  if (value.value === 'arrayValue') return value.arrayValue?.values.map(plainValue);
  return value.value === undefined ? undefined : value[value.value];
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
