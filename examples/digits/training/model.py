"""The network, its training, and the plain format in which the inference service reads it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Callable

import numpy as np

FORMAT = "throughline.dev/dense/v1"
INPUTS = 64
INPUT_SCALE = 1.0 / 255.0
CLASSES = 10

EpochEnd = Callable[[int, dict[str, float]], None]


def build(learning_rate: float, seed: int):
    import keras  # here, as it takes seconds: bad settings are refused before

    keras.utils.set_random_seed(seed)
    network = keras.Sequential(
        [
            keras.Input((INPUTS,)),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    network.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return network


def fit(network, images: np.ndarray, labels: np.ndarray, epochs: int, batch_size: int, on_epoch: EpochEnd) -> None:
    """Trains. The last tenth of the training images is for watching the run; the held-out ones are not touched."""
    import keras

    class Report(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            on_epoch(epoch + 1, {name: float(value) for name, value in (logs or {}).items()})

    network.fit(
        _scaled(images),
        labels,
        epochs=epochs,
        batch_size=batch_size,
        validation_split=0.1,
        verbose=0,
        callbacks=[Report()],
    )


def evaluate(network, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    loss, accuracy = network.evaluate(_scaled(images), labels, verbose=0)
    return {"loss": float(loss), "accuracy": float(accuracy)}


def save(network, directory: Path) -> None:
    """Writes model.json and weights.bin: per layer the kernel (inputs x units, row by row), then the bias; float32,
    little-endian. Byte for byte the same for the same weights, which Keras' own archive is not."""
    directory.mkdir(parents=True, exist_ok=True)
    layers = []
    weights = b""
    for layer in network.layers:
        if type(layer).__name__ != "Dense":
            continue  # dropout does nothing once the training is over
        kernel, bias = (np.asarray(part, dtype="<f4") for part in layer.get_weights())
        layers.append({"type": "dense", "units": int(kernel.shape[1]), "activation": layer.activation.__name__})
        weights += kernel.tobytes(order="C") + bias.tobytes()
    description = {
        "format": FORMAT,
        "inputs": INPUTS,
        "input_scale": INPUT_SCALE,
        "labels": [str(digit) for digit in range(CLASSES)],
        "layers": layers,
    }
    (directory / "model.json").write_text(json.dumps(description, indent=2) + "\n")
    (directory / "weights.bin").write_bytes(weights)


def digest_directory(directory: Path) -> str:
    """sha256 over the lines that sha256sum prints for the files, sorted by path: the digest that Throughline computes."""
    files = sorted((path for path in directory.rglob("*") if path.is_file()), key=lambda path: path.relative_to(directory).as_posix().encode())
    lines = hashlib.sha256()
    for path in files:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.update(f"{content}  {path.relative_to(directory).as_posix()}\n".encode())
    return f"sha256:{lines.hexdigest()}"


def _scaled(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) * np.float32(INPUT_SCALE)
