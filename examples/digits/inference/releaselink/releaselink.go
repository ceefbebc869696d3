// Package releaselink ties what a service does to the release that deployed it.
//
// A release writes its trace context into the pod's annotation orchestration.trace_id, which the Downward API hands to
// the container as ORCHESTRATION_TRACE_ID. Every span started with Option carries a Link to the release's own span:
// from a prediction's trace one comes to the commit, the dataset and the training run behind it.
//
//	link := releaselink.FromEnvironment(logger)
//	handler := otelhttp.NewHandler(mux, "POST /predict", otelhttp.WithSpanOptions(link.Option()))
package releaselink

import (
	"encoding/hex"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// EnvironmentVariable holds the release's traceparent.
const EnvironmentVariable = "ORCHESTRATION_TRACE_ID"

// RevisionKey is the link's attribute: the source commit (OpenTelemetry semantic conventions, vcs).
const RevisionKey = attribute.Key("vcs.ref.head.revision")

// Link is a release's span, or nothing where the environment names none. The zero value links to nothing.
type Link struct {
	span     trace.SpanContext
	revision string
}

// FromEnvironment reads the link once, at start. A missing or malformed annotation is logged here, once, and never
// fails a request: a model is served whether or not its release is known.
func FromEnvironment(logger *slog.Logger) Link {
	text := os.Getenv(EnvironmentVariable)
	if text == "" {
		logger.Warn("no release to link to", "variable", EnvironmentVariable)
		return Link{}
	}
	span, err := ParseTraceparent(text)
	if err != nil {
		logger.Warn("no release to link to", "variable", EnvironmentVariable, "error", err.Error())
		return Link{}
	}
	return Link{span: span, revision: revision()}
}

// Option starts a span with the link. It is an option of the start, as samplers see links only there.
func (l Link) Option() trace.SpanStartOption {
	if !l.span.IsValid() {
		return trace.WithLinks()
	}
	link := trace.Link{SpanContext: l.span}
	if l.revision != "" {
		link.Attributes = []attribute.KeyValue{RevisionKey.String(l.revision)}
	}
	return trace.WithLinks(link)
}

// SpanContext is the release's span; invalid where none is known.
func (l Link) SpanContext() trace.SpanContext { return l.span }

var errMalformed = errors.New("expected 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, neither id all zeros")

// ParseTraceparent reads a traceparent by the rules of W3C Trace Context, section 3.2.2: versions after 00 may have
// further fields, version ff is no version, and ids of zeros are no ids.
func ParseTraceparent(text string) (trace.SpanContext, error) {
	fields := strings.Split(strings.TrimSpace(text), "-")
	if len(fields) < 4 || len(fields[0]) != 2 || len(fields[1]) != 32 || len(fields[2]) != 16 || len(fields[3]) != 2 {
		return trace.SpanContext{}, errMalformed
	}
	// trace.TraceIDFromHex and its kin take upper case too, which the specification does not.
	if strings.ToLower(text) != text || fields[0] == "ff" || (fields[0] == "00" && len(fields) != 4) {
		return trace.SpanContext{}, errMalformed
	}
	if _, err := hex.DecodeString(fields[0]); err != nil {
		return trace.SpanContext{}, errMalformed
	}
	traceID, err := trace.TraceIDFromHex(fields[1])
	if err != nil {
		return trace.SpanContext{}, errMalformed
	}
	spanID, err := trace.SpanIDFromHex(fields[2])
	if err != nil {
		return trace.SpanContext{}, errMalformed
	}
	flags, err := hex.DecodeString(fields[3])
	if err != nil {
		return trace.SpanContext{}, errMalformed
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID:    traceID,
		SpanID:     spanID,
		TraceFlags: trace.TraceFlags(flags[0]) & trace.FlagsSampled,
		Remote:     true,
	}), nil
}

// revision is the source commit: told directly, or as the resource attribute that the OpenTelemetry operator makes of
// the pod's annotation.
func revision() string {
	if commit := os.Getenv("SOURCE_COMMIT"); commit != "" {
		return commit
	}
	for _, pair := range strings.Split(os.Getenv("OTEL_RESOURCE_ATTRIBUTES"), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		if name == string(RevisionKey) {
			if decoded, err := url.PathUnescape(value); err == nil {
				return decoded
			}
			return value
		}
	}
	return ""
}
