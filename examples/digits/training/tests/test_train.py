"""Runs the program as the Job does, and looks at everything it answers with."""

import json
import os
import subprocess
import sys
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

import model

TRAIN = Path(__file__).parent.parent / "train.py"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self):
        self.spans = []
        self.resources = []

    def Export(self, request, context):
        for resource_spans in request.resource_spans:
            self.resources.append(resource_spans.resource)
            for scope in resource_spans.scope_spans:
                self.spans.extend(scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector():
    servicer = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(servicer, server)
    servicer.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer
    server.stop(None)


def train(tmp_path, **env):
    output, result = tmp_path / "model", tmp_path / "result.json"
    finished = subprocess.run(
        [sys.executable, str(TRAIN)],
        env={**os.environ, "MODEL_OUTPUT": str(output), "RESULT_FILE": str(result), "EPOCHS": "3", **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return finished, output, result


def test_a_run_leaves_a_model_a_result_and_its_span(tmp_path, collector):
    finished, output, result_file = train(
        tmp_path,
        TRACEPARENT=f"00-{TRACE_ID}-{PARENT_ID}-01",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.port}",
        DATASET_VERSION="v7",
    )
    assert finished.returncode == 0, finished.stderr
    result = json.loads(result_file.read_text())
    assert result_file.stat().st_size <= 4096
    assert result["metrics"]["accuracy"] > 0.8
    assert result["model"]["digest"] == model.digest_directory(output)
    assert finished.stdout.rstrip().endswith(f"MODEL_ID={result['model']['id']}")

    (span,) = collector.spans
    attributes = {item.key: item.value for item in span.attributes}
    assert span.name == "keras-training-run"
    assert span.trace_id.hex() == TRACE_ID
    assert span.parent_span_id.hex() == PARENT_ID
    assert attributes["ml.dataset.version"].string_value == "v7"
    assert attributes["ml.hyperparams.epochs"].int_value == 3
    assert attributes["ml.metric.accuracy"].double_value == result["metrics"]["accuracy"]
    assert attributes["ml.model.id"].string_value == result["model"]["id"]
    assert [event.name for event in span.events] == ["epoch"] * 3


def test_the_same_seed_makes_the_same_bytes(tmp_path):
    outputs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        finished, output, _ = train(tmp_path / name)
        assert finished.returncode == 0, finished.stderr
        outputs.append({path.name: path.read_bytes() for path in output.iterdir()})
    assert outputs[0] == outputs[1]


def test_a_collector_that_is_away_is_no_reason_to_fail_or_to_complain(tmp_path):
    finished, _, _ = train(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", EPOCHS="1")
    assert finished.returncode == 0
    assert "Traceback" not in finished.stderr and "StatusCode" not in finished.stderr


def test_a_wrong_setting_is_one_line_and_nothing_is_trained(tmp_path):
    finished, output, result = train(tmp_path, EPOCHS="many")
    assert finished.returncode == 2
    assert finished.stderr.count("\n") == 1 and "EPOCHS" in finished.stderr
    assert not output.exists() and not result.exists()
