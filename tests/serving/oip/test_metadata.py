from __future__ import annotations

from typing import Any

from recserve.serving.inference import tensor_model
from recserve.serving.oip.metadata import MAX_BATCH_SIZE, describe_config, describe_model, describe_server


def test_the_server_tells_what_it_has() -> None:
    shown = describe_server()
    assert shown["name"] == "recserve"
    assert {"binary_tensor_data", "statistics", "model_repository"} <= set(shown["extensions"])


def test_a_model_tells_its_tensors(make_serving: Any) -> None:
    registry = make_serving("simple").registry
    with registry.lease("simple") as model:
        shown = describe_model(tensor_model(model), registry)
    tensor = {"datatype": "INT32", "shape": [-1, 16]}
    assert shown == {
        "name": "simple",
        "versions": ["1"],
        "platform": "recserve",
        "inputs": [{"name": f"INPUT{i}", **tensor} for i in (0, 1)],
        "outputs": [{"name": f"OUTPUT{i}", **tensor} for i in (0, 1)],
    }


def test_a_configuration_leaves_the_batch_out_of_the_shapes(make_serving: Any) -> None:
    registry = make_serving("simple", "identity_bytes", "identity_bytes_1").registry
    with registry.lease("simple") as model:
        shown = describe_config(tensor_model(model))
    assert shown["max_batch_size"] == MAX_BATCH_SIZE
    assert shown["input"][0] == {
        "name": "INPUT0",
        "data_type": "TYPE_INT32",
        "dims": [16],
        "format": "FORMAT_NONE",
        "optional": False,
    }
    with registry.lease("identity_bytes") as model:
        shown = describe_config(tensor_model(model))
    assert shown["output"] == [{"name": "OUTPUT0", "data_type": "TYPE_STRING", "dims": [1], "reshape": {"shape": []}}]
    with registry.lease("identity_bytes_1") as model:
        shown = describe_config(tensor_model(model))
    assert (shown["max_batch_size"], shown["output"][0]["dims"]) == (0, [1])
