"""A ranker that needs no model, and a real server in front of it."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from recserve.dtypes import F32
from recserve.errors import DataError
from recserve.plain_model import open_plain_model
from recserve.serving.contract import Candidates, RankerLike, ServedRecord
from recserve.serving.dialects import App, Serving
from recserve.serving.messages import Limits
from recserve.serving.rank_threads import RankThreads
from recserve.serving.registry import Registry
from recserve.serving.repository import Repository, highest_version
from recserve.serving.run import ServeOptions, ServerProcess
from recserve.serving.service import RankService
from recserve.serving.workers.crew import Crew
from recserve.serving.workers.orders import OrderBook


@dataclass(frozen=True)
class FakeTuple:
    model: str
    version: int
    table_epoch: int = 3
    item_epoch: int = 5


@dataclass(frozen=True)
class FakeResult:
    item_ids: list[str | int]
    positions: list[int]
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
            positions=[n for n, i in enumerate(ids) if not str(i).startswith("?")][:top_k],
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
    port: int
    thread: threading.Thread
    ready: threading.Event
    failure: list[Exception]

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def stop(self) -> None:
        self.process.stop()
        self.thread.join(20)
        assert not self.thread.is_alive()


@contextmanager
def running(
    rankers: dict[str, FakeRanker],
    *,
    open_ranker: Callable[[str], RankerLike] | None = None,
    records: ListSink | None = None,
    wait_ready: bool = True,
    **options: Any,
) -> Iterator[Running]:
    """Serve the rankers by bundle path until the block ends."""
    ready = threading.Event()
    failure: list[Exception] = []
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    process = ServerProcess(
        ServeOptions(bundles=list(rankers), port=port, **options),
        open_ranker or rankers.__getitem__,
        records=records,
        on_ready=lambda _: ready.set(),
    )

    def run() -> None:
        try:
            process.run()
        except Exception as error:
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert not wait_ready or ready.wait(60), failure
        yield Running(process, port, thread, ready, failure)
    finally:
        process.stop()
        for ranker in rankers.values():
            ranker.gate.set()
        thread.join(20)
    assert not thread.is_alive()


@pytest.fixture(scope="session")
def make_ranker() -> type[FakeRanker]:
    """The class, for tests that want several."""
    return FakeRanker


@pytest.fixture(scope="session")
def make_sink() -> type[ListSink]:
    return ListSink


def build_serving(*models: Any, **options: Any) -> Serving:
    """What every dialect shares, around models, without a port; work runs inline."""
    registry = Registry()

    def open_model(directory: str, name: str | None = None) -> Any:
        raise AssertionError(directory, name)

    for model in models:
        registry.publish(model)
        for label in getattr(model, "version_labels", ()):
            registry.set_label(model.name, label, model.version)
    return Serving(
        service=RankService(registry),
        registry=registry,
        repository=Repository(registry, open_model),
        threads=RankThreads(0, 1),
        limits=Limits(),
        readiness=lambda: True,
        **{"environment": {}} | options,
    )


@pytest.fixture(scope="session")
def serving_of() -> Callable[..., Serving]:
    """`build_serving`."""
    return build_serving


@pytest.fixture(scope="session")
def serve() -> Callable[..., AbstractContextManager[Running]]:
    """`running`, for tests that want their own options."""
    return running


@pytest.fixture
def ranker() -> FakeRanker:
    return FakeRanker()


@pytest.fixture
def server(ranker: FakeRanker) -> Iterator[Running]:
    with running({"models/rank/7": ranker}) as started:
        yield started


@dataclass(frozen=True)
class Reply:
    """What a dialect's application answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    app: App, method: str, path: str, body: bytes | object = b"", headers: Mapping[str, str] | None = None
) -> Reply:
    """Call an application without a socket; a body that is no bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": data}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    start, *rest = sent
    got = {name.decode(): value.decode() for name, value in start["headers"]}
    return Reply(start["status"], got, b"".join(message.get("body", b"") for message in rest))


@pytest.fixture(scope="session")
def call_app() -> Callable[..., Reply]:
    """`ask`."""
    return ask


@pytest.fixture(scope="session")
def dialect_models() -> Any:
    """The module that writes the fixture models of Open Inference, SageMaker and MLflow."""
    path = Path(__file__).parents[1] / "conformance" / "fixture_models_oip.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def dialect_base(tmp_path_factory: pytest.TempPathFactory, dialect_models: Any) -> Path:
    """A directory with those models."""
    base: Path = tmp_path_factory.mktemp("dialects") / "models"
    dialect_models.build(base)
    dialect_models.write_half_plus(base / "half_plus_three" / "00000123", 3.0)
    return base


@pytest.fixture
def make_serving(dialect_base: Path) -> Callable[..., Serving]:
    """Builds what an application gets, with plain models of `dialect_base` loaded; everything runs inline."""

    def build(*names: str, model: str = "", environment: Mapping[str, str] | None = None, **limits: int) -> Serving:
        registry = Registry()
        repository = Repository(registry, lambda directory, name=None: open_plain_model(directory, name=name))
        for name in names:
            repository.load_version(highest_version(dialect_base / name))
        return Serving(
            service=RankService(registry),
            registry=registry,
            repository=repository,
            threads=RankThreads(0, 1),
            limits=Limits(**limits),
            readiness=lambda: bool(registry.names()),
            model=model,
            environment=environment or {},
        )

    return build


@pytest.fixture
def make_crews() -> Callable[[int], list[Crew]]:
    """Crews of workers that hear of each other through a supervisor's book, all in this process."""

    def make(count: int) -> list[Crew]:
        lock = threading.RLock()
        book: OrderBook[int] = OrderBook(
            lambda number, message: crews[number].hear(message), lambda: range(count), lambda number: number
        )

        def crew_of(number: int) -> Crew:
            def hear(kind: str, content: Any) -> None:
                with lock:
                    (book.ask if kind == "ask" else book.hear)(number, *content)

            return Crew(hear)

        crews = [crew_of(number) for number in range(count)]
        for crew in crews:
            crew.begin()
        return crews

    return make
