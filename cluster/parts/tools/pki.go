package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certificate is one line of what pki is asked for.
type certificate struct {
	Name          string   `json:"name"`
	CommonName    string   `json:"commonName"`
	Organizations []string `json:"organizations"`
	Hosts         []string `json:"hosts"`
}

// A development cluster's certificates are made anew whenever it is reset.
const validity = 365 * 24 * time.Hour

// pki writes into a directory: ca.crt and ca.key unless they are there; NAME.crt and NAME.key for each certificate
// asked for as JSON; and service-account.key and .pub, which sign the tokens of service accounts.
func pki(args []string) error {
	if len(args) != 2 {
		return errors.New("expected DIRECTORY JSON")
	}
	directory := args[0]
	var wanted []certificate
	if err := json.Unmarshal([]byte(args[1]), &wanted); err != nil {
		return err
	}
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	authority, key, err := certificateAuthority(directory)
	if err != nil {
		return err
	}
	for _, one := range wanted {
		if err := issue(directory, one, authority, key); err != nil {
			return fmt.Errorf("%s: %w", one.Name, err)
		}
	}
	return serviceAccountKey(directory)
}

func certificateAuthority(directory string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	path := filepath.Join(directory, "ca")
	encoded, err := os.ReadFile(path + ".crt")
	if err == nil {
		block, _ := pem.Decode(encoded)
		authority, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, nil, err
		}
		encodedKey, err := os.ReadFile(path + ".key")
		if err != nil {
			return nil, nil, err
		}
		keyBlock, _ := pem.Decode(encodedKey)
		key, err := x509.ParseECPrivateKey(keyBlock.Bytes)
		return authority, key, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template, err := newTemplate(pkix.Name{CommonName: "Throughline local cluster"})
	if err != nil {
		return nil, nil, err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	// The key first: where the certificate is there, so is its key.
	if err := writeKey(path+".key", key); err != nil {
		return nil, nil, err
	}
	if err := writePEM(path+".crt", "CERTIFICATE", der, 0o644); err != nil {
		return nil, nil, err
	}
	authority, err := x509.ParseCertificate(der)
	return authority, key, err
}

func issue(directory string, wanted certificate, authority *x509.Certificate, authorityKey *ecdsa.PrivateKey) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template, err := newTemplate(pkix.Name{CommonName: wanted.CommonName, Organization: wanted.Organizations})
	if err != nil {
		return err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	for _, host := range wanted.Hosts {
		if address := net.ParseIP(host); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority, key.Public(), authorityKey)
	if err != nil {
		return err
	}
	path := filepath.Join(directory, wanted.Name)
	if err := writeKey(path+".key", key); err != nil {
		return err
	}
	return writePEM(path+".crt", "CERTIFICATE", der, 0o644)
}

func serviceAccountKey(directory string) error {
	path := filepath.Join(directory, "service-account")
	if _, err := os.Stat(path + ".pub"); err == nil {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if err := writeKey(path+".key", key); err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	return writePEM(path+".pub", "PUBLIC KEY", der, 0o644)
}

func newTemplate(subject pkix.Name) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // RFC 5280: at most 20 octets
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    now.Add(-time.Minute),
		NotAfter:     now.Add(validity),
	}, nil
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "EC PRIVATE KEY", der, 0o600)
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	temporary := path + ".new"
	if err := os.WriteFile(temporary, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
