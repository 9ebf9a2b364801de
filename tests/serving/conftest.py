"""A ranker that needs no model, and a real server in front of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest

from recserve.dtypes import F32
from recserve.errors import DataError
from recserve.serving.contract import Candidates, RankerLike, ServedRecord
from recserve.serving.run import ServeOptions, ServerProcess


@dataclass(frozen=True)
class FakeTuple:
    model: str
    version: int
    table_epoch: int = 3
    item_epoch: int = 5


@dataclass(frozen=True)
class FakeResult:
    item_ids: list[str | int]
    scores: F32
    outputs: dict[str, F32]
    version: FakeTuple
    unknown_items: list[str | int] = field(default_factory=list)
    missing_columns: list[str] = field(default_factory=list)
    timings_us: dict[str, float] = field(default_factory=lambda: {"features": 1.0})


@dataclass
class FakeRanker:
    """Scores candidate i of N with N − i, or what `user["scores"]` says. Ids that start with `?` are unknown."""

    name: str = "rank"
    version: int = 7
    calls: list[dict[str, Any]] = field(default_factory=list)
    is_closed: bool = False
    entered: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)

    def describe(self) -> dict[str, Any]:
        return {"inputs": {"user": ["age"]}, "goals": ["ctr"], "items": 3}

    def rank(
        self,
        user: Mapping[str, Any],
        context: Mapping[str, Any] | None,
        candidates: Candidates,
        *,
        top_k: int | None = None,
        items: Mapping[Any, Mapping[str, Any]] | None = None,
    ) -> FakeResult:
        assert not self.is_closed
        self.calls.append({"user": user, "context": context, "candidates": candidates, "top_k": top_k, "items": items})
        match user.get("act"):
            case "refuse":
                raise DataError("expected float32, got '12,5'", where="$.user.price", hint="Send a number.")
            case "break":
                raise ZeroDivisionError("secret")
            case "wait":
                self.entered.set()
                assert self.gate.wait(10)
        ids = candidates["item_id"] if isinstance(candidates, Mapping) else candidates
        known = [i for i in ids if not str(i).startswith("?")]
        scores = np.asarray(user.get("scores", np.arange(len(known), 0, -1)), np.float32)
        kept = known[:top_k]
        return FakeResult(
            item_ids=kept,
            scores=scores[: len(kept)],
            outputs={"ctr": scores[: len(kept)] / np.float32(10)},
            version=FakeTuple(self.name, self.version),
            unknown_items=[i for i in ids if str(i).startswith("?")],
            missing_columns=[] if "age" in user else ["age"],
        )

    def close(self) -> None:
        assert not self.is_closed
        self.is_closed = True


class ListSink:
    """Keeps records in memory."""

    def __init__(self) -> None:
        self.records: list[ServedRecord] = []
        self.is_closed = False

    def write(self, record: ServedRecord) -> None:
        self.records.append(record)

    def close(self) -> None:
        self.is_closed = True


@dataclass
class Running:
    """A server on a port of its own, in a thread."""

    process: ServerProcess
    address: str
    thread: threading.Thread
    rankers: dict[str, FakeRanker]
    failure: list[Exception]

    @property
    def port(self) -> int:
        return int(self.address.rsplit(":", 1)[1])

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=10)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def stop(self) -> None:
        self.process.stop()
        self.thread.join(20)
        assert not self.thread.is_alive()


Start = Callable[..., Any]


@contextmanager
def running(
    rankers: dict[str, FakeRanker], *, open_ranker: Callable[[str], RankerLike] | None = None, **options: Any
) -> Iterator[Running]:
    """Serve the rankers by bundle path until the block ends."""
    ready = threading.Event()
    addresses: list[str] = []
    failure: list[Exception] = []
    sink = options.pop("records", None)

    def on_ready(address: str) -> None:
        addresses.append(address)
        ready.set()

    process = ServerProcess(
        ServeOptions(bundles=list(rankers), port=0, **options),
        open_ranker or rankers.__getitem__,
        records=sink,
        on_ready=on_ready,
    )

    def run() -> None:
        try:
            process.run()
        except Exception as error:
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(10), failure
        yield Running(process, addresses[0], thread, rankers, failure)
    finally:
        process.stop()
        for ranker in rankers.values():
            ranker.gate.set()
        thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
def ranker() -> FakeRanker:
    return FakeRanker()


@pytest.fixture
def server(ranker: FakeRanker) -> Iterator[Running]:
    with running({"models/rank/7": ranker}) as started:
        yield started
