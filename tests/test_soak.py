"""A short run of the soak: all wires, new versions, canaries, killed workers and bad clients at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).resolve().parents[1] / "benchmarks" / "soak.py"


@pytest.mark.slow
def test_under_everything_at_once_no_answer_is_wrong_or_mixed(tmp_path: Path) -> None:
    result = tmp_path / "soak.json"
    command = [sys.executable, str(SOAK), "--minutes", "0.3", "--json", str(result)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (case,) = json.loads(result.read_text())["results"]
    assert (case["wrong"], case["mixed"]) == (0, 0)
    assert set(case["answers"]) == {"rest predict", "rest infer", "grpc predict", "grpc infer"}
    assert case["events"]["kills"] >= 1
    assert case["events"]["swaps"] >= 1
    assert case["events"]["exit code"] == 0
    lost = sum(case["errors"].values())
    assert lost <= 4 * 4 * case["events"]["kills"], case["errors"]  # a few a wire and kill
