from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError, DataError, RequestError
from recserve.serving.lifecycle.tfrecord import write_tfrecord
from recserve.serving.lifecycle.warmup import REQUESTS_FILE, RecordedCall, WarmUp, answer_log
from recserve.signatures import Signature, TensorSpec
from recserve.wire.examples import write_examples
from recserve.wire.tensor_proto import encode_tensor
from recserve.wire.tensorflow_serving import PredictionLog


class Heard:
    """Keeps what it is asked."""

    name, version = "m", 1

    def __init__(self, *shape: int | None, dtype: str = "float32", method: Any = "predict") -> None:
        x, y = TensorSpec("x", dtype, shape), TensorSpec("outputs", "float32", (None,))
        self.signatures = {"serving_default": Signature("serving_default", {"x": x}, {"outputs": y}, method)}
        self.asked: list[Any] = []

    def run(self, _: str, inputs: Any, __: Any = None) -> dict[str, Any]:
        if inputs["x"].dtype == np.float32 and inputs["x"].size and inputs["x"].flat[0] < 0:
            raise DataError("x is negative")
        self.asked.append(inputs["x"].tolist())
        return {}

    def close(self) -> None:
        raise AssertionError


def predict_log(*values: float) -> Any:
    log = PredictionLog()
    log.predict_log.request.inputs["x"].CopyFrom(encode_tensor(np.array(values, np.float32)))
    return log


def write_file(folder: Path, *logs: Any) -> Path:
    path = folder / REQUESTS_FILE
    path.parent.mkdir()
    path.write_bytes(
        b"".join(write_tfrecord(log if isinstance(log, bytes) else log.SerializeToString()) for log in logs)
    )
    return path


def test_the_requests_of_the_version_are_answered_as_often_as_wanted(tmp_path: Path) -> None:
    write_file(tmp_path, predict_log(1, 2), predict_log(3))
    model, told = Heard(None), []
    WarmUp(2, observe=lambda *row: told.append(row))(model, tmp_path)
    assert model.asked == [[1, 2], [1, 2], [3], [3]]
    assert told[0][:2] == (str(tmp_path), "OK")


def test_a_request_that_the_version_refuses_fails_its_load(tmp_path: Path) -> None:
    path = write_file(tmp_path, predict_log(1), predict_log(-1))
    told: list[Any] = []
    with pytest.raises(ConfigError) as caught:
        WarmUp(observe=lambda *row: told.append(row[1]))(Heard(None), tmp_path)
    assert str(caught.value) == (
        f"{path}: record 1: is refused: x is negative. The version must answer its own warm-up requests; "
        "write them anew."
    )
    assert told == ["INVALID_ARGUMENT"]


def test_what_is_no_log_fails_the_load_too(tmp_path: Path) -> None:
    write_file(tmp_path, b"\xff\xff")
    with pytest.raises(ConfigError, match="record 0: is no PredictionLog"):
        WarmUp()(Heard(None), tmp_path)
    with pytest.raises(RequestError, match="the log holds no request"):
        answer_log(Heard(None), PredictionLog())


def test_examples_are_answered(tmp_path: Path) -> None:
    model = Heard(None, 2, method="regress")
    for kind in ("regress_log", "classify_log", "multi_inference_log"):
        log = PredictionLog()
        request = getattr(log, kind).request
        request.input.CopyFrom(write_examples([{"x": [1.0, 2.0]}]))
        if kind == "multi_inference_log":
            request.tasks.add()
        answer_log(model, log)
    assert model.asked == [[[1.0, 2.0]]] * 3


def test_a_plain_model_without_requests_gets_zeros(tmp_path: Path) -> None:
    for model, asked in (
        (Heard(None, 2), [[[0.0, 0.0]]]),
        (Heard(None, dtype="string"), [[b""]]),
        (Heard(1 << 30), []),
    ):
        WarmUp()(model, tmp_path)
        assert model.asked == asked


def test_recorded_requests_are_ranked_and_refusals_told(
    make_ranker: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ranker = make_ranker()
    calls = [
        RecordedCall("rank", {"age": 3}, None, ["a"]),
        RecordedCall("other", {}, None, ["b"]),
        RecordedCall("rank", {"act": "refuse"}, {}, ["c"]),
    ]
    WarmUp(recorded=calls)(ranker, tmp_path)
    assert [call["candidates"] for call in ranker.calls] == [["a"], ["c"]]
    assert "1 of 2 recorded requests were refused by 'rank'" in caplog.text
