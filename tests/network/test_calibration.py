"""Costs of the machine are measured once and kept."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from recserve.network import calibration
from recserve.network.calibration import calibrate, measure_costs
from recserve.network.cost import TYPICAL


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(calibration, "cache_folder", lambda: tmp_path)
    return tmp_path


def test_every_cost_is_measured_and_positive() -> None:
    found = asdict(measure_costs())
    assert all(value > 0 for name, value in found.items() if name != "node_us")
    assert found["node_us"] >= 0


def test_a_machine_is_measured_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "measure_costs", lambda: replace(TYPICAL, wide_gflops=7.0))
    assert calibrate().wide_gflops == 7.0
    monkeypatch.setattr(calibration, "measure_costs", lambda: pytest.fail("measured again"))
    assert calibrate().wide_gflops == 7.0
    monkeypatch.setattr(calibration, "describe_cpu", lambda: "another processor")
    monkeypatch.setattr(calibration, "measure_costs", lambda: replace(TYPICAL, wide_gflops=8.0))
    assert calibrate().wide_gflops == 8.0
    assert len(list(folder.rglob("*.json"))) == 2


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"wide_gflops": "fast"}'])
def test_a_damaged_file_is_measured_again(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "measure_costs", lambda: TYPICAL)
    calibrate()
    (file,) = folder.rglob("*.json")
    file.write_text(text)
    assert calibrate() == TYPICAL
    assert file.read_text() != text


def test_a_folder_that_cannot_be_written_is_only_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(calibration, "cache_folder", lambda: tmp_path / "file")
    monkeypatch.setattr(calibration, "measure_costs", lambda: TYPICAL)
    with caplog.at_level(logging.WARNING):
        assert calibrate() == TYPICAL
    assert "cannot keep the measured costs" in caplog.text
