"""tf.Example ↔ features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.errors import RequestError
from recserve.wire.examples import read_examples, write_examples
from recserve.wire.tensorflow_serving import Input

FEATURES = st.dictionaries(
    st.text(max_size=4),
    st.one_of(
        st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
        st.lists(st.floats(width=32, allow_nan=False), min_size=1),
        st.lists(st.binary(max_size=4), min_size=1),
    ),
    max_size=4,
)


@given(st.lists(FEATURES, min_size=1, max_size=4))
def test_examples_come_back_as_they_were(examples: list[dict[str, Any]]) -> None:
    assert read_examples(Input.FromString(write_examples(examples).SerializeToString())) == examples


@given(st.lists(FEATURES, min_size=1, max_size=3), FEATURES)
def test_context_stands_where_an_example_says_nothing(examples: list[dict[str, Any]], context: dict[str, Any]) -> None:
    assert read_examples(write_examples(examples, context)) == [{**context, **example} for example in examples]


def test_single_values_texts_and_arrays_are_taken() -> None:
    sent = {"a": 1, "b": "é", "c": np.array([0.5, 1.5]), "d": True, "e": [1, 2.5]}
    got = read_examples(write_examples([sent]))
    assert got == [{"a": [1], "b": ["é".encode()], "c": [0.5, 1.5], "d": [1], "e": [1.0, 2.5]}]


@pytest.mark.parametrize("content", [Input(), write_examples([]), write_examples([], {})])
def test_an_input_without_examples_is_refused(content: Any) -> None:
    with pytest.raises(RequestError, match=r"Input is empty\."):
        read_examples(content)


def test_a_feature_without_a_kind_is_missing() -> None:
    content = write_examples([{"a": 1}])
    content.example_list.examples[0].features.feature["b"].SetInParent()
    assert read_examples(content) == [{"a": [1]}]


def test_values_of_several_types_are_refused() -> None:
    with pytest.raises(RequestError, match="feature 'a' has values of the types int, str"):
        write_examples([{"a": [1, "x"]}])
