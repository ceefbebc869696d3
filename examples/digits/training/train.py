"""Trains the digits model: one run, one span, one result."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from opentelemetry.trace import Status, StatusCode

import data
import model
import telemetry
from settings import SettingError, Settings


def main() -> int:
    try:
        settings = Settings.from_environment()
    except SettingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # A pod that is evicted gets SIGTERM: as an exception it ends the span, which is then sent.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with telemetry.tracing() as tracer:
        with tracer.start_as_current_span(
            "keras-training-run", context=telemetry.parent_context(), record_exception=True, set_status_on_exception=True
        ) as span:
            try:
                run(settings, span)
            except SystemExit:
                span.set_status(Status(StatusCode.ERROR, "stopped by SIGTERM"))
                raise
    return 0


def run(settings: Settings, span) -> None:
    span.set_attributes(
        {
            "ml.dataset.name": settings.dataset_name,
            "ml.dataset.version": settings.dataset_version,
            "ml.hyperparams.learning_rate": settings.learning_rate,
            "ml.hyperparams.epochs": settings.epochs,
            "ml.hyperparams.batch_size": settings.batch_size,
            "ml.hyperparams.seed": settings.seed,
        }
    )
    digits = data.load()
    print(f"dataset {settings.dataset_name}@{settings.dataset_version} {digits.digest}: "
          f"{len(digits.train_labels)} images to train on, {len(digits.held_out_labels)} held out", flush=True)

    def on_epoch(number: int, metrics: dict[str, float]) -> None:
        span.add_event("epoch", {"ml.epoch": number, **{f"ml.metric.{name}": value for name, value in metrics.items()}})
        shown = " ".join(f"{name}={value:.4f}" for name, value in metrics.items())
        print(f"epoch {number}/{settings.epochs} {shown}", flush=True)

    network = model.build(settings.learning_rate, settings.seed)
    model.fit(network, digits.train_images, digits.train_labels, settings.epochs, settings.batch_size, on_epoch)
    metrics = model.evaluate(network, digits.held_out_images, digits.held_out_labels)

    output = Path(settings.model_output).resolve()
    model.save(network, output)
    digest = model.digest_directory(output)
    model_id = f"{settings.model_name}-{digest.removeprefix('sha256:')[:12]}"
    span.set_attributes(
        {
            "ml.model.id": model_id,
            "ml.model.path": str(output),
            "ml.metric.accuracy": metrics["accuracy"],
            "ml.metric.loss": metrics["loss"],
        }
    )
    report(settings, model_id, digest, output, metrics, digits.digest)


def report(settings: Settings, model_id: str, digest: str, output: Path, metrics: dict[str, float], dataset: str) -> None:
    result = {
        "model": {"id": model_id, "uri": output.as_uri(), "digest": digest},
        "metrics": metrics,
        "dataset": {"digest": dataset},
    }
    if settings.result_file:
        # On Kubernetes this is the termination log, a mounted file: it can be written to, but not replaced.
        with open(settings.result_file, "w", encoding="utf-8") as file:
            json.dump(result, file, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
    print(f"accuracy={metrics['accuracy']:.6f}", flush=True)
    print(f"MODEL_ID={model_id}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
