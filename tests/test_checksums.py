"""Checksums of files: at once, or by a polite child process."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from recserve import checksums
from recserve.checksums import is_polite, sha256_of, sha256_of_all


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("a b", "c\nd", "é")]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 1000)
    return paths


def expected(files: list[Path]) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]


def on_polite_thread(work: Any) -> Any:
    found: list[Any] = []

    def run() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 3)
        found.append((is_polite(), work()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def test_a_checksum_is_that_of_the_bytes(files: list[Path]) -> None:
    assert [sha256_of(path) for path in files] == expected(files)
    assert sha256_of_all(files) == expected(files)
    assert not is_polite() or os.getpriority(os.PRIO_PROCESS, 0) > 0


def test_a_polite_thread_leaves_large_files_to_a_child(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "LARGE_BYTES", 1)
    monkeypatch.setattr(checksums, "sha256_of", None)  # it would fail in this process
    assert on_polite_thread(lambda: sha256_of_all(files)) == (True, expected(files))


def test_where_no_child_can_run_the_caller_reads(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "LARGE_BYTES", 1)
    monkeypatch.setattr(checksums.sys, "executable", "/no/such/python")
    assert on_polite_thread(lambda: sha256_of_all(files)) == (True, expected(files))


def test_a_file_that_is_gone_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sha256_of_all([tmp_path / "none"])
