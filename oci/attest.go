package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// How an attestation lies beside an image: cosign, specs/BUNDLE_SPEC.md.
const (
	bundleType          = "application/vnd.dev.sigstore.bundle.v0.3+json"
	contentAnnotation   = "dev.sigstore.bundle.content"
	predicateAnnotation = "dev.sigstore.bundle.predicateType"
	createdAnnotation   = "org.opencontainers.image.created"
)

// A bundle is some kilobytes; what is larger is none.
const maxBundle = 4 << 20

// attestation is a Sigstore bundle beside an image.
type attestation struct {
	PredicateType string          `json:"predicateType"`
	Created       string          `json:"created,omitempty"`
	Bundle        json.RawMessage `json:"bundle"`
}

// evidence is the answer of attest and attestations. Reason is one of invalid, missing, denied, unreachable.
type evidence struct {
	Reference string `json:"reference,omitempty"`
	Digest    string `json:"digest,omitempty"`
	// Of the image's configuration; none where the reference names an index.
	Labels       map[string]string `json:"labels,omitempty"`
	Layers       []layer           `json:"layers,omitempty"`
	Attestations []attestation     `json:"attestations,omitempty"`
	Reason       string            `json:"reason,omitempty"`
	Message      string            `json:"message,omitempty"`
}

type layer struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

const evidenceTimeout = 60 * time.Second

// attest puts the attestations that it reads from standard input beside an image: REPOSITORY@DIGEST. Each is an artifact
// whose subject is the image; where a registry does not know referrers, the library keeps the tag that stands for them.
func attest(args []string) int {
	if len(args) != 1 {
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), evidenceTimeout)
	defer cancel()
	answer(putAll(ctx, args[0], os.Stdin))
	return 0
}

// printEvidence prints what lies beside an image, and the image's own labels and layers.
func printEvidence(args []string) int {
	if len(args) != 1 {
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), evidenceTimeout)
	defer cancel()
	answer(evidenceOf(ctx, args[0]))
	return 0
}

func answer(found evidence) { _ = json.NewEncoder(os.Stdout).Encode(found) }

func putAll(ctx context.Context, given string, input io.Reader) evidence {
	subject, err := name.NewDigest(given)
	if err != nil {
		return evidence{Reason: "invalid", Message: err.Error()}
	}
	var all []attestation
	if err := json.NewDecoder(input).Decode(&all); err != nil {
		return evidence{Reason: "invalid", Message: err.Error()}
	}
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	image, err := remote.Get(subject, options...)
	if err != nil {
		return evidence{Reference: subject.Name(), Reason: reasonOf(err), Message: err.Error()}
	}
	for _, one := range all {
		if err := put(subject, image.Descriptor, one, options); err != nil {
			return evidence{Reference: subject.Name(), Reason: reasonOf(err), Message: err.Error()}
		}
	}
	return evidence{Reference: subject.Name(), Digest: image.Digest.String()}
}

// put is idempotent: the same attestation has the same digest.
func put(subject name.Digest, image v1.Descriptor, one attestation, options []remote.Option) error {
	repository := subject.Context()
	empty := static.NewLayer([]byte("{}"), "application/vnd.oci.empty.v1+json")
	bundle := static.NewLayer(one.Bundle, bundleType)
	manifest := v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		ArtifactType:  bundleType,
		Annotations: map[string]string{
			contentAnnotation:   "dsse-envelope",
			predicateAnnotation: one.PredicateType,
			createdAnnotation:   one.Created,
		},
		Subject: &v1.Descriptor{MediaType: image.MediaType, Size: image.Size, Digest: image.Digest},
	}
	for _, blob := range []v1.Layer{empty, bundle} {
		if err := remote.WriteLayer(repository, blob, options...); err != nil {
			return err
		}
		described, err := describe(blob)
		if err != nil {
			return err
		}
		if blob == empty {
			manifest.Config = described
		} else {
			manifest.Layers = append(manifest.Layers, described)
		}
	}
	raw, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	digest, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	return remote.Put(repository.Digest(digest.String()), rawManifest(raw), options...)
}

func describe(blob v1.Layer) (v1.Descriptor, error) {
	digest, err := blob.Digest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	size, err := blob.Size()
	if err != nil {
		return v1.Descriptor{}, err
	}
	kind, err := blob.MediaType()
	return v1.Descriptor{MediaType: kind, Size: size, Digest: digest}, err
}

type rawManifest []byte

func (manifest rawManifest) RawManifest() ([]byte, error) { return manifest, nil }
func (rawManifest) MediaType() (types.MediaType, error)   { return types.OCIManifestSchema1, nil }

func evidenceOf(ctx context.Context, given string) evidence {
	reference, err := name.ParseReference(given)
	if err != nil {
		return evidence{Reason: "invalid", Message: err.Error()}
	}
	failed := func(err error) evidence {
		return evidence{Reference: reference.Name(), Reason: reasonOf(err), Message: err.Error()}
	}
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	descriptor, err := remote.Get(reference, options...)
	if err != nil {
		return failed(err)
	}
	found := evidence{Reference: reference.Name(), Digest: descriptor.Digest.String()}
	if !descriptor.MediaType.IsIndex() {
		image, err := descriptor.Image()
		if err != nil {
			return failed(err)
		}
		if found.Labels, found.Layers, err = contentOf(image); err != nil {
			return failed(err)
		}
	}
	// Without a filter: what a registry says of the type of an artifact depends on its age; the manifest itself counts.
	referrers, err := remote.Referrers(reference.Context().Digest(found.Digest), options...)
	if err != nil {
		return failed(err)
	}
	index, err := referrers.IndexManifest()
	if err != nil {
		return failed(err)
	}
	for _, one := range index.Manifests {
		bundle, err := bundleOf(reference.Context(), one.Digest, options)
		if err != nil {
			return failed(err)
		}
		if bundle != nil {
			found.Attestations = append(found.Attestations, *bundle)
		}
	}
	return found
}

func contentOf(image v1.Image) (map[string]string, []layer, error) {
	config, err := image.ConfigFile()
	if err != nil {
		return nil, nil, err
	}
	manifest, err := image.Manifest()
	if err != nil {
		return nil, nil, err
	}
	var layers []layer
	for _, one := range manifest.Layers {
		layers = append(layers, layer{Digest: one.Digest.String(), Size: one.Size})
	}
	return config.Config.Labels, layers, nil
}

// bundleOf reads one referrer; nil where it is another kind of artifact after all.
func bundleOf(repository name.Repository, digest v1.Hash, options []remote.Option) (*attestation, error) {
	descriptor, err := remote.Get(repository.Digest(digest.String()), options...)
	if err != nil {
		return nil, err
	}
	var manifest v1.Manifest
	if err := json.Unmarshal(descriptor.Manifest, &manifest); err != nil {
		return nil, err
	}
	if manifest.ArtifactType != bundleType || len(manifest.Layers) != 1 {
		return nil, nil
	}
	blob, err := remote.Layer(repository.Digest(manifest.Layers[0].Digest.String()), options...)
	if err != nil {
		return nil, err
	}
	reader, err := blob.Compressed()
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	// The library checks the digest as it is read.
	content, err := io.ReadAll(io.LimitReader(reader, maxBundle))
	if err != nil {
		return nil, err
	}
	if !json.Valid(content) {
		return nil, fmt.Errorf("attestation %s is no JSON", digest)
	}
	return &attestation{
		PredicateType: manifest.Annotations[predicateAnnotation],
		Created:       manifest.Annotations[createdAnnotation],
		Bundle:        content,
	}, nil
}
