package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
)

// startTelemetry makes spans with real ids in any case, and sends them by OTLP over gRPC where an endpoint is
// configured. The returned function sends what is pending.
func startTelemetry(ctx context.Context, logger *slog.Logger) (shutdown func(context.Context) error, err error) {
	// Later detectors win: what the environment says of the service stands over the default name.
	described, err := resource.New(ctx,
		resource.WithAttributes(semconv.ServiceName("digits-inference")),
		resource.WithTelemetrySDK(),
		resource.WithFromEnv(),
	)
	// What is well-formed in OTEL_RESOURCE_ATTRIBUTES stands; a slip in the rest is no reason not to serve.
	if errors.Is(err, resource.ErrPartialResource) {
		logger.Warn("some resource attributes were not read", "error", err.Error())
	} else if err != nil {
		return nil, err
	}
	options := []sdktrace.TracerProviderOption{sdktrace.WithResource(described)}
	if exportConfigured() {
		exporter, err := otlptracegrpc.New(ctx)
		if err != nil {
			return nil, err
		}
		options = append(options, sdktrace.WithBatcher(exporter))
	}
	provider := sdktrace.NewTracerProvider(options...)
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
	// A collector that is away is told of by its absence, not by a line for every batch.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {}))
	return provider.Shutdown, nil
}

func exportConfigured() bool {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return false
	}
	return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}
