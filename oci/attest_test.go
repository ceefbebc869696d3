package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func pushImage(t *testing.T, reference string) string {
	t.Helper()
	image, err := random.Image(64, 2)
	if err != nil {
		t.Fatal(err)
	}
	config, _ := image.ConfigFile()
	config = config.DeepCopy()
	config.Config.Labels = map[string]string{"org.opencontainers.image.revision": "c0ffee"}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(reference)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, image); err != nil {
		t.Fatal(err)
	}
	digest, _ := image.Digest()
	return tag.Context().Digest(digest.String()).String()
}

func TestAttestationsAreFoundAgain(t *testing.T) {
	registries := map[string]func(http.Handler) http.Handler{
		"that knows referrers":         func(http.Handler) http.Handler { return registry.New(registry.WithReferrersSupport(true)) },
		"that does not know referrers": func(plain http.Handler) http.Handler { return plain },
	}
	for what, wrap := range registries {
		t.Run("in a registry "+what, func(t *testing.T) {
			host := serve(t, wrap)
			subject := pushImage(t, host+"/ml/digits:1")
			for _, word := range []string{"one", "two", "one"} { // the same twice is one
				input := `[{"predicateType":"https://example.org/` + word + `","created":"2026-01-01T00:00:00Z","bundle":{"is":"` + word + `"}}]`
				if said := putAll(context.Background(), subject, strings.NewReader(input)); said.Reason != "" {
					t.Fatal(said)
				}
			}
			found := evidenceOf(context.Background(), host+"/ml/digits:1")
			if found.Reason != "" || len(found.Attestations) != 2 {
				t.Fatalf("got %+v", found)
			}
			if !strings.HasSuffix(subject, found.Digest) || len(found.Layers) != 2 || found.Labels["org.opencontainers.image.revision"] != "c0ffee" {
				t.Errorf("the image itself is not told: %+v", found)
			}
			words := map[string]bool{}
			for _, one := range found.Attestations {
				var bundle struct{ Is string }
				if err := json.Unmarshal(one.Bundle, &bundle); err != nil {
					t.Fatal(err)
				}
				words[bundle.Is] = true
				if one.PredicateType != "https://example.org/"+bundle.Is {
					t.Errorf("%s has predicate type %s", bundle.Is, one.PredicateType)
				}
			}
			if !words["one"] || !words["two"] {
				t.Errorf("got %v", words)
			}
			if other := evidenceOf(context.Background(), pushImage(t, host+"/ml/digits:2")); len(other.Attestations) != 0 {
				t.Errorf("another image has them too: %+v", other)
			}
		})
	}
}

func TestWhatCannotBeAttestedIsSaid(t *testing.T) {
	host := serve(t, func(handler http.Handler) http.Handler { return handler })
	missing := host + "/ml/none@sha256:" + strings.Repeat("a", 64)
	for given, reason := range map[string]string{missing: "missing", host + "/ml/none:tag": "invalid", "127.0.0.1:1/a@sha256:" + strings.Repeat("a", 64): "unreachable"} {
		if said := putAll(context.Background(), given, strings.NewReader("[]")); said.Reason != reason {
			t.Errorf("%s: got %+v", given, said)
		}
	}
	if said := evidenceOf(context.Background(), missing); said.Reason != "missing" {
		t.Errorf("got %+v", said)
	}
}
