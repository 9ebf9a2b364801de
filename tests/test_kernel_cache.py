"""Compiled kernels on a machine that has none yet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recserve import kernel_cache
from recserve.features.kernels.entries import LIBRARY

_COMPILE = """
import json, logging, subprocess, sys
from pathlib import Path
from recserve.features.kernels.entries import LIBRARY
records = []
handler = logging.Handler()
handler.emit = lambda record: records.append(record.getMessage())
logging.getLogger("recserve.kernels").addHandler(handler)
logging.getLogger("recserve.kernels").setLevel("INFO")
LIBRARY.prepare(sys.argv[1:])
print(json.dumps([all(LIBRARY.address_of(kernel) > 0 for kernel in sys.argv[1:]), records]))
"""
KERNELS = ("literal", "fill_numbers")


def start(folder: Path, *kernels: str) -> subprocess.Popen[str]:
    environment = os.environ | {"RECSERVE_CACHE_DIR": str(folder), "NUMBA_CACHE_DIR": str(folder / "numba")}
    return subprocess.Popen(
        [sys.executable, "-c", _COMPILE, *kernels], env=environment, stdout=subprocess.PIPE, text=True
    )


def answer(process: subprocess.Popen[str]) -> Any:
    return json.loads(process.communicate()[0])


def test_processes_that_start_at_once_on_an_empty_cache_compile_once(tmp_path: Path) -> None:
    """Two kernels of two modules, so that the one that compiles shares the work, and the other waits for it."""
    answers = [answer(process) for process in [start(tmp_path, *KERNELS) for _ in range(2)]]
    assert [are_there for are_there, _ in answers] == [True, True]
    said = [text for _, records in answers for text in records]
    assert said[0] == "Compiling 2 kernels of recserve.features.kernels; once on this machine"
    assert [text.split()[:2] for text in said[1:]] == [["Compiled", "in"]]
    marks = sorted(path.name.split(".")[1] for path in tmp_path.glob("*.compiled"))
    assert marks == sorted(KERNELS)
    assert answer(start(tmp_path, *KERNELS)) == [True, []]


def test_modules_are_shared_out_by_size_and_stay_whole() -> None:
    kernels = [kernel for module in ("parse", "ids", "tokens", "numeric") for kernel in LIBRARY._kernels[module]]
    batches = LIBRARY._share(kernels, 3)
    assert sorted(kernel for batch in batches for kernel in batch) == sorted(kernels)
    assert len(batches) == 3
    homes = [{LIBRARY._module_of[kernel] for kernel in batch} for batch in batches]
    assert sum(map(len, homes)) == 4
    assert LIBRARY._share(["literal", "join_tokens"], 3) == [["literal", "join_tokens"]]


def test_a_cache_folder_that_cannot_be_written_needs_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RECSERVE_CACHE_DIR", str(tmp_path / "file" / "below"))
    with kernel_cache._locked():
        assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_digest_changes_with_any_source_of_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    before = LIBRARY.digest_of("numeric")
    monkeypatch.setattr(LIBRARY, "_digests", {})
    assert LIBRARY.digest_of("numeric") == before
    monkeypatch.setattr(LIBRARY, "_digests", {})
    monkeypatch.setattr(kernel_cache, "read_sources", lambda module: {module: b"edited"})
    assert LIBRARY.digest_of("numeric") != before


def test_sources_are_those_of_all_that_is_imported_in_any_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "recserve/a/kernels/first.py": "from recserve.a.kernels import layout as at, second\n"
        "from recserve.b.kernels.far import (\n    one,\n    two as three,\n)\nfrom recserve.sizes import MOST\n",
        "recserve/a/kernels/__init__.py": "",
        "recserve/a/kernels/at.py": "an alias is no module",
        "recserve/a/kernels/layout.py": "A = 1\n",
        "recserve/a/kernels/second.py": "from recserve.a.kernels.first import one\n",
        "recserve/b/kernels/far.py": "from recserve.b.kernels.farther import x\n",
        "recserve/b/kernels/farther.py": "X = 1\n",
        "recserve/sizes.py": "from recserve.left_out import Y\n",
        "recserve/left_out.py": "Y = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(kernel_cache, "_ROOT", tmp_path)
    assert set(kernel_cache.read_sources("recserve.a.kernels.first")) == {
        "recserve.a.kernels.first",
        "recserve.a.kernels.layout",
        "recserve.a.kernels.second",
        "recserve.b.kernels.far",
        "recserve.b.kernels.farther",
        "recserve.sizes",
    }


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSERVE_CACHE_DIR", "/somewhere")
    assert str(kernel_cache.cache_folder()) == "/somewhere"
    monkeypatch.delenv("RECSERVE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert str(kernel_cache.cache_folder()) == "/cache/recserve"


def test_generated_code_lies_elsewhere_where_the_cache_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RECSERVE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    path = kernel_cache._write_source("entry_points", "x = 1\n")
    assert path.read_text() == "x = 1\n"
    monkeypatch.setenv("RECSERVE_CACHE_DIR", str(tmp_path / "cache"))
    assert kernel_cache._write_source("entry_points", "x = 1\n") == tmp_path / "cache" / "entry_points.py"
    assert [file.name for file in (tmp_path / "cache").iterdir()] == ["entry_points.py"]


def test_a_second_process_loads_what_the_first_compiled(tmp_path: Path) -> None:
    code = (
        "from recserve.features.kernels.entries import LIBRARY; LIBRARY.address_of('element_steps');"
        "print(LIBRARY._compiled['element_steps'].cache_hits)"
    )
    environment = os.environ | {"RECSERVE_CACHE_DIR": str(tmp_path)}
    runs = [
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert [run.stdout.strip() for run in runs] == ["0", "1"]
