package main

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// imageOf gives the image of a model: one layer with the directory's content below /model. Its digest is a function of
// the content alone, so that it names the model. Nil where the directory holds no file.
func imageOf(directory string) (v1.Image, error) {
	layer, err := newModelLayer(directory)
	if err != nil || layer == nil {
		return nil, err
	}
	image := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	image, err = mutate.AppendLayers(image, layer)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	// A model runs nowhere; builders want a platform all the same, and take this one for a build on any.
	config.OS, config.Architecture, config.Created = "linux", "amd64", v1.Time{Time: epoch}
	config.History = nil
	return mutate.ConfigFile(image, config)
}

var epoch = time.Unix(0, 0).UTC()

// modelLayer is read from the directory each time that it is needed: models may be larger than the memory, and the disk
// of a pod may have no room for a second one. It is not compressed: weights hardly are compressible, and a compressor's
// next version would give the same model another digest.
type modelLayer struct {
	directory string
	digest    v1.Hash
	size      int64
}

func newModelLayer(directory string) (*modelLayer, error) {
	layer := &modelLayer{directory: directory}
	hash := sha256.New()
	counter := &countingWriter{to: hash}
	files, err := layer.write(counter)
	if err != nil || files == 0 {
		return nil, err
	}
	layer.digest = v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(hash.Sum(nil))}
	layer.size = counter.written
	return layer, nil
}

func (layer *modelLayer) Digest() (v1.Hash, error)             { return layer.digest, nil }
func (layer *modelLayer) DiffID() (v1.Hash, error)             { return layer.digest, nil }
func (layer *modelLayer) Size() (int64, error)                 { return layer.size, nil }
func (layer *modelLayer) MediaType() (types.MediaType, error)  { return types.OCIUncompressedLayer, nil }
func (layer *modelLayer) Uncompressed() (io.ReadCloser, error) { return layer.Compressed() }

func (layer *modelLayer) Compressed() (io.ReadCloser, error) {
	reader, writer := io.Pipe()
	go func() {
		_, err := layer.write(writer)
		writer.CloseWithError(err)
	}()
	return reader, nil
}

// write writes the archive: names in their order, owned by root, without times. Gives the number of files.
func (layer *modelLayer) write(to io.Writer) (int, error) {
	archive := tar.NewWriter(to)
	files := 0
	err := filepath.WalkDir(layer.directory, func(found string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(layer.directory, found)
		if err != nil {
			return err
		}
		header := &tar.Header{Name: path.Join("model", filepath.ToSlash(inside)), ModTime: epoch, Format: tar.FormatPAX}
		switch {
		case entry.IsDir():
			header.Typeflag, header.Mode = tar.TypeDir, 0o755
			header.Name += "/"
			return archive.WriteHeader(header)
		case entry.Type()&fs.ModeSymlink != 0:
			if header.Linkname, err = os.Readlink(found); err != nil {
				return err
			}
			header.Typeflag, header.Mode = tar.TypeSymlink, 0o777
			files++
			return archive.WriteHeader(header)
		case !entry.Type().IsRegular():
			return nil // a socket or a pipe is no part of a model
		}
		files++
		file, err := os.Open(found)
		if err != nil {
			return err
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return err
		}
		header.Typeflag, header.Size, header.Mode = tar.TypeReg, info.Size(), 0o644
		if info.Mode()&0o111 != 0 {
			header.Mode = 0o755
		}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err = io.Copy(archive, file)
		return err
	})
	if err != nil {
		return files, err
	}
	return files, archive.Close()
}

type countingWriter struct {
	to      io.Writer
	written int64
}

func (counter *countingWriter) Write(data []byte) (int, error) {
	count, err := counter.to.Write(data)
	counter.written += int64(count)
	return count, err
}
