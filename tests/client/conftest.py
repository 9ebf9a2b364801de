"""A real server process in a thread, with a port for each wire, in front of models that need no files."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from recserve.client import AsyncClient, CallFailedError, Client
from recserve.serving.dialects import Port
from recserve.serving.run import ServeOptions, ServerProcess
from recserve.signatures import Signature, TensorSpec

Shapes = dict[str, tuple[str, Any]]


def specs(tensors: Shapes) -> dict[str, TensorSpec]:
    return {name: TensorSpec(name, dtype, shape) for name, (dtype, shape) in tensors.items()}


@dataclass
class FakeModel:
    name: str
    version: int
    signatures: dict[str, Signature]
    functions: dict[str, Callable[..., dict[str, Any]]]
    version_labels: tuple[str, ...] = ()

    def run(self, signature: str, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        made = self.functions[signature](**inputs)
        return {name: made[name] for name in outputs or self.signatures[signature].outputs}

    def describe(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        pass


def labels(x: Any) -> dict[str, Any]:
    names = np.empty((len(x), 2), object)
    names[:, 0], names[:, 1] = b"no", b"yes"
    return {"scores": np.stack([1 - x, x], 1), "classes": names}


def half_plus_two(version: int) -> FakeModel:
    row = (None,)
    return FakeModel(
        "half_plus_two",
        version,
        {
            "serving_default": Signature(
                "serving_default", specs({"x": ("float32", row)}), specs({"y": ("float32", row)})
            ),
            "regress_x": Signature(
                "regress_x", specs({"x": ("float32", row)}), specs({"outputs": ("float32", row)}), "regress"
            ),
            "classify_x": Signature(
                "classify_x",
                specs({"x": ("float32", row)}),
                specs({"scores": ("float32", (None, 2)), "classes": ("string", (None, 2))}),
                "classify",
            ),
        },
        {
            "serving_default": lambda x: {"y": x / np.float32(2) + np.float32(2)},
            "regress_x": lambda x: {"outputs": x + np.float32(1)},
            "classify_x": labels,
        },
        ("stable",) if version == 123 else (),
    )


def two_outputs() -> FakeModel:
    tensors: Shapes = {"n": ("int64", None), "t": ("string", None)}
    return FakeModel(
        "echo",
        1,
        {"serving_default": Signature("serving_default", specs(tensors), specs(tensors))},
        {"serving_default": lambda n, t: {"n": n, "t": t}},
    )


@dataclass(frozen=True)
class FakeTuple:
    model: str = "rank"
    version: int = 7
    table_epoch: int = 3
    item_epoch: int = 5


@dataclass
class FakeResult:
    item_ids: list[Any]
    positions: list[int]
    scores: Any
    outputs: dict[str, Any]
    unknown_items: list[Any]
    missing_columns: list[str]
    version: FakeTuple = field(default_factory=FakeTuple)
    timings_us: dict[str, float] = field(default_factory=lambda: {"features": 1.0})


@dataclass
class FakeRanker:
    """Scores candidate i of N with N − i; an id of 0 or "?" is unknown."""

    name: str = "rank"
    version: int = 7
    version_labels: tuple[str, ...] = ("live",)
    calls: list[dict[str, Any]] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        return {}

    def rank(self, user: Any, context: Any, candidates: Any, *, top_k: Any = None, items: Any = None) -> FakeResult:
        self.calls.append({"user": user, "context": context, "candidates": candidates, "top_k": top_k, "items": items})
        ids = candidates["item_id"] if isinstance(candidates, Mapping) else candidates
        known = [i for i in ids if i not in (0, "?")]
        scores = np.arange(len(known), 0, -1).astype(np.float32)
        if user.get("act") == "nan":
            scores[-1] = np.nan
        kept = known[:top_k]
        outputs = {"ctr": scores[: len(kept)] / np.float32(10), "cvr": scores[: len(kept)]}
        unknown = [i for i in ids if i in (0, "?")]
        return FakeResult(kept, list(range(len(kept))), scores[: len(kept)], outputs, unknown, ["age"])

    def close(self) -> None:
        pass


@dataclass
class Served:
    """Addresses by dialect, and the ranker behind them."""

    addresses: dict[str, str]
    ranker: FakeRanker

    def url(self, kind: str) -> str:
        """`rest`, `oip` or `grpc`."""
        if kind == "grpc":
            return f"grpc://{self.addresses['grpc']}"
        return self.addresses["recserve" if kind == "rest" else "oip"]


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    ranker = FakeRanker()
    models = {"a/123": half_plus_two(123), "a/124": half_plus_two(124), "e/1": two_outputs(), "r/7": ranker}
    ready = threading.Event()
    options = ServeOptions(
        bundles=list(models),
        ports=[Port("recserve", 0), Port("oip", 0), Port("grpc", 0)],
        rank_threads=2,
    )
    process = ServerProcess(options, lambda path, **_: models[path], on_ready=lambda _: ready.set())
    thread = threading.Thread(target=process.run)
    thread.start()
    assert ready.wait(20)
    yield Served(process.addresses, ranker)
    process.stop()
    thread.join(20)
    assert not thread.is_alive()


class Caller:
    """Calls a method of either client and waits, so that one test holds for both."""

    def __init__(self, url: str, is_async: bool) -> None:
        self._url, self._is_async = url, is_async

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if not self._is_async:
                with Client(self._url) as client:
                    return getattr(client, method)(*args, **options)

            async def run() -> Any:
                async with AsyncClient(self._url) as client:
                    return await getattr(client, method)(*args, **options)

            return asyncio.run(run())

        return call

    def fails(self, method: str, *args: Any, **options: Any) -> CallFailedError:
        with pytest.raises(CallFailedError) as caught:
            getattr(self, method)(*args, **options)
        return caught.value


@pytest.fixture(scope="session")
def both_have_the_same_methods() -> None:
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.signature(method).parameters == inspect.signature(getattr(AsyncClient, name)).parameters


@pytest.fixture(params=["rest", "grpc", "rest async", "grpc async"])
def caller(request: pytest.FixtureRequest, served: Served) -> Caller:
    """A client of TensorFlow Serving and ranking, on each wire."""
    kind, _, suffix = request.param.partition(" ")
    return Caller(served.url(kind), suffix == "async")


@pytest.fixture(params=["oip", "grpc", "oip async", "grpc async"])
def infer_caller(request: pytest.FixtureRequest, served: Served) -> Caller:
    """A client of Open Inference, on each wire."""
    kind, _, suffix = request.param.partition(" ")
    return Caller(served.url(kind), suffix == "async")
