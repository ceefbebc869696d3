"""The run's span, as a child of the release's train stage. Without an OTLP endpoint nothing is sent and nothing said."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import Iterator

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

# A pod that has done its work must not wait for a collector that is away.
FLUSH_MILLISECONDS = 5_000


def parent_context(env: dict[str, str] | None = None) -> otel_context.Context:
    """The environment carrier (OpenTelemetry specification): TRACEPARENT, TRACESTATE, BAGGAGE."""
    env = dict(os.environ) if env is None else env
    carrier = {name.lower(): env[name] for name in ("TRACEPARENT", "TRACESTATE", "BAGGAGE") if env.get(name)}
    return propagate.extract(carrier)


@contextmanager
def tracing() -> Iterator[trace.Tracer]:
    """A tracer whose spans have been sent, or given up, when the block ends."""
    propagate.set_global_textmap(CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()]))
    os.environ.setdefault("OTEL_SERVICE_NAME", "digits-training")
    provider = TracerProvider(resource=Resource.create())
    if _is_export_configured():
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # a dead collector is not the run's concern
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=3), schedule_delay_millis=500))
    try:
        yield provider.get_tracer("digits.training")
    finally:
        provider.force_flush(FLUSH_MILLISECONDS)


def _is_export_configured() -> bool:
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    return bool(os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
