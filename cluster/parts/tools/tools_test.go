package main

import (
	"archive/tar"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCertificatesAreOfTheAuthorityAndTheAuthorityStays(t *testing.T) {
	directory := t.TempDir()
	wanted, _ := json.Marshal([]certificate{{Name: "server", CommonName: "server", Hosts: []string{"10.0.0.1", "name"}}})
	if err := pki([]string{directory, string(wanted)}); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(filepath.Join(directory, "ca.crt"))
	if err := pki([]string{directory, string(wanted)}); err != nil {
		t.Fatal(err)
	}
	after, _ := os.ReadFile(filepath.Join(directory, "ca.crt"))
	if string(before) != string(after) {
		t.Fatal("the authority was made anew")
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(after)
	pair, err := tls.LoadX509KeyPair(filepath.Join(directory, "server.crt"), filepath.Join(directory, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := x509.ParseCertificate(pair.Certificate[0])
	for _, host := range []string{"10.0.0.1", "name"} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err != nil {
			t.Fatalf("%s: %v", host, err)
		}
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "other"}); err == nil {
		t.Fatal("any host is taken")
	}
	for _, private := range []string{"ca.key", "server.key", "service-account.key"} {
		info, err := os.Stat(filepath.Join(directory, private))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%s: %v %v", private, info, err)
		}
	}
}

func TestLayersAreAFunctionOfTheirContent(t *testing.T) {
	source := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(source, []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	spec := layerSpec{
		Files:       map[string]string{"/bin/b": source, "/bin/a": source},
		Directories: map[string]string{"/tmp": "1777"},
	}
	var contents []string
	for range 2 {
		target := filepath.Join(t.TempDir(), "layer.tar")
		if err := archive(target, spec); err != nil {
			t.Fatal(err)
		}
		content, _ := os.ReadFile(target)
		contents = append(contents, string(content))
	}
	if contents[0] != contents[1] {
		t.Fatal("the same content makes another layer")
	}
	reader := tar.NewReader(strings.NewReader(contents[0]))
	var names []string
	for {
		header, err := reader.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
		if header.Uid != 0 || header.ModTime.Unix() != 0 {
			t.Fatalf("%+v", header)
		}
	}
	if strings.Join(names, " ") != "tmp/ bin/a bin/b" {
		t.Fatal(names)
	}
}
