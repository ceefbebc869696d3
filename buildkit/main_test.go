package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"go.opentelemetry.io/otel/trace"
)

func TestTheContextIsTheCallers(t *testing.T) {
	t.Setenv("TRACEPARENT", "00-"+"0123456789abcdef0123456789abcdef"+"-0123456789abcdef-01")
	t.Setenv("TRACESTATE", "vendor=a:b")
	span := trace.SpanContextFromContext(traceContext(context.Background()))
	if span.SpanID().String() != "0123456789abcdef" || span.TraceState().String() != "vendor=a:b" || !span.IsRemote() {
		t.Fatal(span)
	}
	// What is begun below it by a tracer of nobody's is still the caller's.
	ctx, _ := trace.SpanFromContext(traceContext(context.Background())).TracerProvider().Tracer("").Start(traceContext(context.Background()), "x")
	if found := trace.SpanContextFromContext(ctx); found.SpanID() != span.SpanID() {
		t.Fatal(found)
	}
}

func TestWithoutAContextThereIsNone(t *testing.T) {
	t.Setenv("TRACEPARENT", "nonsense")
	if span := trace.SpanContextFromContext(traceContext(context.Background())); span.IsValid() {
		t.Fatal(span)
	}
}

func TestTheWordsAreBuildctls(t *testing.T) {
	wanted, err := parseRequest([]string{
		"--progress=plain", "--frontend=dockerfile.v0", "--opt", "filename=Dockerfile", "--opt", "build-arg:A=b=c",
		"--local", "context=.", "--output", "type=image,push=true,name=r/i:1", "--secret", "id=S,env=E",
		"--import-cache=type=registry,ref=r/i:c", "--export-cache=type=registry,ref=r/i:c,mode=max",
		"--metadata-file", "m.json",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("E", "secret")
	options, err := solveOptions(wanted)
	if err != nil {
		t.Fatal(err)
	}
	if options.FrontendAttrs["build-arg:A"] != "b=c" || options.Exports[0].Attrs["name"] != "r/i:1" {
		t.Fatalf("%+v", options)
	}
	if options.CacheExports[0].Attrs["mode"] != "max" || options.CacheImports[0].Attrs["ref"] != "r/i:c" {
		t.Fatalf("%+v", options)
	}
	for _, wrong := range [][]string{{"--progress=tty"}, {"--nothing"}, {"context"}} {
		if _, err := parseRequest(wrong); err == nil {
			t.Fatal(wrong)
		}
	}
}

func TestMetadataIsWrittenAsBuildctlWritesIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "m.json")
	if err := writeMetadata(file, map[string]string{
		"containerimage.digest":     "sha256:abc",
		"containerimage.descriptor": "eyJzaXplIjoxfQ==", // {"size":1}
	}); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(file)
	var found map[string]any
	if err := json.Unmarshal(text, &found); err != nil {
		t.Fatal(err)
	}
	expected := map[string]any{
		"containerimage.digest":     "sha256:abc",
		"containerimage.descriptor": map[string]any{"size": 1.0},
	}
	if !reflect.DeepEqual(found, expected) {
		t.Fatal(found)
	}
}

func TestADaemonThatIsNotThereIsSaid(t *testing.T) {
	if code := run(context.Background(), []string{"--addr", "unix:///nowhere", "check"}); code != 1 {
		t.Fatal(code)
	}
	if code := run(context.Background(), []string{"dance"}); code != 2 {
		t.Fatal(code)
	}
}

func TestImagesAreReadOutOfBothProvenances(t *testing.T) {
	base := material{Name: "registry.example:5000/ml/base:1", Digest: "sha256:abc"}
	image := `{"uri":"pkg:docker/registry.example:5000/ml/base@1?platform=linux%2Famd64","digest":{"sha256":"abc"}}`
	source := `{"uri":"https://git.example/ml/digits.git#c0ffee","digest":{"sha1":"c0ffee"}}`
	for _, text := range []string{
		`{"predicate":{"materials":[` + source + `,` + image + `]}}`,
		`{"predicate":{"buildDefinition":{"resolvedDependencies":[` + image + `,` + source + `]}}}`,
		`{"buildDefinition":{"resolvedDependencies":[` + image + `]},"runDetails":{}}`,
	} {
		if found := imagesIn([]byte(text)); !reflect.DeepEqual(found, []material{base}) {
			t.Errorf("got %+v", found)
		}
	}
	if found := imagesIn([]byte("not JSON")); found != nil {
		t.Errorf("got %+v", found)
	}
}
