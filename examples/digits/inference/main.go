// Command inference serves the digits model: it loads what the training wrote, and computes with it.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"throughline.dev/examples/digits/inference/releaselink"
)

// shutdownTimeout covers draining and flushing together; a pod's termination grace is longer.
const shutdownTimeout = 5 * time.Second

func main() {
	logger := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, logger, nil); err != nil {
		logger.Error("stopped", "error", err.Error())
		os.Exit(1)
	}
}

// run serves until the context ends. listening is told the address, where somebody asks.
func run(ctx context.Context, logger *slog.Logger, listening chan<- net.Addr) error {
	modelID := os.Getenv("MODEL_ID")
	if modelID == "" {
		return errors.New("MODEL_ID is not set; the deployment says which model this is")
	}
	loaded, err := loadNetwork(cmp.Or(os.Getenv("MODEL_PATH"), "/model"))
	if err != nil {
		return err
	}
	flush, err := startTelemetry(ctx, logger)
	if err != nil {
		return fmt.Errorf("telemetry: %w", err)
	}
	link := releaselink.FromEnvironment(logger)
	server := &http.Server{
		Handler:           newHandler(&predictor{loaded, modelID, logger}, link),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      15 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    64 << 10,
	}
	listener, err := net.Listen("tcp", cmp.Or(os.Getenv("LISTEN_ADDR"), ":8080"))
	if err != nil {
		return err
	}
	logger.Info("serving", "address", listener.Addr().String(), "model_id", modelID, "release_span", link.SpanContext().SpanID().String())
	if listening != nil {
		listening <- listener.Addr()
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	logger.Info("stopping")
	ending, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	// Draining may use most of the time, but the spans of what was drained are to be sent in the rest.
	draining, cancelDraining := context.WithTimeout(ending, shutdownTimeout*3/5)
	defer cancelDraining()
	if err := server.Shutdown(draining); err != nil {
		_ = server.Close()
	}
	if err := flush(ending); err != nil {
		logger.Warn("some spans were not sent", "error", err.Error())
	}
	return nil
}
