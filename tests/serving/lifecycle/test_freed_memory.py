from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest

from recserve.serving.lifecycle.freed_memory import return_freed_memory


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has malloc_trim")
def test_freed_blocks_go_back_to_the_system() -> None:
    assert return_freed_memory()
    before_mb = resident_mb()
    blocks = [np.ones(4096) for _ in range(2000)]  # 64 MB in blocks that malloc keeps
    assert resident_mb() - before_mb > 50
    kept = blocks[::500]  # what lies between the free blocks does not hold them
    del blocks
    return_freed_memory()
    assert resident_mb() - before_mb < 15
    assert len(kept) == 4
