package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// resolved is the answer of digest. Reason is one of invalid, missing, denied, unreachable.
type resolved struct {
	// With the registry that a short name stands for.
	Reference string `json:"reference,omitempty"`
	Digest    string `json:"digest,omitempty"`
	Reason    string `json:"reason,omitempty"`
	Message   string `json:"message,omitempty"`
}

// printDigest prints as JSON which digest a reference names. It exits with 0 whenever it printed an answer.
func printDigest(args []string) int {
	if len(args) != 1 {
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_ = json.NewEncoder(os.Stdout).Encode(resolve(ctx, args[0]))
	return 0
}

func resolve(ctx context.Context, given string) resolved {
	reference, err := name.ParseReference(given)
	if err != nil {
		return resolved{Reason: "invalid", Message: err.Error()}
	}
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	descriptor, err := remote.Head(reference, options...)
	if err != nil {
		// An answer to HEAD has no body to say why; some registries do not take it at all.
		found, getErr := remote.Get(reference, options...)
		if getErr == nil {
			descriptor, err = &found.Descriptor, nil
		} else {
			err = getErr
		}
	}
	if err != nil {
		return resolved{Reference: reference.Name(), Reason: reasonOf(err), Message: err.Error()}
	}
	return resolved{Reference: reference.Name(), Digest: descriptor.Digest.String()}
}

func reasonOf(err error) string {
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return "unreachable"
	}
	switch answer.StatusCode {
	case http.StatusNotFound:
		return "missing"
	case http.StatusUnauthorized, http.StatusForbidden:
		return "denied"
	}
	return "unreachable"
}
