from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from recserve.errors import RecserveError
from recserve.serving.inference import dtype_name, infer
from recserve.serving.refusals import (
    InputNamesError,
    InputTypeError,
    LabelNotFoundError,
    ModelNotFoundError,
    OutputNamesError,
    SignatureNotFoundError,
    WrongKindError,
)
from recserve.serving.registry import Registry
from recserve.signatures import Signature, Tensor, TensorSpec

X = {"x": TensorSpec("x", "float32"), "bias": TensorSpec("bias", "float32", is_optional=True)}
Y = {"y": TensorSpec("y", "float32"), "z": TensorSpec("z", "float32")}


@dataclass
class Sum:
    """y = x + bias, z = x."""

    name: str = "m"
    version: int = 3
    signatures: Mapping[str, Signature] = ()  # type: ignore[assignment]

    def run(self, signature: str, inputs: Mapping[str, Tensor], outputs: Sequence[str] | None = None) -> Any:
        assert signature == "serving_default"
        given = {"y": inputs["x"] + inputs.get("bias", 0), "z": inputs["x"]}
        return {name: given[name] for name in outputs or Y}

    def close(self) -> None: ...


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.publish(Sum(signatures={"serving_default": Signature("serving_default", X, Y)}))
    registry.set_label("m", "stable", 3)
    return registry


def f32(*values: float) -> Tensor:
    return np.array(values, np.float32)


def test_outputs_come_with_the_version_that_gave_them(registry: Registry) -> None:
    answer = infer(registry, "m", {"x": f32(1), "bias": f32(2)}, label="stable")
    assert (answer.model, answer.version, answer.signature.name) == ("m", 3, "serving_default")
    assert {name: tensor.tolist() for name, tensor in answer.outputs.items()} == {"y": [3], "z": [1]}
    assert list(infer(registry, "m", {"x": f32(1)}, version=3, outputs=["z"]).outputs) == ["z"]


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        ({"name": "n"}, ModelNotFoundError, "no model 'n'. Models served: 'm'."),
        ({"version": 4}, ModelNotFoundError, "model 'm' has no version 4. Versions served: 3."),
        ({"label": "stabel"}, LabelNotFoundError, "model 'm' has no label 'stabel'. Did you mean 'stable'?"),
        (
            {"signature": "s"},
            SignatureNotFoundError,
            "model 'm' version 3 has no signature 's'. Signatures: 'serving_default'.",
        ),
        (
            {"inputs": {"w": f32(1)}},
            InputNamesError,
            "the inputs lack 'x' and have the unknown 'w'. The signature takes 'bias', 'x'.",
        ),
        (
            {"inputs": {"x": np.zeros(1)}},
            InputTypeError,
            "input 'x' is float64, not float32. Send the dtype that the metadata tells.",
        ),
        ({"outputs": ["q"]}, OutputNamesError, "there is no output 'q'. The signature gives 'y', 'z'."),
        ({"outputs": ["y", "y"]}, OutputNamesError, "output 'y' is asked for twice. The signature gives 'y', 'z'."),
    ],
)
def test_a_call_that_does_not_fit_is_refused(
    registry: Registry, call: dict[str, Any], kind: type[RecserveError], message: str
) -> None:
    with pytest.raises(kind) as caught:
        infer(registry, **{"name": "m", "inputs": {"x": f32(1)}, **call})
    assert str(caught.value) == message


def test_a_ranker_takes_no_tensors(registry: Registry, make_ranker: Any) -> None:
    registry.publish(make_ranker())
    with pytest.raises(WrongKindError) as caught:
        infer(registry, "rank", {})
    assert str(caught.value) == "model 'rank' takes no tensors. Ask it with /v1/models/rank:rank."


def test_dtypes_have_their_names() -> None:
    dtypes = [np.float32, object, ml_dtypes.bfloat16, np.uint16, "datetime64[s]"]
    names = ["float32", "string", "bfloat16", "uint16", "datetime64[s]"]
    assert [dtype_name(np.dtype(dtype)) for dtype in dtypes] == names
