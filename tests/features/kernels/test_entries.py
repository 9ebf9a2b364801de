"""Compiled kernels on a machine that has none yet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_COMPILE = "from recserve.features.kernels.entries import address_of; print(address_of('literal') > 0)"


def test_processes_that_start_at_once_on_an_empty_cache_all_get_their_kernels(tmp_path: Path) -> None:
    environment = os.environ | {"RECSERVE_CACHE_DIR": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    processes = [
        subprocess.Popen([sys.executable, "-c", _COMPILE], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate()[0] for process in processes] == ["True\n"] * 2
    after = subprocess.run(
        [sys.executable, "-c", _COMPILE], env=environment, capture_output=True, text=True, check=True
    )
    assert after.stdout == "True\n"
