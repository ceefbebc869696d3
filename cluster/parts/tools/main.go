// Command tools holds the few small programs that the local cluster needs and that Debian and upstream do not bring in
// the shape in which it needs them. One binary, so that it builds once.
package main

import (
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

var commands = map[string]struct {
	what string
	run  func(args []string) error
}{
	"enter":    {"run a program in the namespaces of a process", enter},
	"tied":     {"become a program that ends with its parent", tied},
	"launch":   {"start a program that outlives its starter", launch},
	"init":     {"be process 1 of the cluster's machine", initialise},
	"pause":    {"hold a pod's namespaces", pause},
	"forward":  {"pass connections to ports of this machine's loopback into the cluster's", forward},
	"relay":    {"the half of forward that runs in the cluster", relay},
	"pki":      {"make the certificate authority and its certificates", pki},
	"htpasswd": {"print a line of a password file", htpasswd},
	"git":      {"serve git repositories over HTTPS", serveGit},
	"image":    {"make an image of directories and archives", makeImage},
}

func main() {
	if len(os.Args) >= 2 {
		if command, known := commands[os.Args[1]]; known {
			if err := command.run(os.Args[2:]); err != nil {
				fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
				os.Exit(1)
			}
			return
		}
	}
	for _, name := range slices.Sorted(maps.Keys(commands)) {
		fmt.Fprintf(os.Stderr, "  %-8s %s\n", name, commands[name].what)
	}
	os.Exit(2)
}

// initialise does what a process 1 must: it collects the children that nobody else waits for, and it ends the machine
// when it is told to. The kernel then ends every other process of the PID namespace.
func initialise([]string) error {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, syscall.SIGCHLD, syscall.SIGTERM, syscall.SIGINT)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return nil
		}
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if pid <= 0 || err != nil {
				break
			}
		}
	}
	return nil
}

func pause([]string) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	<-signals
	return nil
}
