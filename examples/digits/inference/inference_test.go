package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"

	"throughline.dev/examples/digits/inference/releaselink"
)

// firstOrLast answers 0 where the first pixel is brighter than the last, else 1: outputs are softmax(first, last).
func firstOrLast() (description, []byte) {
	var described description
	_ = json.Unmarshal([]byte(`{"format":"throughline.dev/dense/v1","inputs":64,"input_scale":0.00392156862745098,
		"labels":["0","1"],"layers":[{"type":"dense","units":2,"activation":"relu"},{"type":"dense","units":2,"activation":"softmax"}]}`), &described)
	first := make([]float32, 64*2+2)
	first[0] = 1      // first pixel to unit 0
	first[63*2+1] = 1 // last pixel to unit 1
	second := []float32{2, 0, 0, 2, 0, 0}
	var weights bytes.Buffer
	_ = binary.Write(&weights, binary.LittleEndian, append(first, second...))
	return described, weights.Bytes()
}

func testNetwork(t *testing.T) *network {
	t.Helper()
	described, weights := firstOrLast()
	net, err := newNetwork(described, weights)
	if err != nil {
		t.Fatal(err)
	}
	return net
}

func TestPredictComputesTheNetwork(t *testing.T) {
	pixels := make([]byte, 64)
	pixels[0] = 255
	class, confidence := testNetwork(t).predict(pixels)
	want := math.Exp(2) / (math.Exp(2) + 1) // softmax(2·1, 0)
	if class != 0 || math.Abs(confidence-want) > 1e-6 {
		t.Errorf("class %d with %f, expected 0 with %f", class, confidence, want)
	}
	pixels[0], pixels[63] = 0, 51
	class, confidence = testNetwork(t).predict(pixels)
	want = math.Exp(0.4) / (math.Exp(0.4) + 1)
	if class != 1 || math.Abs(confidence-want) > 1e-6 {
		t.Errorf("class %d with %f, expected 1 with %f", class, confidence, want)
	}
}

