package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// namespaces in the order in which they are entered. The PID namespace counts for children only; the mount namespace
// comes last, because the others are found through this one's /proc.
var namespaces = []struct {
	name string
	flag int
}{{"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}, {"net", unix.CLONE_NEWNET}, {"pid", unix.CLONE_NEWPID}, {"mnt", unix.CLONE_NEWNS}}

// enter runs a program in the namespaces of a process, passes signals on to it, and ends as it does. nsenter(1) would
// leave the program running when it is itself ended. Arguments: the process's id, then the program and its arguments.
func enter(args []string) error {
	if len(args) < 2 {
		return errors.New("expected PID PROGRAM…")
	}
	pid := args[0]
	if _, err := strconv.Atoi(pid); err != nil {
		return fmt.Errorf("expected a process id, found %q", pid)
	}
	directory, err := os.Getwd()
	if err != nil {
		return err
	}
	self, err := os.Executable() // from /proc, which will be another one
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)

	runtime.LockOSThread() // a namespace is a thread's: the child must be forked from this one
	var handles []*os.File
	for _, namespace := range namespaces {
		handle, err := os.Open(filepath.Join("/proc", pid, "ns", namespace.name))
		if err != nil {
			return err
		}
		handles = append(handles, handle)
	}
	// A thread that shares its root and working directory with others may not change its mount namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	for index, namespace := range namespaces {
		if err := unix.Setns(int(handles[index].Fd()), namespace.flag); err != nil {
			return fmt.Errorf("%s namespace of %s: %w", namespace.name, pid, err)
		}
	}
	if err := os.Chdir(directory); err != nil {
		return err
	}
	child := exec.Command(self, append([]string{"tied"}, args[1:]...)...)
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.ExtraFiles = inherited()
	if err := child.Start(); err != nil {
		return err
	}
	go func() {
		for received := range signals {
			_ = child.Process.Signal(received)
		}
	}()
	err = child.Wait()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		if status, ok := ended.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			os.Exit(128 + int(status.Signal()))
		}
		os.Exit(ended.ExitCode())
	}
	return err
}

// tied becomes a program that is killed when its parent ends. (Go's own Pdeathsig looks for the parent's id first, and
// across PID namespaces there is none to be seen.)
func tied(args []string) error {
	runtime.LockOSThread() // the setting is the thread's
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	program, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	return unix.Exec(program, args, os.Environ())
}

// launch starts a program that outlives it, in a session of its own, with its output in a file, and writes its id into
// another. The program's parent becomes process 1 of the namespace. Arguments: PIDFILE LOGFILE PROGRAM…
func launch(args []string) error {
	if len(args) < 3 {
		return errors.New("expected PIDFILE LOGFILE PROGRAM…")
	}
	log, err := os.OpenFile(args[1], os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	child := exec.Command(args[2], args[3:]...)
	child.Stdout, child.Stderr = log, log
	child.ExtraFiles = inherited()
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		return err
	}
	return os.WriteFile(args[0], []byte(strconv.Itoa(child.Process.Pid)), 0o644)
}

// inherited gives the descriptors from 3 on that forward passed, in their order, as INHERITED says.
func inherited() []*os.File {
	count, _ := strconv.Atoi(os.Getenv("INHERITED"))
	var files []*os.File
	for index := range count {
		files = append(files, os.NewFile(uintptr(3+index), "inherited"))
	}
	return files
}
