"""Prints held-out images, as the inference service takes them: what the model has never seen."""

from __future__ import annotations

import argparse
import base64
import json

import data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    count = parser.parse_args().count
    digits = data.load()
    pairs = zip(digits.held_out_images[:count], digits.held_out_labels[:count], strict=True)
    print(json.dumps([{"image_data": base64.b64encode(image.tobytes()).decode(), "label": int(label)} for image, label in pairs]))


if __name__ == "__main__":
    main()
