package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// imageSpec is what an image is made of. Each layer is an archive as it is, or files and directories by their path in
// the image.
type imageSpec struct {
	Reference string            `json:"reference"`
	Archive   string            `json:"archive"` // where to write it; pushed to the registry where there is none
	Env       []string          `json:"env"`
	Entry     []string          `json:"entrypoint"`
	WorkDir   string            `json:"workdir"`
	Layers    []layerSpec       `json:"layers"`
	Labels    map[string]string `json:"labels"`
}

type layerSpec struct {
	Tar   string            `json:"tar"`
	Files map[string]string `json:"files"`
	// Directories to make, with their mode in octal.
	Directories map[string]string `json:"directories"`
}

// The same content makes the same digest, whenever and wherever it is made.
var epoch = time.Unix(0, 0).UTC()

func makeImage(args []string) error {
	if len(args) != 1 {
		return errors.New("expected one argument: JSON")
	}
	var spec imageSpec
	if err := json.Unmarshal([]byte(args[0]), &spec); err != nil {
		return err
	}
	image := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	scratch, err := os.MkdirTemp("", "throughline-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	for index, one := range spec.Layers {
		source := one.Tar
		if source == "" {
			source = filepath.Join(scratch, fmt.Sprintf("%d.tar", index))
			if err := archive(source, one); err != nil {
				return err
			}
		}
		layer, err := tarball.LayerFromFile(source, tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(1))
		if err != nil {
			return err
		}
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			return err
		}
	}
	config, err := image.ConfigFile()
	if err != nil {
		return err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", runtime.GOARCH, v1.Time{Time: epoch}
	config.Config = v1.Config{Env: spec.Env, Entrypoint: spec.Entry, WorkingDir: spec.WorkDir, Labels: spec.Labels}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return err
	}
	reference, err := name.NewTag(spec.Reference)
	if err != nil {
		return err
	}
	if spec.Archive != "" {
		err = tarball.WriteToFile(spec.Archive, reference, image)
	} else {
		err = remote.Write(reference, image, remote.WithAuthFromKeychain(authn.DefaultKeychain))
	}
	if err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	fmt.Println(digest)
	return nil
}

// archive writes the files of a layer, owned by root.
func archive(target string, layer layerSpec) (err error) {
	file, err := os.Create(target)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	writer := tar.NewWriter(file)
	for _, directory := range slices.Sorted(maps.Keys(layer.Directories)) {
		var bits int64
		if _, err := fmt.Sscanf(layer.Directories[directory], "%o", &bits); err != nil {
			return err
		}
		header := &tar.Header{Typeflag: tar.TypeDir, Name: relative(directory) + "/", Mode: bits, ModTime: epoch}
		if err := writer.WriteHeader(header); err != nil {
			return err
		}
	}
	for _, target := range slices.Sorted(maps.Keys(layer.Files)) {
		if err := add(writer, layer.Files[target], target); err != nil {
			return err
		}
	}
	return writer.Close()
}

func add(writer *tar.Writer, source, target string) error {
	return filepath.WalkDir(source, func(found string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(source, found)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		link := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			if link, err = os.Readlink(found); err != nil {
				return err
			}
		}
		header, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		header.Name = relative(path.Join(target, filepath.ToSlash(inside)))
		if entry.IsDir() {
			header.Name += "/"
		}
		header.Uid, header.Gid, header.Uname, header.Gname, header.ModTime = 0, 0, "", "", epoch
		if err := writer.WriteHeader(header); err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		content, err := os.Open(found)
		if err != nil {
			return err
		}
		defer content.Close()
		_, err = io.Copy(writer, content)
		return err
	})
}

func relative(name string) string {
	return path.Clean("/" + name)[1:]
}
