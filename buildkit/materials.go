package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// materialsKey is where the metadata file has the images that a build was made from.
const materialsKey = "throughline.materials"

// material is an image that the build has used: one of its bases, or a named context.
type material struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

// materialsOf reads what the daemon has recorded of a build: it makes a provenance of each, whether or not one is asked
// for, and keeps that in its history.
func materialsOf(ctx context.Context, connection *client.Client, ref string) ([]material, error) {
	history, err := connection.ControlClient().ListenBuildHistory(ctx, &controlapi.BuildHistoryRequest{Ref: ref, EarlyExit: true})
	if err != nil {
		return nil, err
	}
	store := proxy.NewContentStore(connection.ContentClient())
	found := map[material]bool{}
	var materials []material
	for {
		event, err := history.Recv()
		if errors.Is(err, io.EOF) {
			return materials, nil
		}
		if err != nil {
			return nil, err
		}
		for _, result := range resultsOf(event.GetRecord()) {
			for _, attestation := range result.GetAttestations() {
				text, err := content.ReadBlob(ctx, store, ocispecs.Descriptor{
					MediaType: attestation.GetMediaType(), Digest: digest.Digest(attestation.GetDigest()), Size: attestation.GetSize(),
				})
				if err != nil {
					return nil, err
				}
				for _, one := range imagesIn(text) {
					if !found[one] {
						found[one] = true
						materials = append(materials, one)
					}
				}
			}
		}
	}
}

func resultsOf(record *controlapi.BuildHistoryRecord) []*controlapi.BuildResultInfo {
	var results []*controlapi.BuildResultInfo
	if record.GetResult() != nil {
		results = append(results, record.GetResult())
	}
	for _, result := range record.GetResults() {
		results = append(results, result)
	}
	return results
}

type dependency struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

// provenance is what is read of SLSA's, of version 0.2 or 1.
type provenance struct {
	Materials       []dependency `json:"materials"`
	BuildDefinition struct {
		ResolvedDependencies []dependency `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
}

// imagesIn reads the images out of a provenance, which the history has bare, and registries have within a statement.
// BuildKit names an image by a package URL: pkg:docker/NAME@TAG?digest=…&platform=….
func imagesIn(text []byte) []material {
	var found struct {
		provenance
		Predicate provenance `json:"predicate"`
	}
	if json.Unmarshal(text, &found) != nil {
		return nil
	}
	var dependencies []dependency
	for _, one := range []provenance{found.provenance, found.Predicate} {
		dependencies = append(dependencies, one.Materials...)
		dependencies = append(dependencies, one.BuildDefinition.ResolvedDependencies...)
	}
	var images []material
	for _, one := range dependencies {
		name, isImage := strings.CutPrefix(one.URI, "pkg:docker/")
		sha256 := one.Digest["sha256"]
		if !isImage || sha256 == "" {
			continue
		}
		name, _, _ = strings.Cut(name, "?")
		if at := strings.LastIndex(name, "@"); at >= 0 { // a tag stands behind it, as a version does
			name = name[:at] + ":" + name[at+1:]
		}
		if decoded, err := url.PathUnescape(name); err == nil {
			name = decoded
		}
		images = append(images, material{Name: name, Digest: "sha256:" + sha256})
	}
	return images
}
