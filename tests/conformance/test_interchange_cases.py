"""Models of other platforms, through the runner that comes with them: each model must give the stored answers."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

# A model in this many of each suite keeps the test short; the runner itself runs them all.
STRIDE = {"pmml": 6, "mojo": 3, "mleap": 1}


@pytest.fixture(scope="module")
def runner(conformance: Path) -> Any:
    """The runner's module."""
    spec = importlib.util.spec_from_file_location("run_interchange", conformance / "run_interchange.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("form", STRIDE)
def test_models_give_the_stored_answers(conformance: Path, runner: Any, form: str) -> None:
    index = conformance / "interchange" / form / "index.jsonl"
    lines = index.read_text("utf-8").splitlines()[:: STRIDE[form]]
    cases = [json.loads(line) | {"folder": str(index.parent)} for line in lines]
    outcomes = [(f"{case['suite']}/{case['name']}", runner.run_case(case, False)) for case in cases]
    failed = [
        f"{name}: {outcome['reason']}" for name, outcome in outcomes if outcome["status"] in ("failed", "unsupported")
    ]
    assert not failed, "\n".join(failed)
