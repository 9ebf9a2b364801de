"""How many elements a shape has, checked before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from recserve.errors import RequestError

MAX_ELEMENTS: Final = 2**63 - 1
_ELEMENT_BYTES: Final = 16
"""Of the largest dtype."""

MAX_RANK: Final = 32
"""What NumPy versions in use can hold at least."""


def count_elements(shape: Sequence[int]) -> int:
    """Product of the sizes of a shape; 1 for a scalar.

    Raises:
        RequestError: an axis is negative, there are more than 32, or the product does not fit int64.
    """
    if len(shape) > MAX_RANK:
        raise RequestError(f"a shape of {len(shape)} axes", code="invalid_shape", hint=f"At most {MAX_RANK} are taken.")
    if min(shape, default=0) < 0:
        raise RequestError(
            f"the shape {list(shape)} has a negative axis", code="invalid_shape", hint="Give the true sizes."
        )
    count = math.prod(shape)
    # NumPy refuses what would be too large without its axes of size 0 too.
    if count > MAX_ELEMENTS or (count == 0 and math.prod(filter(None, shape)) > MAX_ELEMENTS // _ELEMENT_BYTES):
        raise RequestError(f"the shape {list(shape)} has more elements than fit 63 bits", code="invalid_shape")
    return count
