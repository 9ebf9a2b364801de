"""Models that need no files, what all dialects share, and a real gRPC server in front of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from recserve.errors import RequestError
from recserve.serving.dialects import Serving
from recserve.serving.grpc.server import GrpcServer
from recserve.serving.messages import Limits
from recserve.serving.rank_threads import RankThreads
from recserve.serving.registry import Registry
from recserve.serving.repository import Repository
from recserve.serving.service import RankService
from recserve.signatures import Signature, TensorSpec
from recserve.wire.pool import message_class, methods_of


def signature(
    inputs: dict[str, tuple[str, Any]], outputs: dict[str, tuple[str, Any]], name: str = "serving_default", **more: Any
) -> Signature:
    def specs(tensors: dict[str, tuple[str, Any]]) -> dict[str, TensorSpec]:
        return {key: TensorSpec(key, dtype, shape) for key, (dtype, shape) in tensors.items()}

    return Signature(name, specs(inputs), specs(outputs), **more)


@dataclass
class FakeModel:
    """Runs one Python function a signature; knows when it was called."""

    name: str
    version: int
    signatures: dict[str, Signature]
    functions: dict[str, Callable[..., dict[str, Any]]]
    is_closed: bool = False
    entered: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)
    runs: int = 0

    def run(self, signature: str, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        assert not self.is_closed
        self.runs += 1
        made = self.functions[signature](self, **inputs)
        return {name: made[name] for name in outputs or self.signatures[signature].outputs}

    def close(self) -> None:
        self.is_closed = True


def half_plus_two(version: int = 123) -> FakeModel:
    def run(_: FakeModel, x: Any) -> dict[str, Any]:
        if x.ndim != 1:
            raise RequestError(f"x has {x.ndim} axes")
        return {"y": x / np.float32(2) + np.float32(version - 121)}

    predict = signature({"x": ("float32", (None,))}, {"y": ("float32", (None,))})
    regress = signature({"x": ("float32", (None,))}, {"outputs": ("float32", (None,))}, "regress_x", method="regress")
    classify = signature(
        {"x": ("float32", (None,))},
        {"scores": ("float32", (None, 2)), "classes": ("string", (None, 2))},
        "classify_x",
        method="classify",
    )

    def classes(_: FakeModel, x: Any) -> dict[str, Any]:
        labels = np.empty((len(x), 2), object)
        labels[:, 0], labels[:, 1] = b"no", b"yes"
        return {"scores": np.stack([1 - x, x], 1), "classes": labels}

    return FakeModel(
        "half_plus_two",
        version,
        {s.name: s for s in (predict, regress, classify)},
        {
            "serving_default": run,
            "regress_x": lambda m, x: {"outputs": run(m, x)["y"].reshape(-1, 1)},
            "classify_x": classes,
        },
    )


def add_and_subtract(_: FakeModel, **inputs: Any) -> dict[str, Any]:
    return {"OUTPUT0": inputs["INPUT0"] + inputs["INPUT1"], "OUTPUT1": inputs["INPUT0"] - inputs["INPUT1"]}


def add_sub() -> FakeModel:
    shape = (None, 16)
    return FakeModel(
        "add_sub",
        1,
        {
            "serving_default": signature(
                {"INPUT0": ("int32", shape), "INPUT1": ("int32", shape)},
                {"OUTPUT0": ("int32", shape), "OUTPUT1": ("int32", shape)},
            )
        },
        {"serving_default": add_and_subtract},
    )


def identity(dtypes: Sequence[str]) -> FakeModel:
    specs = {f"in_{dtype}": (dtype, None) for dtype in dtypes}
    return FakeModel(
        "identity",
        1,
        {"serving_default": signature(specs, {f"out_{dtype}": (dtype, None) for dtype in dtypes})},
        {"serving_default": lambda _, **inputs: {k.replace("in_", "out_"): v for k, v in inputs.items()}},
    )


def slow() -> FakeModel:
    def run(model: FakeModel, x: Any) -> dict[str, Any]:
        model.entered.set()
        assert model.gate.wait(20)
        return {"y": x}

    return FakeModel(
        "slow",
        1,
        {"serving_default": signature({"x": ("float32", None)}, {"y": ("float32", None)})},
        {"serving_default": run},
    )


def broken() -> FakeModel:
    def run(_: FakeModel, x: Any) -> dict[str, Any]:
        raise ZeroDivisionError("secret")

    return FakeModel(
        "broken",
        1,
        {"serving_default": signature({"x": ("float32", None)}, {"y": ("float32", None)})},
        {"serving_default": run},
    )


@dataclass
class Wire:
    """A server, what it serves, and calls of it."""

    serving: Serving
    server: GrpcServer
    channel: grpc.Channel
    models: dict[str, Any]
    is_ready: list[bool]

    def call(self, service: str, method: str, request: Any, **options: Any) -> Any:
        """The answer to a message of our own classes."""
        found = methods_of(service)[method]
        return self.raw(found.path, request.SerializeToString(), found.response.FromString, **options)

    def raw(self, path: str, body: bytes, read: Any = None, **options: Any) -> Any:
        return self.channel.unary_unary(path, response_deserializer=read)(body, timeout=20, **options)

    def fails(self, service: str, method: str, request: Any, **options: Any) -> grpc.RpcError:
        with pytest.raises(grpc.RpcError) as caught:
            self.call(service, method, request, **options)
        return caught.value


def make_serving(models: Sequence[Any], *, threads: int = 2, max_waiting: int = 64, **limits: Any) -> Serving:
    registry = Registry()

    def open_model(directory: str, name: str | None = None) -> Any:
        path = Path(directory)
        model = half_plus_two(int(path.name))
        model.name = name or path.parent.name
        return model

    for model in models:
        registry.publish(model)
    is_ready = [True]
    serving = Serving(
        service=RankService(registry),
        registry=registry,
        repository=Repository(registry, open_model),
        threads=RankThreads(threads, max_waiting),
        limits=Limits(**limits),
        readiness=lambda: is_ready[0],
    )
    object.__setattr__(serving, "is_ready_box", is_ready)
    return serving


@pytest.fixture
def serving_of() -> Callable[..., Serving]:
    """`make_serving`, for tests that want their own models."""
    return make_serving


@pytest.fixture
def fakes() -> dict[str, Callable[..., FakeModel]]:
    """Makers of models."""
    return {
        "half_plus_two": half_plus_two,
        "add_sub": add_sub,
        "identity": identity,
        "slow": slow,
        "broken": broken,
    }


DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
DTYPES += ("float16", "bfloat16", "float32", "float64", "string")


@pytest.fixture(scope="module")
def served(make_ranker: Any) -> Iterator[Wire]:
    """A server with every model; shared by the tests of a file, which must leave it as they found it."""
    models = [half_plus_two(), half_plus_two(124), add_sub(), identity(DTYPES), broken(), slow(), make_ranker()]
    serving = make_serving(models)
    serving.registry.set_label("half_plus_two", "stable", 123)
    server = GrpcServer(serving, "127.0.0.1", 0)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        found = {model.name: model for model in models}
        yield Wire(serving, server, channel, found, serving.is_ready_box)  # type: ignore[attr-defined]
    server.stop(0)
    assert serving.threads.close(5)


@pytest.fixture(scope="session")
def message() -> Callable[[str], Any]:
    """Full name → message class."""
    return message_class
