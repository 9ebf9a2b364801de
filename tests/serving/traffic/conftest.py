"""Versions of a model with scores of their own, served with rollouts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.errors import DataError
from recserve.serving.registry import Registry
from recserve.serving.traffic.rollouts import Rollouts
from recserve.serving.workers.crew import Crew
from recserve.signatures import Signature, TensorSpec


class Scorer:
    """Scores x with x · slope; breaks or refuses where it is told to."""

    def __init__(self, version: int, slope: float = 1.0) -> None:
        self.name, self.version, self.slope = "m", version, slope
        self.act = ""
        x, y = TensorSpec("x", "float32", (None,)), TensorSpec("y", "float32", (None,))
        self.signatures = {"serving_default": Signature("serving_default", {"x": x}, {"y": y})}

    def run(self, _: str, inputs: Any, __: Any = None) -> dict[str, Any]:
        if self.act == "break":
            raise ZeroDivisionError("secret")
        if self.act == "refuse":
            raise DataError("is wrong")
        return {"y": inputs["x"] * np.float32(self.slope)}

    def close(self) -> None:
        self.act = "break"


class Stage:
    """A registry with versions 1, 2 and 3, and its rollouts."""

    def __init__(self, state_dir: Path | None = None, crew: Crew | None = None, wait_s: float = 0.0) -> None:
        self.registry = Registry()
        self.models = {version: Scorer(version, slope) for version, slope in ((1, 1.0), (2, 2.0), (3, -1.0))}
        for model in self.models.values():
            self.registry.publish(model)
        self.rollouts = Rollouts(self.registry, state_dir, wait_s=wait_s, crew=crew)

    def ask(self, user_id: str | None = None, count: int = 1) -> list[int]:
        """The versions that answer."""
        seen = []
        for _ in range(count):
            with self.registry.lease("m", user_id=user_id) as model:
                model.run("serving_default", {"x": np.arange(1, 5, dtype=np.float32)}, None)
                seen.append(model.version)
        return seen


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.rollouts.stop(10)
    made.registry.close(10)


@pytest.fixture
def make_stage() -> type[Stage]:
    return Stage
