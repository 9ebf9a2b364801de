from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.plain_model.strings import to_bytes, to_text

BYTES = st.binary(max_size=12) | st.text(max_size=4).map(lambda text: text.encode("utf-8", "surrogatepass"))
PRIVATE = st.lists(st.sampled_from(["a", "\U0010fe80", "\U0010feff", "é"]), max_size=4).map(
    lambda p: "".join(p).encode()
)


def objects(values: list[Any]) -> Any:
    array = np.empty(len(values), object)
    array[:] = values
    return array


@settings(max_examples=100)
@given(st.lists(BYTES | PRIVATE, max_size=6))
def test_any_bytes_come_back(values: list[bytes]) -> None:
    texts, is_replaced = to_text(objects(values))
    assert all(text.encode() for text in texts if text)  # the engine takes nothing but Unicode
    assert to_bytes(texts, is_replaced).tolist() == values


@settings(max_examples=100)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=6))
def test_text_goes_in_as_it_is(values: list[str]) -> None:
    texts, is_replaced = to_text(objects([value.encode() for value in values]))
    assert (texts.tolist(), is_replaced) == (values, False)


def test_shapes_are_kept() -> None:
    for shape in ((), (0, 2), (2, 1)):
        texts, _ = to_text(np.full(shape, b"a", object))
        assert texts.shape == to_bytes(texts, False).shape == shape


def test_anything_but_bytes_is_an_error() -> None:
    with pytest.raises(TypeError):
        to_text(objects(["a"]))
