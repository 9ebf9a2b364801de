"""Entry points of kernels in the cache."""

from __future__ import annotations

from recserve.scoring.kernels import KERNELS
from recserve.scoring.kernels.entries import LIBRARY


def test_every_kernel_has_an_address_of_its_own() -> None:
    found = [LIBRARY.address_of(kernel) for kernels in KERNELS.values() for kernel in kernels]
    assert len(set(found)) == len(found)


def test_the_digest_follows_the_files_that_a_module_imports() -> None:
    found: dict[str, bytes] = {}
    LIBRARY._sources("trees", found)
    assert set(found) == {"trees", "tables", "jit", "layout"}
