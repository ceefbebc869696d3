// Throughline-buildkit asks a buildkitd for a build, as buildctl does and with its words, and hands the caller's trace
// context to the daemon as it is. buildctl puts spans of its own between the two, and those are lost where it is killed:
// then nothing of the daemon's has a parent. Here the parent is the span that TRACEPARENT names, which the release's
// history holds.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"go.opentelemetry.io/otel/propagation"
)

const usage = `usage: throughline-buildkit [--addr A] [--tlscacert F --tlscert F --tlskey F] COMMAND

  check     asks whether the daemon answers
  build     builds: --frontend, --opt, --local, --output, --import-cache, --export-cache, --secret and --metadata-file
            are buildctl's

TRACEPARENT, TRACESTATE and BAGGAGE are the context that the daemon's spans belong to.`

func main() {
	ctx, stop := signal.NotifyContext(traceContext(context.Background()), syscall.SIGTERM, syscall.SIGINT)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func run(ctx context.Context, arguments []string) int {
	flags := flag.NewFlagSet("throughline-buildkit", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprintln(os.Stderr, usage) }
	var to daemon
	flags.StringVar(&to.address, "addr", os.Getenv("BUILDKIT_HOST"), "")
	flags.StringVar(&to.ca, "tlscacert", "", "")
	flags.StringVar(&to.certificate, "tlscert", "", "")
	flags.StringVar(&to.key, "tlskey", "", "")
	if err := flags.Parse(arguments); err != nil {
		return 2
	}
	var err error
	switch flags.Arg(0) {
	case "check":
		err = check(ctx, to)
	case "build":
		var wanted request
		if wanted, err = parseRequest(flags.Args()[1:]); err != nil {
			fmt.Fprintf(os.Stderr, "error: %v\n", err)
			return 2
		}
		err = build(ctx, to, wanted)
	default:
		flags.Usage()
		return 2
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		return 1
	}
	return 0
}

// traceContext reads the environment carrier (OpenTelemetry specification, "Environment Variables as Context
// Propagation Carriers").
func traceContext(ctx context.Context) context.Context {
	carrier := propagation.MapCarrier{}
	for _, name := range []string{"traceparent", "tracestate", "baggage"} {
		if value := os.Getenv(strings.ToUpper(name)); value != "" {
			carrier[name] = value
		}
	}
	propagator := propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	return propagator.Extract(ctx, carrier)
}

// request is a build in buildctl's words.
type request struct {
	frontend     string
	options      []string
	local        []string
	output       []string
	importCache  []string
	exportCache  []string
	secrets      []string
	metadataFile string
}

func parseRequest(arguments []string) (request, error) {
	var wanted request
	flags := flag.NewFlagSet("build", flag.ContinueOnError)
	flags.SetOutput(os.Stderr)
	flags.StringVar(&wanted.frontend, "frontend", "dockerfile.v0", "")
	flags.StringVar(&wanted.metadataFile, "metadata-file", "", "")
	progress := flags.String("progress", "plain", "only plain")
	for name, values := range map[string]*[]string{
		"opt": &wanted.options, "local": &wanted.local, "output": &wanted.output, "import-cache": &wanted.importCache,
		"export-cache": &wanted.exportCache, "secret": &wanted.secrets,
	} {
		flags.Func(name, "may be given several times", func(value string) error {
			*values = append(*values, value)
			return nil
		})
	}
	if err := flags.Parse(arguments); err != nil {
		return wanted, err
	}
	if flags.NArg() > 0 {
		return wanted, fmt.Errorf("unexpected %q", flags.Arg(0))
	}
	if *progress != "plain" {
		return wanted, errors.New("--progress is plain")
	}
	return wanted, nil
}

// writeMetadata writes what the daemon says of the image: texts as they are, and JSON, which it sends in base64, as JSON.
func writeMetadata(file string, response map[string]string) error {
	metadata := make(map[string]any, len(response))
	for name, value := range response {
		metadata[name] = metadataValue(value)
	}
	text, err := json.MarshalIndent(metadata, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o666)
}
