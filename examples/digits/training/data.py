"""scikit-learn's bundled digits: 1,797 images of 8x8 pixels, each pixel 0 to 16. Nothing is downloaded."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

# The split is part of the dataset's version, not of a training run: the held-out images are the same ones for every
# seed, so that the accuracies of two runs can be compared, and none of them is ever trained on.
SPLIT_SEED = 20
HELD_OUT_SHARE = 0.2


class Digits(NamedTuple):
    """Images are uint8 of shape (n, 64), 0 to 255, row by row; labels are int32 of shape (n,)."""

    train_images: np.ndarray
    train_labels: np.ndarray
    held_out_images: np.ndarray
    held_out_labels: np.ndarray
    digest: str


def load() -> Digits:
    source = load_digits()
    images = np.round(source.data * 255 / 16).astype(np.uint8)
    labels = source.target.astype(np.int32)
    train_x, held_x, train_y, held_y = train_test_split(
        images, labels, test_size=HELD_OUT_SHARE, random_state=SPLIT_SEED, stratify=labels
    )
    digest = hashlib.sha256()
    for array in (train_x, train_y, held_x, held_y):
        digest.update(np.ascontiguousarray(array).tobytes())
    return Digits(train_x, train_y, held_x, held_y, f"sha256:{digest.hexdigest()}")
