"""Entry points of kernels in the cache."""

from __future__ import annotations

from recserve.kernel_cache import read_sources
from recserve.scoring.kernels import KERNELS
from recserve.scoring.kernels.entries import LIBRARY


def test_every_kernel_has_an_address_of_its_own() -> None:
    found = [LIBRARY.address_of(kernel) for kernels in KERNELS.values() for kernel in kernels]
    assert len(set(found)) == len(found)


def test_the_digest_follows_the_files_that_a_module_imports() -> None:
    found = read_sources("recserve.scoring.kernels.trees")
    kernels = {name.removeprefix("recserve.scoring.kernels.") for name in found if "kernels" in name}
    assert kernels == {"trees", "tables", "jit", "layout"}
    assert "recserve.memory" in found
