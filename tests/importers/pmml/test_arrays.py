# ruff: noqa: E501  (documents are easier to read in one line)
from __future__ import annotations

import numpy as np
import pytest
from lxml import etree

from recserve.errors import ConfigError
from recserve.importers.pmml import arrays
from recserve.importers.pmml.document import Element, _convert


def element(text: str) -> Element:
    return _convert(etree.fromstring(text), "m.pmml")


def test_words_split_at_blanks_and_quotes_hold_them_together() -> None:
    assert arrays.read_words(element('<Array n="3" type="string">ab "c d" "e\\"f"</Array>')) == ["ab", "c d", 'e"f']


def test_sparse_arrays_are_filled_with_their_default() -> None:
    text = "<REAL-SparseArray n='4' defaultValue='7'><Indices>1 3</Indices><REAL-Entries>2 5</REAL-Entries></REAL-SparseArray>"
    np.testing.assert_array_equal(arrays.read_numbers(element(text)), [2.0, 7.0, 5.0, 7.0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<Matrix><Array>1 2</Array><Array>3 4</Array></Matrix>", [[1, 2], [3, 4]]),
        ("<Matrix kind='symmetric'><Array>1</Array><Array>2 3</Array></Matrix>", [[1, 2], [2, 3]]),
        ("<Matrix kind='diagonal' offDiagDefault='9'><Array>1 2</Array></Matrix>", [[1, 9], [9, 2]]),
        (
            "<Matrix nbRows='2' nbCols='2' diagDefault='1' offDiagDefault='0'><MatCell row='1' col='2'>5</MatCell></Matrix>",
            [[1, 5], [0, 1]],
        ),
    ],
)
def test_matrices_are_read_in_each_kind(text: str, expected: list[list[float]]) -> None:
    np.testing.assert_array_equal(arrays.read_matrix(element(text)), expected)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<Array n='3'>1 2</Array>", "says n=3 and holds 2 values"),
        ("<Array>1 two</Array>", "'two', which is no number"),
        (
            "<INT-SparseArray n='1'><Indices>2</Indices><INT-Entries>1</INT-Entries></INT-SparseArray>",
            "1 indices and 1",
        ),
    ],
)
def test_wrong_arrays_are_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        arrays.read_numbers(element(text))
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<Matrix><Array>1 2</Array><Array>3</Array></Matrix>", "rows of different lengths"),
        ("<Matrix kind='symmetric'><Array>1 2</Array></Matrix>", "row 1 has 2 values instead of 1"),
        (
            "<Matrix nbRows='1' nbCols='1'><MatCell row='2' col='1'>5</MatCell></Matrix>",
            "is cell (2, 1) of a matrix of 1",
        ),
    ],
)
def test_wrong_matrices_are_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        arrays.read_matrix(element(text))
    assert problem in str(caught.value)


def test_tables_are_rows_of_texts_and_never_elsewhere() -> None:
    text = "<MapValues><InlineTable><row><p:a xmlns:p='u'>1</p:a><b> c </b></row></InlineTable></MapValues>"
    assert arrays.read_table(element(text)) == [{"a": "1", "b": " c "}]
    with pytest.raises(ConfigError, match="TableLocator") as caught:
        arrays.read_table(element("<MapValues><TableLocator/></MapValues>"))
    assert caught.value.code == "unsupported_element"
