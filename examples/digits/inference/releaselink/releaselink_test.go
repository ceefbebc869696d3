package releaselink

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
	valid   = "00-" + traceID + "-" + spanID + "-01"
)

func TestParseTraceparent(t *testing.T) {
	for _, text := range []string{valid, "00-" + traceID + "-" + spanID + "-00", "cc-" + traceID + "-" + spanID + "-01-more"} {
		span, err := ParseTraceparent(text)
		if err != nil || span.TraceID().String() != traceID || span.SpanID().String() != spanID || !span.IsRemote() {
			t.Errorf("%s: %v, %v", text, span, err)
		}
	}
	for _, text := range []string{
		"", "none", "00", valid + "-more", "ff-" + traceID + "-" + spanID + "-01", strings.ToUpper(valid),
		"00-" + strings.Repeat("0", 32) + "-" + spanID + "-01", "00-" + traceID + "-" + strings.Repeat("0", 16) + "-01",
		"0-" + traceID + "-" + spanID + "-01", "00-" + traceID[1:] + "-" + spanID + "-01", "00-" + traceID + "-" + spanID + "-zz",
		"zz-" + traceID + "-" + spanID + "-01", "00_" + traceID + "_" + spanID + "_01",
	} {
		if span, err := ParseTraceparent(text); err == nil {
			t.Errorf("%q was taken as %v", text, span)
		}
	}
}

func FuzzParseTraceparent(f *testing.F) {
	f.Add(valid)
	f.Add("cc-" + valid)
	f.Fuzz(func(t *testing.T, text string) {
		if span, err := ParseTraceparent(text); err == nil && !span.IsValid() {
			t.Errorf("%q gave an invalid context", text)
		}
	})
}

func started(t *testing.T, link Link) tracetest.SpanStub {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	_, span := provider.Tracer("test").Start(context.Background(), "predict", link.Option())
	span.End()
	return exporter.GetSpans()[0]
}

func TestASpanLinksToTheReleaseWithItsCommit(t *testing.T) {
	t.Setenv(EnvironmentVariable, valid)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=x, vcs.ref.head.revision=abc%2F123")
	links := started(t, FromEnvironment(slog.Default())).Links
	if len(links) != 1 || links[0].SpanContext.TraceID().String() != traceID || links[0].SpanContext.SpanID().String() != spanID {
		t.Fatalf("links: %v", links)
	}
	if got := links[0].Attributes[0].Value.AsString(); got != "abc/123" {
		t.Errorf("revision: %s", got)
	}
	t.Setenv("SOURCE_COMMIT", "def")
	if got := started(t, FromEnvironment(slog.Default())).Links[0].Attributes[0].Value.AsString(); got != "def" {
		t.Errorf("revision: %s", got)
	}
}

func TestAMissingOrMalformedAnnotationIsLoggedOnceAndLinksNothing(t *testing.T) {
	for _, text := range []string{"", "not a traceparent"} {
		t.Setenv(EnvironmentVariable, text)
		var log bytes.Buffer
		link := FromEnvironment(slog.New(slog.NewTextHandler(&log, nil)))
		for range 3 {
			if links := started(t, link).Links; len(links) != 0 {
				t.Errorf("links: %v", links)
			}
		}
		if lines := strings.Count(log.String(), "\n"); lines != 1 {
			t.Errorf("%d lines: %s", lines, log.String())
		}
	}
}
