package main

import (
	"archive/tar"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func write(t *testing.T, files map[string]string) string {
	t.Helper()
	directory := t.TempDir()
	for name, content := range files {
		path := filepath.Join(directory, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}

func serve(t *testing.T, wrap func(http.Handler) http.Handler) string {
	t.Helper()
	server := httptest.NewServer(wrap(registry.New()))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestTheSameModelHasTheSameDigest(t *testing.T) {
	files := map[string]string{"model.keras": "weights", "assets/labels.txt": "0\n1\n"}
	first, err := imageOf(write(t, files))
	if err != nil {
		t.Fatal(err)
	}
	other := write(t, files)
	if err := os.Chtimes(filepath.Join(other, "model.keras"), time.Now(), time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	second, err := imageOf(other)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := first.Digest()
	b, _ := second.Digest()
	if a != b {
		t.Fatalf("%s and %s", a, b)
	}
	files["model.keras"] = "other weights"
	third, _ := imageOf(write(t, files))
	if c, _ := third.Digest(); c == a {
		t.Fatal("another model has the same digest")
	}
}

func TestPushedModelIsBelowModel(t *testing.T) {
	address := serve(t, func(handler http.Handler) http.Handler { return handler })
	reference := address + "/ml/digits-model:rel-1"
	pushed, err := push(context.Background(), write(t, map[string]string{"a/weights": "w"}), reference, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if pushed.URI != "oci://"+reference+"@"+pushed.Digest {
		t.Fatalf("uri %s", pushed.URI)
	}
	parsed, _ := name.NewDigest(strings.TrimPrefix(pushed.URI, "oci://"))
	image, err := remote.Image(parsed)
	if err != nil {
		t.Fatal(err)
	}
	layers, _ := image.Layers()
	if len(layers) != 1 {
		t.Fatalf("%d layers", len(layers))
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for archive := tar.NewReader(content); ; {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
	if strings.Join(names, " ") != "model/ model/a/ model/a/weights" {
		t.Fatalf("%v", names)
	}
}

func TestARegistryThatIsAwayIsWaitedFor(t *testing.T) {
	var requests atomic.Int32
	address := serve(t, func(handler http.Handler) http.Handler {
		return http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
			if requests.Add(1) == 1 {
				http.Error(response, "no", http.StatusForbidden)
				return
			}
			handler.ServeHTTP(response, request)
		})
	})
	pushed, err := push(context.Background(), write(t, map[string]string{"w": "w"}), address+"/m:1", quiet)
	if err != nil || pushed == nil {
		t.Fatal(pushed, err)
	}
}

func TestARegistryThatStaysAwayIsAnError(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	refuse := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(response http.ResponseWriter, _ *http.Request) {
			http.Error(response, "no", http.StatusForbidden)
		})
	}
	pushed, err := push(ctx, write(t, map[string]string{"w": "w"}), serve(t, refuse)+"/m:1", quiet)
	if err == nil || pushed != nil {
		t.Fatal("no error")
	}
}

func TestNoFileIsNoModel(t *testing.T) {
	pushed, err := push(context.Background(), t.TempDir(), "registry.example/m:1", quiet)
	if err != nil || pushed != nil {
		t.Fatal(pushed, err)
	}
}
