package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
)

const modelFormat = "throughline.dev/dense/v1"

// Limits that no digits model comes near: a damaged description must not exhaust the memory.
const (
	maxDescriptionBytes = 1 << 20
	maxUnits            = 1 << 16
	maxParameters       = 1 << 26
)

// network is a feed-forward network as the training wrote it: model.json describes it, weights.bin holds, per layer,
// the kernel (inputs x units, row by row) and the bias, as little-endian float32.
type network struct {
	inputs int
	scale  float32
	labels []string
	layers []layer
}

type layer struct {
	inputs, units int
	kernel, bias  []float32
	activate      func([]float32)
}

type description struct {
	Format     string   `json:"format"`
	Inputs     int      `json:"inputs"`
	InputScale float64  `json:"input_scale"`
	Labels     []string `json:"labels"`
	Layers     []struct {
		Type       string `json:"type"`
		Units      int    `json:"units"`
		Activation string `json:"activation"`
	} `json:"layers"`
}

var activations = map[string]func([]float32){
	"linear":  func([]float32) {},
	"relu":    relu,
	"softmax": softmax,
}

func loadNetwork(directory string) (*network, error) {
	file, err := os.Open(filepath.Join(directory, "model.json"))
	if err != nil {
		return nil, fmt.Errorf("no model at %s: %w", directory, err)
	}
	defer file.Close()
	var described description
	if err := json.NewDecoder(io.LimitReader(file, maxDescriptionBytes)).Decode(&described); err != nil {
		return nil, fmt.Errorf("%s is not readable: %w", file.Name(), err)
	}
	weights, err := os.ReadFile(filepath.Join(directory, "weights.bin"))
	if err != nil {
		return nil, fmt.Errorf("the model has no weights: %w", err)
	}
	return newNetwork(described, weights)
}

func newNetwork(described description, weights []byte) (*network, error) {
	if described.Format != modelFormat {
		return nil, fmt.Errorf("the model's format is %q; expected %q", described.Format, modelFormat)
	}
	// Requests bring side*side pixels: any other number would index out of the inputs, or leave some at zero.
	if described.Inputs != side*side || len(described.Layers) == 0 {
		return nil, fmt.Errorf("the model has %d inputs and %d layers; expected %d inputs", described.Inputs, len(described.Layers), side*side)
	}
	// A scale that is missing decodes as 0, and every image would be the same to the network.
	if described.InputScale <= 0 {
		return nil, fmt.Errorf("the model's input_scale is %g; expected more than 0", described.InputScale)
	}
	net := &network{inputs: described.Inputs, scale: float32(described.InputScale), labels: described.Labels}
	rest := weights
	inputs := described.Inputs
	for number, one := range described.Layers {
		activate, known := activations[one.Activation]
		if one.Type != "dense" || !known {
			return nil, fmt.Errorf("layer %d is %s with %s, which this service cannot compute", number, one.Type, one.Activation)
		}
		if one.Units < 1 || one.Units > maxUnits || inputs*one.Units > maxParameters {
			return nil, fmt.Errorf("layer %d has %d units", number, one.Units)
		}
		next := layer{inputs: inputs, units: one.Units, activate: activate}
		if next.kernel, rest = floats(rest, inputs*one.Units); next.kernel == nil {
			return nil, fmt.Errorf("weights.bin ends within layer %d", number)
		}
		if next.bias, rest = floats(rest, one.Units); next.bias == nil {
			return nil, fmt.Errorf("weights.bin ends within layer %d", number)
		}
		// A weight that is not finite would make every answer one that JSON cannot hold.
		if !finite(next.kernel) || !finite(next.bias) {
			return nil, fmt.Errorf("layer %d has weights that are not finite", number)
		}
		net.layers = append(net.layers, next)
		inputs = one.Units
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("weights.bin has %d bytes more than the layers take", len(rest))
	}
	if len(net.labels) != inputs {
		return nil, fmt.Errorf("the model has %d labels for %d outputs", len(net.labels), inputs)
	}
	return net, nil
}

func finite(values []float32) bool {
	for _, value := range values {
		if math.IsNaN(float64(value)) || math.IsInf(float64(value), 0) {
			return false
		}
	}
	return true
}

func floats(from []byte, count int) ([]float32, []byte) {
	if len(from) < 4*count {
		return nil, nil
	}
	values := make([]float32, count)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(from[4*i:]))
	}
	return values, from[4*count:]
}

// predict gives the class with the highest output, and that output. pixels has one byte per input.
func (n *network) predict(pixels []byte) (class int, confidence float64) {
	values := make([]float32, n.inputs)
	for i, pixel := range pixels {
		values[i] = float32(pixel) * n.scale
	}
	for _, one := range n.layers {
		values = one.apply(values)
	}
	for i, value := range values {
		if value > values[class] {
			class = i
		}
	}
	return class, float64(values[class])
}

func (l layer) apply(inputs []float32) []float32 {
	outputs := make([]float32, l.units)
	copy(outputs, l.bias)
	for i, input := range inputs {
		row := l.kernel[i*l.units : (i+1)*l.units]
		for j, weight := range row {
			outputs[j] += input * weight
		}
	}
	l.activate(outputs)
	return outputs
}

func relu(values []float32) {
	for i, value := range values {
		values[i] = max(0, value)
	}
}

// softmax subtracts the maximum first, so that no exponential overflows.
func softmax(values []float32) {
	highest := values[0]
	for _, value := range values {
		highest = max(highest, value)
	}
	var sum float64
	for i, value := range values {
		e := math.Exp(float64(value - highest))
		values[i] = float32(e)
		sum += e
	}
	for i := range values {
		values[i] = float32(float64(values[i]) / sum)
	}
}
