package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
)

// forward listens in the network namespace that it is started in, and hands the listening sockets to a relay in the
// namespaces of another process: a socket stays where it was opened, so that connections arrive here and go on there.
// Arguments: the other process's id, PIDFILE and LOGFILE of the relay, then LISTEN=TARGET, each HOST:PORT.
func forward(args []string) error {
	if len(args) < 4 {
		return fmt.Errorf("expected PID PIDFILE LOGFILE LISTEN=TARGET…")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	child := exec.Command(self, "enter", args[0], self, "launch", args[1], args[2], self, "relay")
	for _, pair := range args[3:] {
		listen, target, found := strings.Cut(pair, "=")
		if !found {
			return fmt.Errorf("expected LISTEN=TARGET, found %q", pair)
		}
		listener, err := net.Listen("tcp", listen)
		if err != nil {
			return err
		}
		file, err := listener.(*net.TCPListener).File()
		if err != nil {
			return err
		}
		child.ExtraFiles = append(child.ExtraFiles, file)
		child.Args = append(child.Args, target)
	}
	child.Env = append(os.Environ(), fmt.Sprintf("INHERITED=%d", len(child.ExtraFiles)))
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	return child.Run()
}

// relay accepts on the sockets that it inherited, from descriptor 3 on, and connects each to its target.
func relay(targets []string) error {
	for index, target := range targets {
		listener, err := net.FileListener(os.NewFile(uintptr(3+index), target))
		if err != nil {
			return err
		}
		go func() {
			for {
				incoming, err := listener.Accept()
				if err != nil {
					return
				}
				go connect(incoming.(*net.TCPConn), target)
			}
		}()
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	<-signals
	return nil
}

func connect(incoming *net.TCPConn, target string) {
	defer incoming.Close()
	dialed, err := net.Dial("tcp", target)
	if err != nil {
		_ = incoming.SetLinger(0) // reads like a refused connection, not like an answer that ended
		return
	}
	outgoing := dialed.(*net.TCPConn)
	defer outgoing.Close()
	done := make(chan struct{}, 2)
	pipe := func(to, from *net.TCPConn) {
		_, _ = io.Copy(to, from)
		_ = to.CloseWrite()
		done <- struct{}{}
	}
	go pipe(outgoing, incoming)
	go pipe(incoming, outgoing)
	<-done
	<-done
}
