"""Whole columns against cell after cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.errors import DataError
from recserve.scoring.ingest import encode_cell, read_column
from recserve.scoring.pool import Codes

CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(["a", "1", " 2.5 ", "true", "FALSE", "NaN", "-Infinity", "", "1e5", "0x10", "1_000"]),
)


@given(st.lists(CELLS), st.sampled_from(["number", "boolean", "string"]))
def test_a_column_is_read_like_its_cells(cells: list[Any], dtype: str) -> None:
    one, many = Codes(), Codes()
    data, marks = read_column("x", cells, dtype, many)
    for cell, x, mark in zip(cells, data.tolist(), marks.tolist(), strict=True):
        want, want_mark = encode_cell(cell, dtype, one)
        assert mark == want_mark
        if dtype == "string" and not np.isnan(want):
            assert many.text(int(x)) == one.text(int(want))
        else:
            np.testing.assert_equal(x, want)


@pytest.mark.parametrize("kind", ["float32", "int8", "bool", "U3", "object"])
def test_arrays_are_read_like_lists(kind: str) -> None:
    array = np.array([1, 0, 1], kind)
    for dtype in ("number", "boolean"):
        data, marks = read_column("x", array, dtype, Codes())
        if kind == "U3" or kind != "bool" or dtype == "number":
            np.testing.assert_array_equal(data, [1.0, 0.0, 1.0])
        assert not marks.any()


def test_a_number_becomes_the_text_that_it_is_written_as() -> None:
    codes = Codes()
    data, _ = read_column("x", [1, 1.0, True, 2.5, None, "1"], "string", codes)
    assert [None if np.isnan(x) else codes.text(int(x)) for x in data] == ["1", "1", "true", "2.5", None, "1"]


@pytest.mark.parametrize("cell", [[], {}, b"a", object()])
def test_a_cell_of_another_type_is_an_error(cell: object) -> None:
    kind = type(cell).__name__
    for dtype in ("number", "boolean", "string"):
        with pytest.raises(DataError, match=f"column 'x': a cell is {kind}, not str, float, int, bool or None"):
            read_column("x", [1.0, cell], dtype, Codes())


def test_a_column_has_one_axis() -> None:
    with pytest.raises(DataError, match="column 'x' has 2 axes, not 1"):
        read_column("x", np.zeros((2, 2)), "number", Codes())


@pytest.mark.parametrize("values", [np.array([0.0, 1.0, 2.0, np.nan]), [0, 1, 2.0, None], [False, True, 2, None]])
def test_numbers_are_booleans_where_they_are_0_or_1(values: Any) -> None:
    data, marks = read_column("x", values, "boolean", Codes())
    np.testing.assert_array_equal(data, [0.0, 1.0, np.nan, np.nan])
    assert marks.tolist() == [0.0, 0.0, 1.0, 0.0]
