"""The number of elements of a shape."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.errors import RequestError
from recserve.wire.element_count import MAX_ELEMENTS, count_elements


@given(st.lists(st.integers(-3, 2**40), max_size=6))
def test_count_is_the_exact_product_or_an_error(shape: list[int]) -> None:
    if min(shape, default=0) < 0:
        with pytest.raises(RequestError, match="negative axis"):
            count_elements(shape)
    elif math.prod(shape) > MAX_ELEMENTS:
        with pytest.raises(RequestError, match="63 bits"):
            count_elements(shape)
    else:
        assert count_elements(shape) == math.prod(shape)


def test_too_many_axes_are_refused() -> None:
    assert count_elements([1] * 32) == 1
    with pytest.raises(RequestError, match="a shape of 33 axes"):
        count_elements([1] * 33)


@pytest.mark.parametrize("shape", [[0, 2**62], [2**62, 0], [2**31, 0, 2**31], [0] + [2**20] * 4])
def test_an_empty_shape_that_no_array_can_have_is_refused(shape: list[int]) -> None:
    with pytest.raises(RequestError, match="has more elements than fit 63 bits"):
        count_elements(shape)
    assert count_elements([0, 2**58]) == 0
