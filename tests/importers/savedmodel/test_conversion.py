"""The converter's process, with a stand-in where TensorFlow would be. tests/interop holds it to TensorFlow itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from recserve.errors import ConfigError
from recserve.importers import formats, savedmodel
from recserve.importers.model import Report
from recserve.importers.savedmodel import conversion, convert


def answer_with(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let the process run `program`, with the arguments of the converter in `a`."""
    monkeypatch.setattr(savedmodel, "find_spec", lambda _: "here")
    run = savedmodel.subprocess.run

    def stand_in(command: list[str], **options: Any) -> Any:
        assert command[1:3] == ["-m", "recserve.importers.savedmodel.conversion"]
        return run([sys.executable, "-c", f"import sys; a = sys.argv[1:]; {program}", *command[3:]], **options)

    monkeypatch.setattr(savedmodel.subprocess, "run", stand_in)


def test_a_directory_with_a_saved_model_is_known(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"")
    assert formats.guess(tmp_path) == "savedmodel"


def test_the_report_of_the_process_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, 'open(a[3], "w").write(\'{"report": {"elements": {"Add": 1}, "notes": ["n"]}}\')')
    report = convert(tmp_path, tmp_path)
    assert report == Report("savedmodel", elements={"Add": 1}, notes=["n"])


def test_the_error_of_the_process_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, 'open(a[3], "w").write(\'{"error": "no", "code": "damaged_model", "hint": "mend"}\')')
    with pytest.raises(ConfigError, match=r"no\. mend") as caught:
        convert(tmp_path, tmp_path)
    assert (caught.value.code, caught.value.where) == ("damaged_model", str(tmp_path))


def test_a_crash_of_the_process_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, "sys.exit('out of memory')")
    with pytest.raises(ConfigError, match="ended with status 1: out of memory"):
        convert(tmp_path, tmp_path)


def test_a_process_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(savedmodel, "TIMEOUT_S", 0.2)
    answer_with(monkeypatch, "import time; time.sleep(60)")
    with pytest.raises(ConfigError, match=r"took more than 0\.2 s") as caught:
        convert(tmp_path, tmp_path)
    assert caught.value.code == "timed_out"


def test_main_writes_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, folder: Path) -> Report:
        raise ConfigError("no signatures", code="unsupported_element", hint="Save them")

    monkeypatch.setattr(conversion, "convert_saved_model", refuse)
    monkeypatch.setattr(conversion.logging, "disable", lambda _: None)
    conversion.main(["savedmodel", "a", "b", str(tmp_path / "result.json")])
    answer = json.loads((tmp_path / "result.json").read_text())
    assert answer == {"error": "no signatures", "code": "unsupported_element", "hint": "Save them"}
