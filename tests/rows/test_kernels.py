"""The kernels that store and read rows equal their slow twin bit for bit, over every pattern of bits."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recserve.dtypes import F32
from recserve.rows import reference
from recserve.rows.formats import PRECISIONS, dtype_of, precision_of, width_of
from recserve.rows.kernels import half_by_bits, load_rows, store_rows

INEXACT = PRECISIONS[1:]
EDGES = [0, 1, 2, 3, 0x7FFFFF, 0x800000, 0x33000000, 0x33000001, 0x33800000, 0x387FC000, 0x387FE000, 0x387FF000]
EDGES += [0x38800000, 0x38801000, 0x38803000, 0x3F800000, 0x477FE000, 0x477FEFFF, 0x477FF000, 0x47800000]
EDGES += [0x7F7F0000, 0x7F7F7FFF, 0x7F7F8000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF]
PATTERNS = st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([*EDGES, *(edge | 1 << 31 for edge in EDGES)]))

NUMBERS = st.floats(width=32, allow_nan=False)


def bits_of(rows: F32) -> list[int]:
    """Bits, those of every NaN alike."""
    flat = np.where(np.isnan(rows), np.float32(np.nan), rows).astype(np.float32)
    return [int(word) for word in flat.view(np.uint32).ravel()]


@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=100, deadline=None)
@given(
    words=st.tuples(st.integers(0, 4), st.integers(1, 40)).flatmap(lambda s: arrays(np.uint32, s, elements=PATTERNS))
)
def test_rows_are_stored_and_read_as_the_twin_does(precision: str, words: np.ndarray) -> None:
    rows = words.view(np.float32)
    with np.errstate(all="ignore"):
        expected = reference.store_rows(rows, precision)
        found = store_rows(rows, precision)
        assert found.dtype == expected.dtype == (dtype_of(precision, rows.shape[1]))
        wide = load_rows(found, precision, rows.shape[1])
        assert bits_of(wide) == bits_of(reference.load_rows(found, precision))
        assert bits_of(wide) == bits_of(reference.load_rows(expected, precision))
    assert precision_of(found) == precision
    assert width_of(found) == rows.shape[1]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_every_half_is_read_as_others_read_it_and_stored_as_itself(precision: str) -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    known = halves.view(np.float16 if precision == "fp16" else ml_dtypes.bfloat16)
    wide = load_rows(known if precision == "fp16" else halves, precision, 256)
    with np.errstate(invalid="ignore"):
        assert bits_of(wide) == bits_of(known.astype(np.float32))
    finite = np.isfinite(wide)
    again = store_rows(wide, precision).view(np.uint16)
    assert np.array_equal(again[finite], halves[finite])


def test_a_half_is_read_alike_without_an_instruction_for_it() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16)
    with np.errstate(invalid="ignore"):
        known = bits_of(halves.view(np.float16).astype(np.float32))
    assert bits_of(np.array([half_by_bits(half) for half in halves], np.float32)) == known


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_finite_numbers_round_as_others_round_them(precision: str) -> None:
    rng = np.random.default_rng(1)
    words = rng.integers(0, 1 << 32, (500, 400), np.uint32)
    words[250:] = words[250:] & 0x0FFFFFFF | 0x30000000  # around fp16's denormals
    rows = words.view(np.float32)
    kind = np.float16 if precision == "fp16" else ml_dtypes.bfloat16
    with np.errstate(all="ignore"):
        known = rows.astype(kind)
        fits = np.isfinite(known.astype(np.float32))
    stored = store_rows(rows, precision).view(np.uint16)
    assert np.array_equal(stored[fits], known.view(np.uint16)[fits])
    wide = load_rows(store_rows(rows, precision), precision, 400)
    assert np.isfinite(wide[~np.isnan(rows)]).all()


@settings(max_examples=100, deadline=None)
@given(
    arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 30)), elements=st.floats(width=32, allow_nan=False))
)
def test_an_int8_row_is_within_half_a_step(rows: F32) -> None:
    wide = load_rows(store_rows(rows, "int8"), "int8", rows.shape[1]).astype(np.float64)
    assert np.isfinite(wide).all()
    sizes = np.minimum(np.abs(rows.astype(np.float64)), float(np.finfo(np.float32).max))
    step = sizes.max(axis=1, keepdims=True) / 127
    assert (np.abs(wide - np.copysign(sizes, rows)) <= step * 0.50001 + 2e-43).all()


@pytest.mark.parametrize("precision", INEXACT)
def test_no_rows_are_stored_as_no_rows(precision: str) -> None:
    stored = store_rows(np.zeros((0, 5), np.float32), precision)
    assert load_rows(stored, precision, 5).shape == (0, 5)


def test_float32_rows_are_not_copied() -> None:
    rows = np.ones((2, 3), np.float32)
    assert store_rows(rows, "fp32") is rows
    assert load_rows(rows, "fp32", 3) is rows
