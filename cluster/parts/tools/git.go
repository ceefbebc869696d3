package main

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"strings"
	"time"
)

// serveGit serves the bare repositories below a directory with git's own http-backend. Everybody has to say who they
// are. Arguments: address, directory, certificate, key, and the file with USER:PASSWORD.
func serveGit(args []string) error {
	if len(args) != 5 {
		return errors.New("expected ADDRESS DIRECTORY CERTIFICATE KEY CREDENTIALS")
	}
	address, directory, certificate, key := args[0], args[1], args[2], args[3]
	content, err := os.ReadFile(args[4])
	if err != nil {
		return err
	}
	user, password, _ := strings.Cut(strings.TrimSpace(string(content)), ":")
	git, err := exec.LookPath("git")
	if err != nil {
		return err
	}
	same := func(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
	handler := http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		givenUser, givenPassword, _ := request.BasicAuth()
		if !same(givenUser, user) || !same(givenPassword, password) {
			response.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(response, "who are you?", http.StatusUnauthorized)
			return
		}
		backend := cgi.Handler{
			Path: git,
			Args: []string{"http-backend"},
			Env: []string{
				"GIT_PROJECT_ROOT=" + directory,
				"GIT_HTTP_EXPORT_ALL=1",
				"REMOTE_USER=" + user, // with a user, http-backend takes pushes
				// Whoever made the repositories, it is this server that owns what is served.
				"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
			},
			InheritEnv: []string{"PATH"},
		}
		if protocol := request.Header.Get("Git-Protocol"); protocol != "" {
			backend.Env = append(backend.Env, "GIT_PROTOCOL="+protocol)
		}
		backend.ServeHTTP(response, request)
	})
	server := &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	return server.ListenAndServeTLS(certificate, key)
}
