"""What a run is told, by the environment variables of Throughline's training contract."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass


class SettingError(ValueError):
    """A setting that cannot be used; its text is for the person who set it."""


@dataclass(frozen=True)
class Settings:
    learning_rate: float
    epochs: int
    batch_size: int
    seed: int
    dataset_name: str
    dataset_version: str
    model_name: str
    model_output: str
    result_file: str | None

    @classmethod
    def from_environment(cls, env: dict[str, str] | None = None) -> Settings:
        env = dict(os.environ) if env is None else env
        return cls(
            learning_rate=_number(env, "LEARNING_RATE", 0.01, float, low=0.0, high=10.0),
            epochs=_number(env, "EPOCHS", 15, int, low=1, high=10_000),
            batch_size=_number(env, "BATCH_SIZE", 64, int, low=1, high=100_000),
            seed=_number(env, "SEED", 7, int, low=0, high=2**31 - 1),
            dataset_name=env.get("DATASET_NAME", "digits"),
            dataset_version=env.get("DATASET_VERSION", "v1"),
            model_name=env.get("MODEL_NAME", "digits"),
            model_output=env.get("MODEL_OUTPUT") or "model-output",
            result_file=env.get("RESULT_FILE") or None,
        )


def _number(env, name, default, kind, low, high):
    text = env.get(name)
    if text is None or text.strip() == "":
        return default
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not math.isfinite(value) or not low <= value <= high or (kind is float and value <= low):
        raise SettingError(f"{name} is {text!r}; expected {'a whole number' if kind is int else 'a number'} from {low} to {high}")
    return value
