"""What rows take in each precision, and what an array says of itself."""

from __future__ import annotations

import numpy as np
import pytest

from recserve.errors import ConfigError, InvariantError
from recserve.rows.formats import (
    check_precision,
    dtype_of,
    effective,
    first_overflow,
    precision_of,
    row_bytes,
    table_row_bytes,
    width_of,
)


@pytest.mark.parametrize(
    ("width", "sizes"), [(1, (4, 4, 4, 8)), (2, (8, 4, 4, 8)), (5, (20, 12, 12, 12)), (64, (256, 128, 128, 68))]
)
def test_a_row_takes_whole_words(width: int, sizes: tuple[int, ...]) -> None:
    assert tuple(row_bytes(precision, width) for precision in ("fp32", "fp16", "bf16", "int8")) == sizes


def test_rows_of_a_table_follow_one_another() -> None:
    assert [table_row_bytes(precision, 3) for precision in ("fp32", "fp16", "bf16", "int8")] == [12, 6, 6, 8]
    for precision in ("fp16", "bf16", "int8"):
        dtype = dtype_of(precision, 3)
        rows = np.zeros(4 if dtype.names else (4, 3), dtype)
        assert (rows.strides[0], width_of(rows)) == (table_row_bytes(precision, 3), 3)


def test_a_precision_that_saves_nothing_is_not_used() -> None:
    assert [effective("int8", width) for width in (1, 2, 3)] == ["fp32", "fp32", "int8"]
    assert [effective("bf16", width) for width in (1, 2)] == ["fp32", "bf16"]
    assert effective("fp32", 8) == "fp32"


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros((2, 3), np.float64),
        np.zeros(3, np.float32),
        np.zeros((2, 0), np.float32),
        np.zeros((2, 3), np.int8),
        np.zeros(2, [("scale", "<f4"), ("row", "i1", (3,))]),
        np.zeros(2, [("scale", "<f4"), ("row", "i1")]),
    ],
)
def test_other_arrays_are_no_stored_rows(rows: np.ndarray) -> None:
    with pytest.raises(InvariantError, match="are no stored rows"):
        precision_of(rows)


def test_an_unknown_precision_gets_a_hint() -> None:
    check_precision("auto", "tables", "auto")
    with pytest.raises(ConfigError, match=r"^tables: unknown precision 'int9'. Did you mean 'int8'\?$"):
        check_precision("int9", "tables")
    with pytest.raises(ConfigError, match=r"unknown precision 'x'. Known: fp32, fp16, bf16, int8$"):
        check_precision("x", "tables")


def test_the_first_number_that_does_not_fit_is_found() -> None:
    rows = np.array([[1.0, 65519.0], [2.0, -65520.0], [70000.0, 0.0]], np.float32)
    assert first_overflow(rows, "fp16") == (1, -65520.0)
    assert first_overflow(rows[:1], "fp16") is None
    assert first_overflow(rows, "bf16") is None
    assert first_overflow(rows, "int8") is None
    assert first_overflow(np.full((1, 1), 3.4e38, np.float32), "bf16") == (0, pytest.approx(3.4e38))
    assert first_overflow(np.empty((0, 2), np.float32), "fp16") is None
