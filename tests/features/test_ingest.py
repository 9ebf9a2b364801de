"""Every form of input gives the columns that the interpreter reads from the same cells."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recserve.errors import DataError
from recserve.features.canonical import number_text
from recserve.features.ingest import ColumnBatch, ColumnUse, ingest_row, named_column
from recserve.features.kernels import layout as at
from recserve.features.kernels.driver import copy_out

USES = (ColumnUse("a", "user"),)


def read(address: int, count: int, dtype: Any) -> Any:
    out = np.empty(count, dtype)
    copy_out(address, out.view(np.uint8))
    return out.tolist()


def leaves(record: list[int], fields: tuple[int, int, int, int], first: int, end: int) -> list[Any]:
    """Python values of the leaves [first, end) of a record."""
    kind, values, offsets, valid = (record[field] for field in fields)
    if kind == at.TEXT:
        cuts = read(offsets + 8 * first, end - first + 1, np.int64)
        text = bytes(read(values + cuts[0], cuts[-1] - cuts[0], np.uint8))
        found: list[Any] = [text[a - cuts[0] : b - cuts[0]].decode() for a, b in itertools.pairwise(cuts)]
    elif kind == at.BOOL:
        found = [bool(x) for x in read(values + first, end - first, np.uint8)]
    else:
        found = read(values + 8 * first, end - first, np.int64 if kind == at.INT else np.float64)
    flags = read(valid + first, end - first, np.uint8) if valid else [1] * (end - first)
    return [value if flag else None for value, flag in zip(found, flags, strict=True)]


KEYS = (at.LEAF, at.LEAVES, at.LEAF_OFFSETS, at.LEAF_VALID)
ITEMS = (at.MAP_LEAF, at.MAP_LEAVES, at.MAP_OFFSETS, at.MAP_VALID)


def cells_of(batch: ColumnBatch, column: int = 0) -> list[Any]:
    """The cells of a canonical column; lists and maps that are missing are empty."""
    record = batch.table[column].tolist()
    rows = record[at.COLUMN_ROWS]
    if record[at.DEPTH] == 0:
        return leaves(record, KEYS, 0, rows)
    outer = read(record[at.OUTER], rows + 1, np.int64)
    result: list[Any] = []
    for first, end in itertools.pairwise(outer):
        if record[at.DEPTH] == 2:
            inner = read(record[at.INNER] + 8 * first, end - first + 1, np.int64)
            result.append([leaves(record, KEYS, a, b) for a, b in itertools.pairwise(inner)])
        elif record[at.IS_MAP]:
            keys, items = leaves(record, KEYS, first, end), leaves(record, ITEMS, first, end)
            result.append(dict(zip(keys, items, strict=True)))
        else:
            result.append(leaves(record, KEYS, first, end))
    return result


def taken(values: Any, kind: str | None = None) -> list[Any]:
    return cells_of(ColumnBatch.from_columns({"a": values}, USES, {"a": kind} if kind else None))


WORDS = st.text(st.characters(codec="utf-8"), max_size=5)
INTS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False)
COLUMNS = st.one_of(
    st.lists(WORDS | st.none()),
    st.lists(INTS | st.none()),
    st.lists(FLOATS | st.none()),
    st.lists(st.booleans() | st.none()),
    st.lists(st.lists(WORDS | st.none(), max_size=3)),
    st.lists(st.lists(INTS, max_size=3)),
    st.lists(st.lists(FLOATS | st.none(), max_size=3)),
    st.lists(st.lists(st.lists(WORDS, max_size=3), max_size=3)),
    st.lists(st.dictionaries(WORDS, FLOATS, max_size=3)),
    st.lists(st.dictionaries(INTS, WORDS, max_size=3)),
)
SETTINGS = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


@SETTINGS
@given(COLUMNS)
def test_cells_of_one_type_come_back_as_given(cells: list[Any]) -> None:
    assert taken(cells) == cells


def arrow(cells: list[Any]) -> Any:
    if cells and isinstance(cells[0], dict):
        kinds = {type(value) for cell in cells for value in cell.values()}
        keys = {type(key) for cell in cells for key in cell}
        key = pa.int64() if keys == {int} else pa.string()
        value = pa.string() if kinds == {str} else pa.float64()
        return pa.array([list(cell.items()) for cell in cells], pa.map_(key, value))
    return pa.array(cells)


@SETTINGS
@given(COLUMNS, st.data())
def test_an_arrow_array_gives_the_same_cells_sliced_and_in_chunks(cells: list[Any], data: st.DataObject) -> None:
    array = arrow(cells)
    first = data.draw(st.integers(0, len(cells)))
    count = data.draw(st.integers(0, len(cells) - first))
    assert taken(array) == cells
    assert taken(array.slice(first, count)) == cells[first : first + count]
    assert taken(pa.chunked_array([array.slice(0, first), array.slice(first)])) == cells
    assert taken(pa.table({"a": array})["a"]) == cells


@pytest.mark.parametrize(
    ("array", "cells"),
    [
        (pa.array(["x", None, "y"]).dictionary_encode(), ["x", None, "y"]),
        (pa.array(["x", None], pa.large_string()), ["x", None]),
        (pa.array(["x", None], pa.string_view()), ["x", None]),
        (pa.array([b"x", "ü".encode()], pa.binary()), ["x", "ü"]),
        (pa.array([1, None], pa.int8()), [1, None]),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array([0.5, None], pa.float32()), [0.5, None]),
        (pa.array([None, None]), [None, None]),
        (pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int64(), 2)), [[1, 2], [], [3, 4]]),
        (pa.array([["x"], None], pa.large_list(pa.large_string())), [["x"], []]),
        (pa.array([["x"], None, ["y"]]).slice(1), [[], ["y"]]),
        (pa.array([[("k", 1)], None, [("l", 2)]], pa.map_(pa.string(), pa.int64())).slice(1), [{}, {"l": 2}]),
        (pa.array([[["x"], None], [["y"]]]).slice(1), [[["y"]]]),
    ],
)
def test_arrow_layouts_are_read(array: Any, cells: list[Any]) -> None:
    assert taken(array) == cells


def test_what_lies_under_a_null_list_is_not_read() -> None:
    offsets = pa.array([0, 2, 4], pa.int32())
    hidden = pa.ListArray.from_arrays(offsets, pa.array([1, 2, 3, 4]), mask=pa.array([True, False]))
    assert taken(hidden) == [[], [3, 4]]


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "float32", "float64", "bool"])
def test_numpy_arrays_are_read(dtype: str) -> None:
    values = np.array([0, 1, 1], dtype)
    assert taken(values) == values.tolist()
    assert taken(values[::2]) == values[::2].tolist()
    assert taken(np.array([[0, 1], [1, 1]], dtype)) == np.array([[0, 1], [1, 1]], dtype).tolist()


@settings(max_examples=50)
@given(
    st.sampled_from([np.int64, np.float32, np.float64]),
    st.integers(1, 4),
    st.lists(st.floats(-(2**62), 2**62) | st.sampled_from([np.nan, np.inf]), min_size=1, max_size=4),
)
def test_rows_of_an_array_are_the_column_of_their_lists(dtype: Any, width: int, numbers: list[float]) -> None:
    finite = [0.5 if dtype == np.int64 and not np.isfinite(number) else number for number in numbers]
    array = np.array([[number / (place + 1) for place in range(width)] for number in finite]).astype(dtype)
    forms = [ColumnBatch.from_columns({"a": form}, USES) for form in (array, array.tolist())]
    assert len({repr(cells_of(batch)) for batch in forms}) == 1
    assert len({tuple(batch.table[0][[at.DEPTH, at.LEAF, at.COLUMN_ROWS, at.LEAF_VALID]]) for batch in forms}) == 1


def test_numpy_text_and_objects_are_cells() -> None:
    assert taken(np.array(["x", "yz"])) == ["x", "yz"]
    assert taken(np.array(["x", None], object)) == ["x", None]
    assert taken([np.int64(3), np.float32(0.5)]) == [3.0, 0.5]
    assert taken([np.array([1, 2]), (3,)]) == [[1, 2], [3]]


def test_scalars_of_several_types_are_read_as_text_unless_numbers_keep_their_value() -> None:
    assert taken([1, 0.5]) == [1.0, 0.5]
    assert taken([2**60, 0.5]) == [str(2**60), "0.5"]
    assert taken(["x", 1, 2.0, True, float("nan"), None]) == ["x", "1", "2", "true", None, None]
    assert taken([2**70, 1]) == [str(2**70), "1"]


def test_number_text_drops_the_fraction_of_integral_floats() -> None:
    assert [number_text(x) for x in (1.0, 0.1, 1e22, -2.0)] == ["1", "0.1", "1e+22", "-2"]


@pytest.mark.parametrize(
    ("kind", "cells", "want"),
    [
        ("list<string>", [["x"], None], [["x"], []]),
        ("map<string,int64>", [{"k": 1}, None], [{"k": 1}, {}]),
        ("map<int64,float32>", [{1: 0.5}], [{1: 0.5}]),
        ("list<list<int64>>", [[[1], []]], [[[1], []]]),
        ("float32", [1], [1.0]),
    ],
)
def test_a_type_name_sets_the_type(kind: str, cells: list[Any], want: list[Any]) -> None:
    assert taken(cells, kind) == want


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        (["x", ["y"]], None, "column 'a': mixes cells of types list, str. Give scalars, lists or maps in all rows"),
        ([1, {"k": 1}], None, "column 'a': mixes cells of types dict, int. Give scalars, lists or maps in all rows"),
        ([1, object()], None, "column 'a': row 1: a cell cannot be object"),
        ([["x"], ["y", ["z"]]], None, "column 'a': row 1: a list cannot hold elements of types list, str"),
        ([{"k": [1]}], None, "column 'a': the value of a map cannot be list"),
        (["x\ud800"], None, "column 'a': 'x\\ud800' cannot be UTF-8"),
        ([b"\xff"], None, "column 'a': row 0: b'\\xff' is not UTF-8"),
        (pa.array([b"\xff"]), None, "column 'a': holds bytes that are not UTF-8"),
        (pa.array([{"k": 1}]), None, "column 'a': Arrow type struct<k: int64> is no type of cells. Cast it to text"),
        (np.zeros((1, 1, 1)), None, "column 'a': an array of 3 axes is no column. Give one axis, or two for lists"),
        (np.array([1j]), None, "column 'a': an array of dtype complex128 is no column"),
        ({1: 2}, None, "column 'a': a column cannot be dict. Give a list, a NumPy or an Arrow array"),
        (["x"], "lst<string>", "column 'a': unknown type 'lst<string>'"),
        (["x"], "text", "column 'a': unknown type 'text'"),
        (["x"], "int64", "column 'a': its cells are not of type int64"),
    ],
)
def test_a_wrong_column_is_named(values: Any, kind: str | None, message: str) -> None:
    with pytest.raises(DataError) as error:
        named_column("a", values, kind)
    assert str(error.value).startswith(message)


def test_columns_are_of_one_length_or_one_row() -> None:
    uses = [ColumnUse("a", "user"), ColumnUse("b", "item")]
    assert ColumnBatch.from_columns({"a": [1], "b": [1, 2]}, uses).rows == 2
    with pytest.raises(DataError, match=r"^column 'a': has 2 rows, not 3 or 1$"):
        ColumnBatch.from_columns({"a": [1, 2], "b": [1, 2, 3]}, uses)
    with pytest.raises(DataError, match=r"^there is no column 'b'$"):
        ColumnBatch.from_columns({"a": [1, 2]}, uses)
    with pytest.raises(DataError, match=r"^there is no column 'b'. Did you mean 'bb'\?$"):
        ColumnBatch.from_columns({"a": [1], "bb": [1]}, uses)
    assert cells_of(ColumnBatch.from_columns({"a": [1, 2]}, uses, allows_absent=True), 1) == [None]
    with pytest.raises(DataError, match=r"^column 'a': has 3 rows, not 2 or 1$"):
        ColumnBatch.from_columns({"a": [1, 2, 3]}, uses[:1], rows=2)
    with pytest.raises(DataError, match=r"^columns cannot be int\. Give a dict of columns"):
        ColumnBatch.from_columns(3, uses)


def test_tables_and_record_batches_are_columns() -> None:
    table = pa.table({"a": [1, 2]})
    assert cells_of(ColumnBatch.from_columns(table, USES)) == [1, 2]
    assert cells_of(ColumnBatch.from_columns(table.to_batches()[0], USES)) == [1, 2]


def test_a_mask_is_boolean() -> None:
    assert cells_of(
        ColumnBatch.from_columns({"__SAMPLE_MASK__": [1, 0]}, [ColumnUse("__SAMPLE_MASK__", "context")])
    ) == [
        True,
        False,
    ]
    with pytest.raises(DataError, match=r"^column '__SAMPLE_MASK__': is not boolean$"):
        named_column("__SAMPLE_MASK__", ["x"])


@SETTINGS
@given(COLUMNS, st.data())
def test_a_slice_holds_the_rows(cells: list[Any], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(cells)))
    count = data.draw(st.integers(0, len(cells) - first))
    if len(cells) != 1:
        batch = ColumnBatch.from_columns({"a": cells}, USES).slice(first, count)
        assert cells_of(batch) == cells[first : first + count]


ROW = st.dictionaries(
    st.sampled_from("abcdefgh"),
    st.one_of(WORDS, INTS, FLOATS, st.none(), st.booleans(), st.lists(WORDS, max_size=3))
    | st.one_of(
        st.lists(INTS, max_size=3),
        st.lists(FLOATS, max_size=3),
        st.lists(WORDS | st.none(), max_size=3),
        st.lists(st.lists(INTS, max_size=2), max_size=2),
        st.dictionaries(WORDS, WORDS, max_size=3),
    )
    | st.dictionaries(WORDS, INTS, max_size=3)
    | st.dictionaries(WORDS, FLOATS, max_size=3)
    | st.dictionaries(INTS, FLOATS, max_size=3),
)


@SETTINGS
@given(ROW)
def test_one_row_equals_a_batch_of_one_row(row: dict[str, Any]) -> None:
    names = list("abcdefgh")
    got = ingest_row(row, names)
    for i, name in enumerate(names):
        cell = row.get(name)
        expected = taken([cell]) if cell is not None else [""]
        assert cells_of(got, i) == expected, name


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"a": object()}, "column 'a': row 0: a cell cannot be object"),
        ({"a": "\ud800"}, "column 'a': '\\ud800' cannot be UTF-8"),
        ({"a": ["x", "\ud800"]}, "column 'a': '\\ud800' cannot be UTF-8"),
        ({"a": {"x": "\ud800"}}, "column 'a': '\\ud800' cannot be UTF-8"),
        ({"a": [1, [2]]}, "column 'a': row 0: a list cannot hold elements of types int, list"),
    ],
)
def test_a_wrong_cell_of_a_row_is_told(row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as error:
        ingest_row(row, ["a"])
    assert str(error.value) == message


def test_integers_beyond_int64_are_text() -> None:
    batch = ingest_row({"a": 2**70, "b": [2**70]}, ["a", "b"])
    assert cells_of(batch, 0) == [str(2**70)]
    assert cells_of(batch, 1) == [[str(2**70)]]


def test_an_integer_beyond_int64_in_a_list_becomes_text_and_leaves_the_other_columns_alone() -> None:
    for big in (2**63, -(2**63) - 1):
        batch = ingest_row({"a": [1, 2], "b": [3, big], "c": {"k": big}}, ["a", "b", "c"])
        kinds = [(int(record[at.LEAF]), int(record[at.MAP_LEAF])) for record in batch.table]
        assert kinds == [(at.INT, 0), (at.TEXT, 0), (at.TEXT, at.TEXT)]
