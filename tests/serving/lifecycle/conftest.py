"""Base directories with versions, and models that say which version answered."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.serving.lifecycle.base import Arrival
from recserve.serving.lifecycle.lifecycle import Lifecycle
from recserve.serving.lifecycle.model_config import ModelConfig
from recserve.serving.lifecycle.options import LifecycleOptions, Retries
from recserve.serving.registry import Registry
from recserve.serving.repository import Repository
from recserve.serving.workers.crew import Crew
from recserve.signatures import Signature, TensorSpec


@dataclass
class FileModel:
    """Answers its version; opened from a directory whose file `model` says `good`."""

    name: str
    version: int
    is_closed: bool = False

    def __post_init__(self) -> None:
        x, y = TensorSpec("x", "float32", (None,)), TensorSpec("y", "int64", (None,))
        self.signatures = {"serving_default": Signature("serving_default", {"x": x}, {"y": y})}

    def run(self, _: str, inputs: Any, __: Any = None) -> dict[str, Any]:
        assert not self.is_closed
        return {"y": np.full(len(inputs["x"]), self.version)}

    def close(self) -> None:
        assert not self.is_closed
        self.is_closed = True


@dataclass
class Shelf:
    """A base directory, and what watches it."""

    folder: Path
    registry: Registry
    repository: Repository
    opened: list[FileModel]
    started: list[Lifecycle] = field(default_factory=list)

    def put(self, version: int | str, content: str = "good", model: str = "m") -> Path:
        """Write a version whole."""
        folder = self.folder / model / str(version)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model").write_text(content)
        return folder

    def options(self, **kwargs: Any) -> LifecycleOptions:
        kwargs.setdefault("models", [ModelConfig("m", str(self.folder / "m"))])
        kwargs.setdefault("arrival", Arrival(settle_s=0))
        kwargs.setdefault("retries", Retries(0.05, 1.0, 0.05))
        return LifecycleOptions(**{"poll_s": 0.02, "is_nice": False} | kwargs)

    def start(
        self,
        held: Callable[[str], frozenset[int]] = lambda _: frozenset(),
        crew: Crew | None = None,
        **kwargs: Any,
    ) -> Lifecycle:
        lifecycle = Lifecycle(self.repository, self.options(**kwargs), held, crew)
        self.started.append(lifecycle)
        lifecycle.start()
        return lifecycle

    def served(self, model: str = "m") -> list[int]:
        return [state.version for state in self.registry.states(model) if state.state == "AVAILABLE"]

    def wait(self, condition: Callable[[], Any], timeout_s: float = 60.0) -> None:
        end_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end_s, self.registry.states()
            time.sleep(0.005)


@pytest.fixture
def frozen_heap() -> Iterator[None]:
    """Sets aside what is alive, as a server does when it is ready.

    Each version that goes has the collector walk all objects: over those of a thousand collected tests that takes most
    of a second, in which no other thread runs.
    """
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def shelf(tmp_path: Path, frozen_heap: None) -> Iterator[Shelf]:
    registry = Registry()
    opened: list[FileModel] = []

    def open_model(directory: str, name: str | None = None) -> FileModel:
        folder = Path(directory)
        content = (folder / "model").read_text()
        if content != "good":
            raise ConfigError(f"is {content}", where=directory)
        opened.append(FileModel(name or folder.parent.name, int(folder.name)))
        return opened[-1]

    (tmp_path / "m").mkdir()
    made = Shelf(tmp_path, registry, Repository(registry, open_model), opened)
    yield made
    for lifecycle in made.started:
        lifecycle.stop(60)
    assert registry.close(60)
    assert all(model.is_closed for model in opened)
