package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"throughline.dev/examples/digits/inference/releaselink"
)

const maxBodyBytes = 1 << 20

type predictor struct {
	network *network
	modelID string
	logger  *slog.Logger
}

type request struct {
	ImageData string `json:"image_data"`
}

type answer struct {
	Class      int     `json:"class"`
	Confidence float64 `json:"confidence"`
	ModelID    string  `json:"model_id"`
	TraceID    string  `json:"trace_id"`
}

// refusal is an answer to a request that cannot be served, and no fault of the service.
type refusal struct {
	status int
	code   string
	text   string
}

func (r *refusal) Error() string { return r.text }

func newHandler(p *predictor, link releaselink.Link) http.Handler {
	mux := http.NewServeMux()
	// The link is an option of the span's start: every prediction carries it, whatever becomes of the request.
	mux.Handle("/predict", otelhttp.NewHandler(http.HandlerFunc(p.predict), "POST /predict",
		otelhttp.WithSpanOptions(link.Option()),
		otelhttp.WithSpanNameFormatter(func(operation string, _ *http.Request) string { return operation }),
	))
	ok := func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	}
	mux.HandleFunc("GET /healthz", ok)
	mux.HandleFunc("GET /readyz", ok) // the model is loaded before the service listens
	return mux
}

func (p *predictor) predict(w http.ResponseWriter, r *http.Request) {
	span := trace.SpanFromContext(r.Context())
	span.SetAttributes(attribute.String("ml.model.id", p.modelID), attribute.String("ml.model.type", "dense"))
	context := span.SpanContext()
	// W3C Trace Context Level 2, section 4: tells the caller which trace the answer belongs to.
	w.Header().Set("traceresponse", fmt.Sprintf("00-%s-%s-%s", context.TraceID(), context.SpanID(), context.TraceFlags()))

	pixels, err := readPixels(w, r)
	if err != nil {
		var refused *refusal
		if !errors.As(err, &refused) {
			refused = &refusal{http.StatusBadRequest, "BAD_REQUEST", err.Error()}
		}
		if refused.status == http.StatusMethodNotAllowed {
			w.Header().Set("allow", http.MethodPost)
		}
		writeJSON(w, refused.status, map[string]string{"code": refused.code, "error": refused.text})
		return
	}
	class, confidence := p.network.predict(pixels)
	span.SetAttributes(attribute.Int("ml.prediction.class", class), attribute.Float64("ml.prediction.confidence", confidence))
	p.logger.InfoContext(r.Context(), "prediction", "class", class, "confidence", confidence, "trace_id", context.TraceID().String())
	writeJSON(w, http.StatusOK, answer{class, confidence, p.modelID, context.TraceID().String()})
}

func readPixels(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Method != http.MethodPost {
		return nil, &refusal{http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "expected POST"}
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("content-type")); err != nil || kind != "application/json" {
		return nil, &refusal{http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE", "expected content-type application/json"}
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	decoder.DisallowUnknownFields()
	var body request
	if err := decoder.Decode(&body); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, &refusal{http.StatusRequestEntityTooLarge, "TOO_LARGE", fmt.Sprintf("expected at most %d bytes", maxBodyBytes)}
		}
		return nil, &refusal{http.StatusBadRequest, "NOT_JSON", `expected {"image_data": "<base64>"}`}
	}
	// Not More: it takes a stray } or ] for the end.
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, &refusal{http.StatusBadRequest, "NOT_JSON", "expected one JSON object"}
	}
	data, err := base64.StdEncoding.DecodeString(body.ImageData)
	if err != nil || len(data) == 0 {
		return nil, &refusal{http.StatusBadRequest, "NOT_BASE64", "image_data: expected base64"}
	}
	pixels, err := decodePixels(data)
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, "NOT_AN_IMAGE", "image_data: " + err.Error()}
	}
	return pixels, nil
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("content-type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // a caller who has gone away needs no answer
}
