package main

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	_ "image/png" // registers the format
)

const side = 8

var errImage = errors.New("expected 64 bytes, 8x8 pixels of grey row by row, or a PNG")

// More than a hand-drawn digit needs. A PNG of 16-bit RGBA takes 8 bytes a pixel once decoded, however few it is
// compressed to: 8 MiB here, of the 128 MiB that a pod may have.
const maxPixels = 1024 * 1024

// decodePixels turns an image into what the network takes: 8x8 pixels, 0 to 255, row by row.
func decodePixels(data []byte) ([]byte, error) {
	if len(data) == side*side {
		return data, nil
	}
	config, format, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, errImage
	}
	if config.Width < side || config.Height < side || config.Width*config.Height > maxPixels {
		return nil, fmt.Errorf("a %s of %dx%d pixels; expected at least 8x8 and at most %d pixels", format, config.Width, config.Height, maxPixels)
	}
	picture, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, errImage
	}
	return shrink(picture), nil
}

// shrink averages the boxes of an 8x8 grid.
func shrink(picture image.Image) []byte {
	bounds := picture.Bounds()
	pixels := make([]byte, 0, side*side)
	for row := range side {
		top, bottom := bounds.Min.Y+row*bounds.Dy()/side, bounds.Min.Y+(row+1)*bounds.Dy()/side
		for column := range side {
			left, right := bounds.Min.X+column*bounds.Dx()/side, bounds.Min.X+(column+1)*bounds.Dx()/side
			var sum, count int
			for y := top; y < bottom; y++ {
				for x := left; x < right; x++ {
					sum += int(color.GrayModel.Convert(picture.At(x, y)).(color.Gray).Y)
					count++
				}
			}
			pixels = append(pixels, byte(sum/count))
		}
	}
	return pixels
}