func TestAModelThatCannotBeComputedIsRefused(t *testing.T) {
	for name, damage := range map[string]func(*description, *[]byte){
		"format":     func(d *description, _ *[]byte) { d.Format = "v9" },
		"layer":      func(d *description, _ *[]byte) { d.Layers[0].Type = "conv2d" },
		"activation": func(d *description, _ *[]byte) { d.Layers[0].Activation = "gelu" },
		"short":      func(_ *description, w *[]byte) { *w = (*w)[:len(*w)-1] },
		"long":       func(_ *description, w *[]byte) { *w = append(*w, 0) },
		"units":      func(d *description, _ *[]byte) { d.Layers[0].Units = -1 },
		"NaN": func(_ *description, w *[]byte) {
			binary.LittleEndian.PutUint32(*w, math.Float32bits(float32(math.NaN())))
		},
		"labels":    func(d *description, _ *[]byte) { d.Labels = nil },
		"no layers": func(d *description, _ *[]byte) { d.Layers = nil },
		"no scale":  func(d *description, _ *[]byte) { d.InputScale = 0 },
		"inputs": func(d *description, w *[]byte) { // sizes that agree with each other, but not with an image
			d.Inputs, *w = 32, make([]byte, 4*(32*2+2+2*2+2))
		},
	} {
		described, weights := firstOrLast()
		damage(&described, &weights)
		if _, err := newNetwork(described, weights); err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
}

func encodePNG(t *testing.T, size int) []byte {
	t.Helper()
	picture := image.NewGray(image.Rect(0, 0, size, size))
	for y := range size / 8 {
		for x := range size / 8 {
			picture.Set(x, y, color.Gray{Y: 255})
		}
	}
	var encoded bytes.Buffer
	if err := png.Encode(&encoded, picture); err != nil {
		t.Fatal(err)
	}
	return encoded.Bytes()
}

func body(data []byte) string {
	encoded, _ := json.Marshal(map[string]string{"image_data": base64.StdEncoding.EncodeToString(data)})
	return string(encoded)
}

func TestPredictOverHTTP(t *testing.T) {
	handler := newHandler(&predictor{testNetwork(t), "digits-1", slog.Default()}, releaselink.Link{})
	raw := make([]byte, 64)
	raw[0] = 255
	for _, test := range []struct {
		name, method, kind, body string
		status                   int
		code                     string
	}{
		{"raw pixels", "POST", "application/json", body(raw), 200, ""},
		{"a PNG of 8x8", "POST", "application/json", body(encodePNG(t, 8)), 200, ""},
		{"a PNG of 32x32", "POST", "application/json; charset=utf-8", body(encodePNG(t, 32)), 200, ""},
		{"another method", "GET", "application/json", "", 405, "METHOD_NOT_ALLOWED"},
		{"another type", "POST", "text/plain", body(raw), 415, "UNSUPPORTED_MEDIA_TYPE"},
		{"no JSON", "POST", "application/json", "{", 400, "NOT_JSON"},
		{"an unknown field", "POST", "application/json", `{"image":"x"}`, 400, "NOT_JSON"},
		{"two objects", "POST", "application/json", body(raw) + body(raw), 400, "NOT_JSON"},
		{"a stray brace", "POST", "application/json", body(raw) + "}", 400, "NOT_JSON"},
		{"a huge PNG", "POST", "application/json", body(encodePNG(t, 2048)), 400, "NOT_AN_IMAGE"},
		{"no base64", "POST", "application/json", `{"image_data":"%"}`, 400, "NOT_BASE64"},
		{"no image", "POST", "application/json", body([]byte("hello")), 400, "NOT_AN_IMAGE"},
		{"a tiny PNG", "POST", "application/json", body(encodePNG(t, 4)), 400, "NOT_AN_IMAGE"},
		{"too much", "POST", "application/json", `{"image_data":"` + strings.Repeat("A", 2<<20) + `"}`, 413, "TOO_LARGE"},
	} {
		t.Run(test.name, func(t *testing.T) {
			request := httptest.NewRequest(test.method, "/predict", strings.NewReader(test.body))
			request.Header.Set("content-type", test.kind)
			recorded := httptest.NewRecorder()
			handler.ServeHTTP(recorded, request)
			if recorded.Code != test.status {
				t.Fatalf("%d: %s", recorded.Code, recorded.Body)
			}
			if test.status != 200 {
				var refused struct{ Code, Error string }
				_ = json.Unmarshal(recorded.Body.Bytes(), &refused)
				if refused.Code != test.code || refused.Error == "" {
					t.Errorf("%+v", refused)
				}
				return
			}
			var answered answer
			if err := json.Unmarshal(recorded.Body.Bytes(), &answered); err != nil || answered.Class != 0 || answered.ModelID != "digits-1" {
				t.Errorf("%+v, %v", answered, err)
			}
		})
	}
}

// fakeCollector keeps what is sent to it by OTLP over gRPC.
type fakeCollector struct {
	collector.UnimplementedTraceServiceServer
	mutex sync.Mutex
	spans []*v1.Span
}

func (c *fakeCollector) Export(_ context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for _, resource := range request.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			c.spans = append(c.spans, scope.Spans...)
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func serve(t *testing.T, endpoint string) (url string, stop func() time.Duration) {
	t.Helper()
	directory := t.TempDir()
	described, weights := firstOrLast()
	encoded, _ := json.Marshal(described)
	_ = os.WriteFile(filepath.Join(directory, "model.json"), encoded, 0o600)
	_ = os.WriteFile(filepath.Join(directory, "weights.bin"), weights, 0o600)
	t.Setenv("MODEL_PATH", directory)
	t.Setenv("MODEL_ID", "digits-1")
	t.Setenv("LISTEN_ADDR", "127.0.0.1:0")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
	ctx, cancel := context.WithCancel(context.Background())
	listening, ended := make(chan net.Addr, 1), make(chan error, 1)
	go func() { ended <- run(ctx, slog.New(slog.DiscardHandler), listening) }()
	select {
	case address := <-listening:
		return "http://" + address.String(), func() time.Duration {
			begun := time.Now()
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			return time.Since(begun)
		}
	case err := <-ended:
		t.Fatal(err)
		return "", nil
	}
}

func TestEveryPredictionArrivesWithItsLinkBeforeTheServiceEnds(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	received := &fakeCollector{}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, received)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()

	const release = "0af7651916cd43dd8448eb211c80319c"
	t.Setenv(releaselink.EnvironmentVariable, "00-"+release+"-b7ad6b7169203331-01")
	t.Setenv("SOURCE_COMMIT", "abc123")
	url, stop := serve(t, "http://"+listener.Addr().String())
	for range 10 {
		response, err := http.Post(url+"/predict", "application/json", strings.NewReader(body(make([]byte, 64))))
		if err != nil || response.StatusCode != 200 {
			t.Fatal(response, err)
		}
		if header := response.Header.Get("traceresponse"); len(header) != 55 {
			t.Errorf("traceresponse: %q", header)
		}
		_ = response.Body.Close()
	}
	stop()
	if len(received.spans) != 10 {
		t.Fatalf("%d spans arrived", len(received.spans))
	}
	for _, span := range received.spans {
		found := map[string]bool{}
		for _, one := range span.Attributes {
			found[one.Key] = true
		}
		for _, name := range []string{"ml.model.id", "ml.model.type", "ml.prediction.class", "ml.prediction.confidence"} {
			if !found[name] {
				t.Errorf("%s is missing", name)
			}
		}
		if span.Name != "POST /predict" || span.Kind != v1.Span_SPAN_KIND_SERVER || len(span.Links) != 1 {
			t.Errorf("%v", span)
		} else if link := span.Links[0]; hex.EncodeToString(link.TraceId) != release || link.Attributes[0].Value.GetStringValue() != "abc123" {
			t.Errorf("%v", link)
		}
	}
}

func TestADeadCollectorDelaysTheEndByFiveSecondsAtMost(t *testing.T) {
	url, stop := serve(t, "http://127.0.0.1:9")
	response, err := http.Post(url+"/predict", "application/json", strings.NewReader(body(make([]byte, 64))))
	if err != nil || response.StatusCode != 200 {
		t.Fatal(response, err)
	}
	_ = response.Body.Close()
	if took := stop(); took > shutdownTimeout+500*time.Millisecond {
		t.Errorf("took %s", took)
	}
}

func TestWithoutAnEndpointSpansHaveIDsAndNothingIsSent(t *testing.T) {
	url, stop := serve(t, "")
	defer stop()
	response, err := http.Post(url+"/predict", "application/json", strings.NewReader(body(make([]byte, 64))))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answered answer
	_ = json.NewDecoder(response.Body).Decode(&answered)
	if len(strings.Trim(answered.TraceID, "0")) == 0 {
		t.Errorf("trace id %q", answered.TraceID)
	}
	_, span := otel.Tracer("test").Start(context.Background(), "x")
	defer span.End()
	if !span.SpanContext().IsValid() {
		t.Error("no ids")
	}
}

func TestAMalformedResourceAttributeDoesNotStopTheService(t *testing.T) {
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "service.version=1,broken")
	_, stop := serve(t, "")
	stop()
}

func TestASettingThatIsMissingIsNamed(t *testing.T) {
	t.Setenv("MODEL_ID", "")
	if err := run(context.Background(), slog.Default(), nil); err == nil || !strings.Contains(err.Error(), "MODEL_ID") {
		t.Error(err)
	}
	t.Setenv("MODEL_ID", "x")
	t.Setenv("MODEL_PATH", t.TempDir())
	if err := run(context.Background(), slog.Default(), nil); err == nil || !strings.Contains(err.Error(), "model") {
		t.Error(err)
	}
}
