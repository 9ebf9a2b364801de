"""Plain models without an engine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recserve.serving.tfs.endpoint import answer_call
from recserve.serving.tfs.routes import Call
from recserve.signatures import Signature, Tensor, TensorSpec

Run = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


@dataclass
class FunctionModel:
    """A model that a function computes."""

    signatures: Mapping[str, Signature]
    function: Run
    name: str = "m"
    version: int = 3
    version_labels: Sequence[str] = ("stable",)
    calls: list[dict[str, Tensor]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def run(
        self, signature: str, inputs: Mapping[str, Tensor], outputs: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        assert signature in self.signatures
        self.calls.append(dict(inputs))
        results = self.function(inputs)
        return {name: results[name] for name in outputs or self.signatures[signature].outputs}

    def describe(self) -> dict[str, Any]:
        return {"signatures": list(self.signatures)}

    def close(self) -> None: ...


def echo(**dtypes: str) -> FunctionModel:
    """Gives its inputs back."""
    specs = {name: TensorSpec(name, dtype) for name, dtype in dtypes.items()}
    return FunctionModel({"serving_default": Signature("serving_default", specs, specs)}, dict)


@dataclass(frozen=True)
class Asked:
    """What a call was answered."""

    status: int
    text: str

    @property
    def error(self) -> str:
        message = json.loads(self.text)["error"]
        assert isinstance(message, str)
        return message


@pytest.fixture(scope="session")
def tfs(serving_of: Any) -> Any:
    """Builders of models and of what serves them, and a way to ask."""

    def ask(model: Any, body: bytes | str | dict[str, Any], verb: Any = "predict") -> Asked:
        content = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        status, text = answer_call(serving_of(model), Call(model.name, None, None, verb), content)
        return Asked(status, text.decode())

    return SimpleNamespace(model=FunctionModel, echo=echo, make_serving=serving_of, ask=ask)


@pytest.fixture
def doubler() -> FunctionModel:
    """y = 2x, of any shape and float32."""
    signature = Signature(
        "serving_default", {"x": TensorSpec("x", "float32", (None, 1))}, {"y": TensorSpec("y", "float32", (None, 1))}
    )
    return FunctionModel({"serving_default": signature}, lambda inputs: {"y": inputs["x"] * np.float32(2)})
