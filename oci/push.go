package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// report is the termination message. Exactly one of its fields is set; none where there was no model.
type report struct {
	Model *model `json:"model,omitempty"`
	Error string `json:"error,omitempty"`
}

type model struct {
	URI    string `json:"uri"`
	Digest string `json:"digest"`
}

// Kubernetes cuts a termination message at 4096 bytes; an error never needs as much.
const maxError = 1500

// pushModel stands beside a training program that knows no registry: a native sidecar that waits until the program has
// ended, pushes what it left in MODEL_OUTPUT as an OCI image, and says in its termination message what it pushed.
// Kubernetes tells it with SIGTERM that every other container of the pod has ended (Kubernetes documentation, "Sidecar
// Containers"), and gives it the pod's grace period for the rest.
func pushModel(args []string) int {
	flags := flag.NewFlagSet("push-model", flag.ExitOnError)
	directory := flags.String("directory", "", "the directory that the training program leaves its model in")
	reference := flags.String("reference", "", "where to push the model: REPOSITORY:TAG")
	result := flags.String("result", "/dev/termination-log", "where to say what was pushed")
	limit := flags.Duration("limit", 5*time.Minute, "how long pushing may take, with its repetitions")
	_ = flags.Parse(args)
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))

	ended, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	log.Info("waiting for the training program to end", "directory", *directory)
	<-ended.Done()
	stop() // a second signal ends it at once

	said := report{}
	exit := 0
	ctx, cancel := context.WithTimeout(context.Background(), *limit)
	defer cancel()
	pushed, err := push(ctx, *directory, *reference, log)
	switch {
	case err != nil:
		log.Error("the model was not pushed", "error", err.Error())
		said.Error, exit = shorten(err.Error()), 1
	case pushed == nil:
		log.Info("there is no model")
	default:
		log.Info("pushed the model", "uri", pushed.URI)
		said.Model = pushed
	}
	encoded, _ := json.Marshal(said)
	if err := os.WriteFile(*result, encoded, 0o644); err != nil {
		log.Error("the result was not written", "error", err.Error())
		exit = 1
	}
	return exit
}

// push pushes the directory's content. Pushing the same content again changes nothing: it has the same digest. Without
// any content there is nothing to push, and no model.
func push(ctx context.Context, directory, reference string, log *slog.Logger) (*model, error) {
	tag, err := name.NewTag(reference, name.StrictValidation)
	if err != nil {
		return nil, err
	}
	image, err := imageOf(directory)
	if err != nil || image == nil {
		return nil, err
	}
	digest, err := image.Digest()
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		err = remote.Write(tag, image, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
		if err == nil {
			return &model{URI: fmt.Sprintf("oci://%s@%s", tag.Name(), digest), Digest: digest.String()}, nil
		}
		pause := min(time.Duration(attempt)*time.Second, 10*time.Second)
		log.Warn("the registry did not take the model", "attempt", attempt, "error", err.Error(), "again in", pause.String())
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
	}
}

func shorten(text string) string {
	if len(text) > maxError {
		return text[:maxError] + "…"
	}
	return text
}
