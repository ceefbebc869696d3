package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"os"

	"github.com/docker/cli/cli/config"
	"github.com/moby/buildkit/client"
	_ "github.com/moby/buildkit/client/connhelper/dockercontainer"
	_ "github.com/moby/buildkit/client/connhelper/kubepod"
	_ "github.com/moby/buildkit/client/connhelper/podmancontainer"
	_ "github.com/moby/buildkit/client/connhelper/ssh"
	parse "github.com/moby/buildkit/cmd/buildctl/build"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth/authprovider"
	"github.com/moby/buildkit/util/progress/progresswriter"
	"golang.org/x/sync/errgroup"
)

// daemon is where a buildkitd is, and how it is trusted.
type daemon struct {
	address, ca, certificate, key string
}

// connect gives a client without a tracer: what it sends carries the context's own span as the parent.
func (to daemon) connect(ctx context.Context) (*client.Client, error) {
	var options []client.ClientOpt
	if to.ca != "" {
		uri, err := url.Parse(to.address)
		if err != nil {
			return nil, err
		}
		options = append(options, client.WithServerConfig(uri.Hostname(), to.ca))
	}
	if to.certificate != "" || to.key != "" {
		options = append(options, client.WithCredentials(to.certificate, to.key))
	}
	return client.New(ctx, to.address, options...)
}

func check(ctx context.Context, to daemon) error {
	connection, err := to.connect(ctx)
	if err != nil {
		return err
	}
	defer connection.Close()
	_, err = connection.ListWorkers(ctx)
	return err
}

// build runs a build to its end, with its progress on stderr. The daemon ends it when the context or this process ends.
func build(ctx context.Context, to daemon, wanted request) error {
	options, err := solveOptions(wanted)
	if err != nil {
		return err
	}
	connection, err := to.connect(ctx)
	if err != nil {
		return err
	}
	defer connection.Close()
	// Of its own context, so that what failed is said in any case.
	progress, err := progresswriter.NewPrinter(context.WithoutCancel(ctx), os.Stderr, "plain")
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		options.Ref = identity.NewID()
		response, err := connection.Solve(ctx, nil, options, progresswriter.ResetTime(progress).Status())
		if err != nil || wanted.metadataFile == "" {
			return err
		}
		metadata := response.ExporterResponse
		// What was built is built: a daemon whose history cannot be read takes nothing from that.
		if materials, err := materialsOf(ctx, connection, options.Ref); err == nil && len(materials) > 0 {
			encoded, err := json.Marshal(map[string]any{"images": materials})
			if err != nil {
				return err
			}
			metadata[materialsKey] = base64.StdEncoding.EncodeToString(encoded)
		}
		return writeMetadata(wanted.metadataFile, metadata)
	})
	group.Go(func() error {
		<-progress.Done()
		return progress.Err()
	})
	return group.Wait()
}

func solveOptions(wanted request) (client.SolveOpt, error) {
	options := client.SolveOpt{
		Frontend: wanted.frontend,
		Session: []session.Attachable{authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{
			AuthConfigProvider: authprovider.LoadAuthConfig(config.LoadDefaultConfigFile(os.Stderr)),
		})},
	}
	if len(wanted.secrets) > 0 {
		secrets, err := parse.ParseSecret(wanted.secrets)
		if err != nil {
			return options, err
		}
		options.Session = append(options.Session, secrets)
	}
	var err error
	if options.FrontendAttrs, err = parse.ParseOpt(wanted.options); err != nil {
		return options, err
	}
	if options.LocalMounts, err = parse.ParseLocal(wanted.local); err != nil {
		return options, err
	}
	if options.Exports, err = parse.ParseOutput(wanted.output); err != nil {
		return options, err
	}
	if options.CacheImports, err = parse.ParseImportCache(wanted.importCache); err != nil {
		return options, err
	}
	options.CacheExports, err = parse.ParseExportCache(wanted.exportCache)
	return options, err
}

func metadataValue(value string) any {
	decoded, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return value
	}
	var object map[string]any
	if json.Unmarshal(decoded, &object) != nil || len(object) == 0 {
		return value
	}
	return json.RawMessage(decoded)
}
