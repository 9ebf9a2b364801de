"""What all tests share: drawn inputs and the folders beside the clone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# No deadline: the first example of a test may compile kernels. RECSERVE_EXAMPLES=2000 searches longer.
settings.register_profile(
    "recserve", deadline=None, max_examples=int(os.environ.get("RECSERVE_EXAMPLES", "100")), print_blob=True
)
settings.load_profile("recserve")


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} names no folder")
    folder = Path(value)
    if not folder.is_dir():
        pytest.fail(f"{variable} is {value!r}, which is no folder")
    return folder.resolve()


@pytest.fixture(scope="session")
def conformance() -> Path:
    """The folder of answers of other systems, named by RECSERVE_CONFORMANCE; without it the test is skipped."""
    return _folder("RECSERVE_CONFORMANCE")


@pytest.fixture(scope="session")
def movielens() -> Path:
    """The folder of MovieLens 100K under the one that RECSERVE_DATA names; without it the test is skipped."""
    return _folder("RECSERVE_DATA") / "ml-100k"
