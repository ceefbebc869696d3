// Command throughline-oci is what Throughline does with OCI registries: it pushes models from beside a training program,
// and resolves tags to digests for the worker. Credentials and their helpers are Docker's: DOCKER_CONFIG, or
// ~/.docker/config.json.
package main

import (
	"fmt"
	"os"
)

func main() {
	commands := map[string]func([]string) int{"push-model": pushModel, "digest": printDigest, "attest": attest, "evidence": printEvidence}
	if len(os.Args) >= 2 {
		if command, known := commands[os.Args[1]]; known {
			os.Exit(command(os.Args[2:]))
		}
	}
	fmt.Fprintln(os.Stderr, "usage: throughline-oci push-model --directory DIR --reference REPOSITORY:TAG\n       throughline-oci digest REFERENCE\n       throughline-oci attest REPOSITORY@DIGEST < ATTESTATIONS\n       throughline-oci evidence REFERENCE")
	os.Exit(2)
}
