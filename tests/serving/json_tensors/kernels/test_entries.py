from __future__ import annotations

from recserve.kernel_cache import read_sources
from recserve.serving.json_tensors.kernels import KERNELS
from recserve.serving.json_tensors.kernels.entries import LIBRARY, load_kernel


def test_every_kernel_compiles() -> None:
    assert all(callable(load_kernel(kernel)) for kernels in KERNELS.values() for kernel in kernels)


def test_an_edit_to_the_kernels_of_features_that_read_numbers_is_noticed() -> None:
    found = read_sources(f"{LIBRARY.package}.lift")
    assert {"recserve.features.kernels.read_number", "recserve.features.kernels.powers"} <= found.keys()
    assert f"{LIBRARY.package}.read_value" in found
