from __future__ import annotations

import json

import numpy as np
import pytest

from recserve.errors import RequestError
from recserve.serving.oip.infer_answer import encode_infer_answer

OUTPUTS = {"a": np.array([[1, 2]], np.int32), "b": np.array([b"xy"], object), "c": np.zeros((0, 3), np.float32)}


def test_an_answer_of_json_is_one_document() -> None:
    answer = encode_infer_answer("m", 3, "", OUTPUTS, dict.fromkeys(OUTPUTS, False))
    assert answer.json_bytes is None
    assert json.loads(answer.body) == {
        "model_name": "m",
        "model_version": "3",
        "outputs": [
            {"name": "a", "datatype": "INT32", "shape": [1, 2], "data": [1, 2]},
            {"name": "b", "datatype": "BYTES", "shape": [1], "data": ["xy"]},
            {"name": "c", "datatype": "FP32", "shape": [0, 3], "data": []},
        ],
    }


def test_binary_data_stand_behind_the_json_in_the_order_of_the_outputs() -> None:
    answer = encode_infer_answer("m", 3, "id7", OUTPUTS, {"a": True, "b": True, "c": False})
    assert answer.json_bytes is not None
    head = json.loads(answer.body[: answer.json_bytes])
    assert head["id"] == "id7"
    assert [output.get("parameters") for output in head["outputs"]] == [
        {"binary_data_size": 8},
        {"binary_data_size": 6},
        None,
    ]
    assert answer.body[answer.json_bytes :] == b"\x01\x00\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00xy"


def test_complex_outputs_have_no_form() -> None:
    with pytest.raises(RequestError, match="output 'y' is complex64, for which the protocol has no datatype"):
        encode_infer_answer("m", 1, "", {"y": np.zeros(1, np.complex64)}, {"y": True})
