"""Entry points of kernels in the cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from recserve.scoring.kernels import KERNELS, entries


def test_every_kernel_has_an_address_of_its_own() -> None:
    found = [entries.address_of(kernel) for kernels in KERNELS.values() for kernel in kernels]
    assert len(set(found)) == len(found)


def test_the_digest_follows_the_files_that_a_module_imports() -> None:
    found: dict[str, bytes] = {}
    entries._sources("trees", found)
    assert set(found) == {"trees", "tables", "jit", "layout"}


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECSERVE_CACHE_DIR", str(tmp_path))
    assert entries.cache_folder() == tmp_path
    monkeypatch.delenv("RECSERVE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert entries.cache_folder() == tmp_path / "recserve"
