from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.serving.tfs.values import MAX_SHOWN, json_type, show

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=100)
@given(VALUES)
def test_a_value_is_shown_as_indented_json_and_cut(value: Any) -> None:
    whole = json.dumps(value, indent=4, ensure_ascii=False).encode()[:MAX_SHOWN]
    assert show(value) == whole.decode("utf-8", "ignore")


def test_a_huge_value_costs_no_more_than_what_is_shown() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert show(deep).startswith("[\n    [")
    assert len(show(["x" * 10_000_000])) == MAX_SHOWN
    assert show([0.1, float("nan"), 1e300]) == "[\n    0.1,\n    NaN,\n    1e+300\n]"
    assert show("\udcff") == '"\ufffd"'


@pytest.mark.parametrize(
    ("value", "name"),
    [(None, "Null"), (True, "True"), (False, "False"), ("", "String"), ([], "Array"), ({}, "Object"), (1, "Number")],
)
def test_types_have_names(value: Any, name: str) -> None:
    assert json_type(value) == name
