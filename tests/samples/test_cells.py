import math
import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import DataError
from recserve.samples.cells import decode_columns, encode_columns, to_arrow

TEXTS = st.text(max_size=5)
INTS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats()
SCALARS = st.one_of(st.none(), TEXTS, INTS, FLOATS, st.booleans())
MAPS = st.one_of(
    st.dictionaries(st.one_of(TEXTS, st.sampled_from(["$map", "$float", "$"])), SCALARS, max_size=3),
    st.dictionaries(INTS, SCALARS, max_size=3),
)
CELLS = st.one_of(SCALARS, st.lists(SCALARS, max_size=4), st.lists(st.lists(SCALARS, max_size=3), max_size=3), MAPS)


def exact(cell: object) -> object:
    """A value that is equal for two cells only if type and bits are equal."""
    if isinstance(cell, float):
        return ("nan",) if math.isnan(cell) else struct.pack("d", cell)
    if isinstance(cell, list):
        return [exact(part) for part in cell]
    if isinstance(cell, dict):
        return {(type(key), key): exact(value) for key, value in cell.items()}
    return (type(cell), cell)


@settings(max_examples=100)
@given(st.dictionaries(TEXTS, CELLS, max_size=4))
def test_columns_come_back_with_the_same_types_and_bits(columns):
    back = decode_columns(encode_columns(columns, "here"), "here")
    assert {name: exact(cell) for name, cell in back.items()} == {name: exact(cell) for name, cell in columns.items()}


@settings(max_examples=100)
@given(
    st.sampled_from(["i1", "u4", "i8", "u8", "f2", "f4", "f8", "?", ">f8", "O"]),
    st.sampled_from([(), (0,), (3,), (2, 3), (0, 2), (2, 0)]),
    st.lists(st.floats(width=64, allow_infinity=True), min_size=6, max_size=6),
)
def test_arrays_have_the_text_of_their_lists(dtype, shape, numbers):
    with np.errstate(all="ignore"):
        drawn = np.array(numbers)
        drawn = drawn if dtype in {"f2", "f4", "f8", ">f8", "O"} else np.nan_to_num(drawn, posinf=7.0) % 100
        array = drawn.astype(dtype)[: int(np.prod(shape, dtype=int))].reshape(shape)
    for form in (array, array.T):
        assert encode_columns({"x": form}, "here") == encode_columns({"x": form.tolist()}, "here")


def test_numpy_values_are_written_as_the_python_values_they_equal():
    columns = {"a": np.float32(0.1), "b": np.arange(3), "c": np.array([[1.5]], np.float32), "d": np.bool_(True)}
    columns["e"] = {np.int64(3): np.float64(2.5)}
    columns["f"] = np.array([None, "x"], object)
    back = decode_columns(encode_columns(columns, "here"), "here")
    assert back == {
        "a": float(np.float32(0.1)),
        "b": [0, 1, 2],
        "c": [[1.5]],
        "d": True,
        "e": {3: 2.5},
        "f": [None, "x"],
    }
    assert np.float32(back["a"]) == np.float32(0.1)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (object(), "here: column 'x': a cell is object. A cell is None"),
        (b"x", "a cell is bytes"),
        (2**63, "the integer 9223372036854775808 does not fit 64 bits. Give it as text."),
        ({1.5: 1}, "a map has the key 1.5. Keys are text or integers."),
        ("\ud800", "here: cannot be written as JSON"),
    ],
)
def test_a_cell_that_no_feature_takes_is_refused(cell, message):
    with pytest.raises(DataError, match=message.replace(".", r"\.").replace("(", r"\(")):
        encode_columns({"x": cell}, "here")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "here: is not JSON"),
        ("[1]", "here: is list, not an object of columns"),
        ('{"x": {"$float": "one"}}', r"here: has the malformed tag '\$float': 'one'"),
        ('{"x": {"$map": [[1]]}}', r"has the malformed tag '\$map'"),
        ('{"x": {"$other": 1}}', r"has the malformed tag '\$other'"),
    ],
)
def test_a_damaged_text_is_refused(text, message):
    with pytest.raises(DataError, match=message):
        decode_columns(text, "here")


@pytest.mark.parametrize(
    ("cells", "dtype", "expected"),
    [
        ([None, None], pa.string(), [None, None]),
        ([1, None], pa.int64(), [1, None]),
        ([1.5, 2.0], pa.float64(), [1.5, 2.0]),
        ([True, None], pa.bool_(), [True, None]),
        ([1, 2.5, "x", None], pa.string(), ["1", "2.5", "x", None]),
        ([[1, 2], None, []], pa.list_(pa.int64()), [[1, 2], None, []]),
        ([[1, 2.5], ["a"]], pa.list_(pa.string()), [["1", "2.5"], ["a"]]),
        ([[["a"], []], []], pa.list_(pa.list_(pa.string())), [[["a"], []], []]),
        ([[], None], pa.list_(pa.string()), [[], None]),
        ([{"a": 1.0}, None, {}], pa.map_(pa.string(), pa.float64()), [[("a", 1.0)], None, []]),
        ([{1: 2}, {3: 4}], pa.map_(pa.int64(), pa.int64()), [[(1, 2)], [(3, 4)]]),
        ([{"a": 1, "b": 0.5}], pa.map_(pa.string(), pa.string()), [[("a", "1"), ("b", "0.5")]]),
        ([], pa.string(), []),
    ],
)
def test_the_inferred_type_holds_every_cell_unchanged(cells, dtype, expected):
    array = to_arrow("x", cells)
    assert array.type == dtype
    assert array.to_pylist() == expected


def test_a_column_of_two_shapes_is_refused():
    with pytest.raises(DataError, match=r"column 'x': holds lists and text\. Log one kind of value in a column"):
        to_arrow("x", [["a"], "a"])
    with pytest.raises(DataError, match="column 'x': holds booleans and integers"):
        to_arrow("x", [True, 1])


def test_a_given_type_wins_over_the_inferred_one():
    assert to_arrow("x", [1, None], pa.float32()).type == pa.float32()
    assert to_arrow("x", [{"a": 1}], pa.map_(pa.string(), pa.float32())).to_pylist() == [[("a", 1.0)]]
    with pytest.raises(DataError, match="column 'x': does not convert to int64"):
        to_arrow("x", ["a"], pa.int64())
