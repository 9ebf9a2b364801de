"""Ids, columns and cells on the wire, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.errors import DataError
from recserve.wire.ranking import Cell, Column, Values
from recserve.wire.values import (
    read_cell,
    read_cells,
    read_column,
    read_values,
    write_cell,
    write_column,
    write_values,
)

INT64 = st.integers(-(2**63), 2**63 - 1)
LISTS = st.one_of(
    st.lists(st.text()),
    st.lists(INT64),
    st.lists(st.floats(allow_nan=False)),
    st.lists(st.booleans()),
)


def slow_column(column: Any) -> list[Any]:
    """The cells of a column, one after the other."""
    flat = read_values(column.values)
    cells: list[Any] = []
    if column.lengths:
        at = 0
        for length in column.lengths:
            cells.append(flat[at : at + length])
            at += length
    else:
        cells = flat
    return [None if i in set(column.missing) else cell for i, cell in enumerate(cells)]


@given(LISTS)
def test_values_come_back_as_they_were(values: list[Any]) -> None:
    got = read_values(Values.FromString(write_values(values).SerializeToString()))
    assert got == values
    assert list(map(type, got)) == list(map(type, values))


@given(st.lists(INT64))
def test_every_form_of_integers_reads_the_same(values: list[int]) -> None:
    forms = [
        Values(integers=Values.Integers(value=values)),
        Values(fixed_integers=Values.FixedIntegers(value=values)),
        Values(int64_le=np.array(values, "<i8").tobytes()),
    ]
    assert [read_values(form) for form in forms] == [values] * 3


def test_every_form_of_numbers_reads_the_same() -> None:
    forms = [
        Values(floats=Values.Floats(value=[0.5, 2])),
        Values(doubles=Values.Doubles(value=[0.5, 2])),
        Values(float_le=np.array([0.5, 2], "<f4").tobytes()),
        Values(double_le=np.array([0.5, 2], "<f8").tobytes()),
    ]
    assert [read_values(form) for form in forms] == [[0.5, 2.0]] * 4


def test_arrays_keep_their_width() -> None:
    assert write_values(np.array([0.5], np.float32)).WhichOneof("kind") == "float_le"
    assert write_values(np.array([0.5])).WhichOneof("kind") == "double_le"
    assert write_values(np.array([7], np.uint8)).WhichOneof("kind") == "int64_le"
    assert read_values(write_values(np.array(["a", "b"]))) == ["a", "b"]
    assert read_values(write_values(np.array(["a", "b"], object))) == ["a", "b"]


def test_integers_among_floats_become_floats() -> None:
    assert read_values(write_values([1, 2.5])) == [1.0, 2.5]


COLUMNS = st.one_of(
    st.lists(st.one_of(st.none(), INT64)),
    st.lists(st.one_of(st.none(), st.text())),
    st.lists(st.one_of(st.none(), st.lists(st.floats(allow_nan=False)))),
    st.lists(st.one_of(st.none(), st.lists(st.text()))),
)


@given(COLUMNS)
def test_columns_come_back_as_they_were(cells: list[Any]) -> None:
    column = Column.FromString(write_column(cells).SerializeToString())
    assert read_column(column) == cells == slow_column(column)


PACKED = st.one_of(
    st.lists(INT64, max_size=12).map(lambda numbers: Values(int64_le=np.array(numbers, "<i8").tobytes())),
    st.lists(st.floats(width=32), max_size=12).map(lambda numbers: Values(float_le=np.array(numbers, "<f4").tobytes())),
    st.lists(st.floats(), max_size=12).map(lambda numbers: Values(double_le=np.array(numbers, "<f8").tobytes())),
    st.lists(st.floats(), max_size=12).map(write_values),
    st.just(Values(texts=Values.Texts(value=["a", "b"]))),
    st.just(Values(float_le=bytes(7))),
)
LENGTHS = st.one_of(
    st.lists(st.integers(0, 3), max_size=4),
    st.tuples(st.integers(0, 4), st.integers(0, 4)).map(lambda n: [n[0]] * n[1]),
)


@given(PACKED, LENGTHS, st.lists(st.integers(0, 3), max_size=1))
def test_packed_rows_are_those_of_the_list(values: Any, lengths: list[int], missing: list[int]) -> None:
    column = Column(values=values, lengths=lengths, missing=missing)
    assert outcome(read_cells, column) == outcome(read_column, column)


def outcome(read: Any, column: Any) -> str:
    try:
        got = read(column)
    except DataError as error:
        return str(error)
    return repr(got if isinstance(got, list) else got.tolist())


@pytest.mark.parametrize("dtype", ["<i8", "<f4", "<f8"])
def test_packed_rows_of_one_width_are_not_turned_into_lists(dtype: str) -> None:
    rows = np.arange(6).reshape(3, 2).astype(dtype)
    got = read_cells(write_column(rows))
    assert isinstance(got, np.ndarray)
    assert (got.dtype, got.tolist()) == (rows.dtype, rows.tolist())
    assert read_column(write_column(rows)) == rows.tolist()
    assert read_column(write_column(rows[:, :0])) == [[], [], []]
    assert read_column(write_column(rows[::2, ::-1])) == rows[::2, ::-1].tolist()


CELLS = st.one_of(
    st.none(),
    st.text(),
    INT64,
    st.floats(allow_nan=False),
    st.booleans(),
    LISTS,
    st.lists(st.lists(INT64), min_size=1),
    st.dictionaries(st.text(), st.floats(allow_nan=False)),
    st.dictionaries(st.text(), INT64),
)


@given(CELLS)
def test_cells_come_back_as_they_were(value: Any) -> None:
    got = read_cell(Cell.FromString(write_cell(value).SerializeToString()))
    assert got == value
    assert type(got) is type(value)


def test_keys_of_a_map_are_texts_as_in_json() -> None:
    assert read_cell(write_cell({7: 1.0})) == {"7": 1.0}


def test_scalars_of_numpy_are_cells() -> None:
    assert read_cell(write_cell(np.int32(7))) == 7
    assert read_cell(write_cell(np.float32(0.5))) == 0.5


@pytest.mark.parametrize(
    ("message", "read", "problem"),
    [
        (Values(int64_le=b"123"), read_values, "3 bytes in int64_le are no whole number of 8-byte values"),
        (Column(values=Values(int64_le=bytes(8)), lengths=[2]), read_column, "add up to 2, but there are 1 values"),
        (Column(values=Values(int64_le=bytes(8)), missing=[1]), read_column, "row 1 is missing, but there are 1 rows"),
        (Cell(map=Cell.Map(keys=Values(int64_le=bytes(8)))), read_cell, "a map has 1 keys and 0 values"),
    ],
)
def test_inconsistent_messages_are_refused(message: Any, read: Any, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        read(message)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("value", "write", "problem"),
    [
        ([1, "a"], write_values, "values of the types int, str cannot be sent together"),
        ([True, 1], write_values, "values of the types bool, int cannot"),
        ([2**63], write_values, "an integer is beyond int64"),
        (np.array([2**63], np.uint64), write_values, "9223372036854775808 is beyond int64"),
        (np.array([1j]), write_values, "values of dtype complex128 cannot be sent"),
        (2**63, write_cell, "9223372036854775808 is beyond int64"),
        (object(), write_cell, "a object cannot be sent"),
    ],
)
def test_what_cannot_be_sent_is_refused(value: Any, write: Any, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        write(value)
    assert problem in str(caught.value)
