from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import ConfigError
from recserve.importers.trees.ubjson import parse_ubjson


def encode(value: Any) -> bytes:
    if isinstance(value, bool) or value is None:
        return {True: b"T", False: b"F", None: b"Z"}[value]
    if isinstance(value, int):
        return b"L" + struct.pack(">q", value)
    if isinstance(value, float):
        return b"D" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"S" + text(value)
    if isinstance(value, list):
        return b"[" + b"".join(map(encode, value)) + b"]"
    return b"{" + b"".join(text(key) + encode(item) for key, item in value.items()) + b"}"


def text(value: str) -> bytes:
    data = value.encode()
    return b"L" + struct.pack(">q", len(data)) + data


scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text())
documents = st.recursive(scalars, lambda x: st.lists(x) | st.dictionaries(st.text(), x), max_leaves=20)


@settings(max_examples=60, deadline=None)
@given(documents)
def test_what_is_written_is_read(value: Any) -> None:
    assert parse_ubjson(encode(value), "here") == value


def test_typed_arrays_become_numpy_arrays() -> None:
    data = b"[$d#L" + struct.pack(">q", 3) + struct.pack(">3f", 1.5, -2.0, 0.25)
    np.testing.assert_array_equal(parse_ubjson(data, "here"), np.array([1.5, -2.0, 0.25], np.float32))
    np.testing.assert_array_equal(parse_ubjson(b"[$U#U\x02\x01\xff", "here"), [1, 255])
    assert parse_ubjson(b"[#U\x02TF", "here") == [True, False]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[$d#L" + struct.pack(">q", 2**60), "ends early"),
        (b"S" + text("ab")[:-1], "ends early"),
        (b"[T", "ends early"),
        (b"Q", "the marker b'Q' at byte 0 is unknown"),
        (b"[" * 100, "nests deeper than 64"),
        (b"SD", "a length at byte 2 has the type b'D'"),
        (b"SU\x01\xff", "is not UTF-8"),
        (b"", "ends early, at byte 0 of 0"),
    ],
)
def test_a_damaged_document_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_ubjson(data, "model.ubj")
