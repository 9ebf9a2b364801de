from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.errors import RequestError
from recserve.serving.sagemaker.headers import (
    ATTRIBUTES,
    Attributes,
    answer_type,
    echo_attributes,
    media_type,
    read_attributes,
)


@pytest.mark.parametrize(
    ("value", "attributes"),
    [
        ("", Attributes()),
        ("trace=7", Attributes()),
        ("tfs-model-name=m,tfs-method=regress", Attributes("m", None, "regress")),
        ("x=1, tfs-model-version=00123,tfs-model-name=m", Attributes("m", 123)),
    ],
)
def test_custom_attributes_name_model_version_and_method(value: str, attributes: Attributes) -> None:
    assert read_attributes(value) == attributes


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("tfs-model-version=x", "tfs-model-version 'x' is no version"),
        ("tfs-model-version=" + "9" * 30, "is no version"),
        ("tfs-method=explain", "tfs-method 'explain' is unknown. It is one of predict, classify, regress"),
    ],
)
def test_attributes_that_make_no_sense_are_refused(value: str, problem: str) -> None:
    with pytest.raises(RequestError, match=problem):
        read_attributes(value)


@given(st.text("tfs-model=,version 0123abc", max_size=60))
def test_any_attributes_are_read_or_refused(value: str) -> None:
    with contextlib.suppress(RequestError):
        read_attributes(value)


def test_attributes_are_handed_back_where_the_platform_allows_them() -> None:
    assert echo_attributes({ATTRIBUTES: "a=1"}) == ((ATTRIBUTES, "a=1"),)
    for value in ("", "x" * 1025, "é", "a\tb"):
        assert echo_attributes({ATTRIBUTES: value}) == ()
    assert echo_attributes({}) == ()


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "application/json"),
        ("application/jsonlines", "application/jsonlines"),
        ("application/jsonlines; q=1, application/json", "application/jsonlines"),
        ("text/html, application/json", "text/html"),
        ("*/*", "application/json"),
    ],
)
def test_the_first_type_accepted_wins(accept: str, kind: str) -> None:
    assert answer_type(accept) == kind


def test_a_type_is_read_without_its_parameters() -> None:
    assert media_type(" Text/CSV ; charset=utf-8") == "text/csv"
