"""Feature-generation cases of other systems, through the runner that comes with them."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def runner(conformance: Path) -> Any:
    """The runner's module, with the module that it needs."""
    sys.path.insert(0, str(conformance))
    try:
        spec = importlib.util.spec_from_file_location("run_fg", conformance / "run_fg.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["run_fg"] = module  # its dataclasses look their module up
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(conformance))
    return module


@pytest.mark.parametrize("reference", [True, False], ids=["reference", "compiled"])
def test_every_case_of_a_supported_profile_passes(
    conformance: Path, runner: Any, tmp_path: Path, reference: bool
) -> None:
    engine = runner.Engine(reference)
    runner.write_tokenizers(tmp_path, None)
    lines = (conformance / "fg_cases.jsonl").read_text("utf-8").splitlines()
    outcomes = [runner.run_case(engine, json.loads(line), tmp_path) for line in lines if line.strip()]
    failed = [f"{o['id']} {o['feature_type']}: {o['mismatches']}" for o in outcomes if o["status"] == "failed"]
    assert not failed, "\n".join(failed)
    assert all("is not supported" in o["reason"] for o in outcomes if o["status"] == "skipped")
