from __future__ import annotations

import json
from typing import Any

import pytest

from recserve.errors import ConfigError
from recserve.serving.registry import Registry
from recserve.serving.tfs.errors import WireError
from recserve.serving.tfs.pages import model_metadata, model_status
from recserve.serving.tfs.routes import Call


def test_states_are_listed_highest_version_first_with_their_errors(doubler: Any) -> None:
    registry = Registry()
    registry.publish(doubler)
    registry.fail("m", 4, ConfigError("no graph", where="b/m/4"))
    registry.begin("m", 5)
    states = json.loads(model_status(registry, "m", None))["model_version_status"]
    assert [(state["version"], state["state"]) for state in states] == [
        ("5", "LOADING"),
        ("4", "END"),
        ("3", "AVAILABLE"),
    ]
    assert states[1]["status"] == {"error_code": "INTERNAL", "error_message": "b/m/4: no graph"}
    assert states[2]["status"] == {"error_code": "OK", "error_message": ""}
    assert len(json.loads(model_status(registry, "m", 3))["model_version_status"]) == 1


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("n", None, "Could not find any versions of model n"),
        ("m", 9, "Could not find version 9 of model m"),
    ],
)
def test_the_status_of_an_unknown_version_is_not_found(doubler: Any, name: str, version: int, message: str) -> None:
    registry = Registry()
    registry.publish(doubler)
    with pytest.raises(WireError) as caught:
        model_status(registry, name, version)
    assert (caught.value.message, caught.value.code) == (message, "NOT_FOUND")


def test_metadata_tells_the_signatures(doubler: Any) -> None:
    registry = Registry()
    registry.publish(doubler)
    document = json.loads(model_metadata(registry, Call("m", None, None, "metadata")))
    assert document["model_spec"] == {"name": "m", "signature_name": "", "version": "3"}
    signature = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["x"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}], "unknown_rank": False},
        "name": "x:0",
    }
