// OpenTelemetry of a Throughline process. Spans have real ids in any case; they are exported where an OTLP endpoint is
// configured by the standard variables, and otherwise nothing is sent and nothing is said.
import { context, propagation, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { CompositePropagator, W3CBaggagePropagator, W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter as GrpcExporter } from '@opentelemetry/exporter-trace-otlp-grpc';
import { OTLPTraceExporter as JsonExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtobufExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import {
  defaultResource,
  detectResources,
  envDetector,
  type Resource,
  resourceFromAttributes,
} from '@opentelemetry/resources';
import { BatchSpanProcessor, type SpanExporter } from '@opentelemetry/sdk-trace-base';
import { NodeTracerProvider } from '@opentelemetry/sdk-trace-node';
import { ATTR_SERVICE_NAME, ATTR_SERVICE_VERSION } from '@opentelemetry/semantic-conventions';
import { VERSION } from '../version.js';

export interface Telemetry {
  readonly resource: Resource;
  /** Where spans go; undefined where no endpoint is configured. */
  readonly exporter: SpanExporter | undefined;
  /** Sends what is pending, for at most `milliseconds`, then lets go. */
  shutdown(milliseconds?: number): Promise<void>;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** OpenTelemetry specification, "OTLP Exporter Configuration". */
export function isExportConfigured(env: Environment): boolean {
  if (env.OTEL_SDK_DISABLED?.toLowerCase() === 'true' || env.OTEL_TRACES_EXPORTER === 'none') return false;
  return Boolean(env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT || env.OTEL_EXPORTER_OTLP_ENDPOINT);
}

/** OpenTelemetry specification, "Specify Protocol". */
export const PROTOCOLS = ['grpc', 'http/protobuf', 'http/json'] as const;
export type Protocol = (typeof PROTOCOLS)[number];

/** To the endpoint that is given, or else to the one that the standard variables name. */
export function createExporter(
  env: Environment,
  given?: { readonly url: string; readonly protocol: Protocol },
): SpanExporter | undefined {
  if (!given && !isExportConfigured(env)) return undefined;
  const protocol =
    given?.protocol ??
    env.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL ??
    env.OTEL_EXPORTER_OTLP_PROTOCOL ??
    'http/protobuf';
  if (protocol === 'grpc') return new GrpcExporter(given ? { url: given.url } : {});
  // As with the variable: the endpoint is the base, and the signal has its path.
  const options = given ? { url: `${given.url.replace(/\/(?:v1\/traces\/?)?$/, '')}/v1/traces` } : {};
  return protocol === 'http/json' ? new JsonExporter(options) : new ProtobufExporter(options);
}

/** What the spans of releases say of their origin: the same from whichever process they are sent. */
export function releaseResource(): Resource {
  return defaultResource()
    .merge(detectResources({ detectors: [envDetector] }))
    .merge(resourceFromAttributes({ [ATTR_SERVICE_NAME]: 'throughline', [ATTR_SERVICE_VERSION]: VERSION }));
}

export function startTelemetry(service: string, env: Environment = process.env): Telemetry {
  const resource = defaultResource()
    .merge(resourceFromAttributes({ [ATTR_SERVICE_NAME]: service, [ATTR_SERVICE_VERSION]: VERSION }))
    .merge(detectResources({ detectors: [envDetector] }));
  const exporter = createExporter(env);
  const provider = new NodeTracerProvider({
    resource,
    spanProcessors: exporter ? [new BatchSpanProcessor(exporter, { scheduledDelayMillis: 1000 })] : [],
  });
  trace.setGlobalTracerProvider(provider);
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(
    new CompositePropagator({ propagators: [new W3CTraceContextPropagator(), new W3CBaggagePropagator()] }),
  );
  return {
    resource,
    exporter,
    async shutdown(milliseconds = 3_000) {
      const flushed = provider.shutdown().catch(() => undefined); // a dead collector is no reason to fail at the end
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, milliseconds);
      });
      await Promise.race([flushed, late]);
      clearTimeout(timer);
      trace.disable();
      context.disable();
      propagation.disable();
    },
  };
}
