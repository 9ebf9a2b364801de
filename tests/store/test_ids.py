"""Item ids: whatever a caller has, brought to the kind of the store."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import DataError
from recserve.store.ids import decode_ids, encode_ids
from recserve.store.items import ItemStore
from recserve.store.layout import PayloadLayout


def store_of(kind: str, ids: list[Any]) -> ItemStore:
    store = ItemStore(PayloadLayout(), kind)
    store.upsert_rows(ids)
    return store


def is_known(store: ItemStore, ids: Any) -> list[bool]:
    with store.read() as view:
        return (view.find(ids) >= 0).tolist()


FORMS = [
    lambda ids: ids,
    tuple,
    np.array,
    lambda ids: np.array(ids, object),
    pa.array,
    lambda ids: pa.array([ids[0], *ids])[1:],
    lambda ids: pa.chunked_array([ids[:1], ids[1:]]),
    lambda ids: pa.array(ids).dictionary_encode(),
]


@pytest.mark.parametrize("form", FORMS)
def test_ids_come_in_many_forms(form: Any) -> None:
    assert is_known(store_of("string", form(["a", "b", "é" * 9])), form(["é" * 9, "a", "c"])) == [True, True, False]
    assert is_known(store_of("int64", form([5, -6, 2**62])), form([2**62, 5, 6])) == [True, True, False]


@pytest.mark.parametrize("arrow_type", [pa.string(), pa.large_string(), pa.string_view()])
def test_arrow_strings_of_each_layout_are_found(arrow_type: pa.DataType) -> None:
    assert is_known(store_of("string", ["a", "b" * 20]), pa.array(["b" * 20, "a"], arrow_type)) == [True, True]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64])
def test_integers_of_each_width_are_found(dtype: type) -> None:
    assert is_known(store_of("int64", [5, 7]), np.array([7, 6], dtype)) == [True, False]


def test_integers_match_strings_by_their_decimal_text() -> None:
    store = store_of("string", [7, -8])
    store.upsert_rows(["09", "10"])
    assert is_known(store, [7, -8, 9, 10]) == [True, True, False, True]
    assert is_known(store, ["7", "-8", "09"]) == [True, True, True]


def test_strings_match_integers_where_they_are_decimal_integers() -> None:
    store = store_of("int64", ["7", "-8", str(-(2**63))])
    store.upsert_rows([2**63 - 1, 0])
    assert is_known(store, ["7", "-8", str(2**63 - 1), str(-(2**63)), "0"]) == [True] * 5
    assert is_known(store, ["07", "+7", " 7", "7.0", "", "-", "x", "-0", str(2**63), str(2**64 + 7)]) == [False] * 10


def parses(text: str) -> int | None:
    try:
        number = int(text)
    except ValueError:
        return None
    return number if str(number) == text and -(2**63) <= number < 2**63 else None


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-(2**66), 2**66).map(str) | st.text("-+0123456789 _a", max_size=5), max_size=20))
def test_only_text_that_python_would_write_is_an_integer(texts: list[str]) -> None:
    column = encode_ids(texts, "int64", is_write=False)
    numbers = [parses(text) for text in texts]
    assert (np.diff(column.offsets) > 0).tolist() == [number is not None for number in numbers]
    assert column.data.view(np.int64).tolist() == [number for number in numbers if number is not None]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1)))
def test_strings_survive_the_way_in_and_out(texts: list[str]) -> None:
    assert decode_ids(encode_ids(texts, "string", is_write=True), "string") == texts


def test_ids_that_share_a_prefix_are_told_apart() -> None:
    ids = ["a" * n for n in range(1, 40)] + ["a" * n + "\0" for n in range(1, 40)]
    store = store_of("string", ids[::2])
    assert is_known(store, ids) == [n % 2 == 0 for n in range(len(ids))]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("abc", "item ids are one str, not a list. Pass strings or integers"),
        (b"abc", "item ids are one bytes, not a list"),
        (5, "item ids are one int, not a list"),
        ([1.5, float("nan")], "item ids are double, neither strings nor integers. Pass strings"),
        (np.array([np.nan]), "item ids are double, neither strings nor integers"),
        ([True], "item ids are bool, neither strings nor integers"),
        ([b"a"], "item ids are binary, neither strings nor integers"),
        (["a", 1], "item ids are neither strings nor integers: "),
        ([1, "a"], "item ids are neither strings nor integers: "),
        ([1, 2.5], "item ids are double, neither strings nor integers"),
        ([1, float("nan")], "item ids are double, neither strings nor integers"),
        (["a", 2.0], "item ids are neither strings nor integers: "),
        ([1, None], "item 1: item id is null"),
        (["\ud800"], "item ids are neither strings nor integers: "),
        ([2**64], "item ids are neither strings nor integers: "),
        (np.array([2**63], np.uint64), "item ids are neither strings nor integers: "),
        (np.zeros((2, 2), np.int64), "item ids are neither strings nor integers: "),
        (["a", None], "item 1: item id is null. Pass strings"),
        ([None], "item 0: item id is null"),
        ([{"id": 1}], "item ids are struct<id: int64>, neither strings nor integers"),
    ],
)
@pytest.mark.parametrize("kind", ["string", "int64"])
def test_ids_of_another_type_are_refused(ids: Any, kind: str, message: str) -> None:
    store = ItemStore(PayloadLayout(), kind)
    for call in (store.upsert_rows, store.delete, store.read().find):
        with pytest.raises(DataError) as caught:
            call(ids)
        assert str(caught.value).startswith(message)


def test_an_empty_id_cannot_be_stored_and_is_never_found() -> None:
    store = store_of("string", ["a"])
    with pytest.raises(DataError) as caught:
        store.upsert_rows(["b", ""])
    assert str(caught.value) == "item 1: item id is empty. This store has ids of kind string"
    assert is_known(store, [""]) == [False]
    assert store.delete([""]) == 0


def test_text_cannot_be_stored_among_integers() -> None:
    store = store_of("int64", [1])
    for ids in (["2", "x"], pa.array(["2", "x"])):
        with pytest.raises(DataError) as caught:
            store.upsert_rows(ids)
        expected = "item 1: item id is 'x', which is not a 64-bit integer. This store has ids of kind int64"
        assert str(caught.value) == expected


def test_no_ids_are_fine() -> None:
    for kind in ("string", "int64"):
        store = store_of(kind, [])
        assert is_known(store, []) == []
        assert is_known(store, np.empty(0, np.int64)) == []
        assert store.delete([]) == 0
        assert store.ids() == []
