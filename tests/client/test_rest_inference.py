"""Open Inference over HTTP: answers of either form, and answers that are none."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from recserve.client.calls import Answer
from recserve.client.failures import CallFailedError
from recserve.client.rest_inference import read_infer, write_infer


def test_inputs_lie_behind_the_json() -> None:
    body, headers = write_infer({"a": np.array([1, 2], np.int16), "b": np.array(["x"])}, ["c"])
    length = int(headers["Inference-Header-Content-Length"])
    document = orjson.loads(body[:length])
    assert [(i["datatype"], i["parameters"]["binary_data_size"]) for i in document["inputs"]] == [
        ("INT16", 4),
        ("BYTES", 5),
    ]
    assert document["outputs"] == [{"name": "c", "parameters": {"binary_data": True}}]
    assert body[length:] == b"\x01\x00\x02\x00\x01\x00\x00\x00x"


def test_outputs_as_json_are_read_too() -> None:
    output = {"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}
    answer = read_infer(Answer(orjson.dumps({"model_name": "m", "outputs": [output]})))
    assert answer["a"].tolist() == [[1.0, 2.0]]
    assert answer.version is None


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b"{}",
        orjson.dumps({"model_name": "m", "outputs": [{"name": "a", "datatype": "FP99", "shape": [1], "data": [1]}]}),
        orjson.dumps({"model_name": "m", "outputs": [{"name": "a", "datatype": "FP32", "shape": [3], "data": [1]}]}),
    ],
)
def test_what_is_no_answer_is_told(body: bytes) -> None:
    with pytest.raises(CallFailedError, match="the answer is no infer response") as caught:
        read_infer(Answer(body))
    assert caught.value.code == "bad_answer"
