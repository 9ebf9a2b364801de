"""Strings of a JSON text: their end, their errors, and what they are without escapes."""

# mypy: disallow-untyped-decorators=False
# ruff: noqa: PLR1714  (Numba builds a tuple for `in`)

from __future__ import annotations

from typing import Any, Final

import numpy as np

from recserve.features.kernels.jit import inner
from recserve.features.kernels.pointers import load_u8
from recserve.serving.json_tensors.kernels import exact_layout as at
from recserve.serving.json_tensors.kernels.words import store_byte

_NO_HEX: Final = -1
_ESCAPE_BYTES: Final = 6
"""Of a backslash, `u` and four digits."""


@inner
def _hex(p: int) -> Any:
    """The number of the four hexadecimal digits at `p`; −1 where they are none."""
    value: Any = 0
    for i in range(4):
        c = np.int64(load_u8(p + i))
        letter = c | 32
        if 48 <= c <= 57:
            value = value * 16 + c - 48
        elif 97 <= letter <= 102:
            value = value * 16 + letter - 87
        else:
            return _NO_HEX
    return value


@inner
def _is_pair(p: int) -> Any:
    return load_u8(p) == 92 and load_u8(p + 1) == 117


@inner
def _check_escape(p: int) -> Any:
    """(status, address behind the escape whose backslash is at `p`)."""
    c = load_u8(p + 1)
    if c != 117:
        is_known = c == 34 or c == 92 or c == 47 or c == 98 or c == 102 or c == 110 or c == 114 or c == 116
        return at.READ if is_known else at.ODD_ESCAPE, p + 2
    code = _hex(p + 2)
    if code == _NO_HEX:
        return at.ODD_HEX, p
    p += _ESCAPE_BYTES
    if code < 0xD800 or code > 0xDFFF:
        return at.READ, p
    if code > 0xDBFF or not _is_pair(p):
        return at.ODD_SURROGATE, p
    low = _hex(p + 2)
    if low == _NO_HEX:
        return at.ODD_HEX, p
    return at.READ if 0xDC00 <= low <= 0xDFFF else at.ODD_SURROGATE, p + _ESCAPE_BYTES


@inner
def check_string(p: int, end: int) -> Any:
    """(status, address behind the string whose quotation mark is at `p`, or of its error; whether it has escapes)."""
    begin, has_escapes = p, False
    p += 1
    while True:
        c = load_u8(p)
        if c == 34:
            return at.READ, p + 1, has_escapes
        if c == 92:
            has_escapes = True
            status, after = _check_escape(p)
            if status != at.READ:
                return status, p, has_escapes
            p = after
        elif c < 32:
            is_end = c == 0 or p >= end
            return at.NO_END_OF_STRING if is_end else at.ODD_BYTE, begin if is_end else p, has_escapes
        else:
            p += 1


@inner
def _write_code(out: int, code: int) -> Any:
    """The address behind a code point in UTF-8."""
    if code < 0x80:
        store_byte(out, code)
        return out + 1
    if code < 0x800:
        store_byte(out, 0xC0 | code >> 6)
        store_byte(out + 1, 0x80 | code & 63)
        return out + 2
    if code < 0x10000:
        store_byte(out, 0xE0 | code >> 12)
        store_byte(out + 1, 0x80 | code >> 6 & 63)
        store_byte(out + 2, 0x80 | code & 63)
        return out + 3
    store_byte(out, 0xF0 | code >> 18)
    store_byte(out + 1, 0x80 | code >> 12 & 63)
    store_byte(out + 2, 0x80 | code >> 6 & 63)
    store_byte(out + 3, 0x80 | code & 63)
    return out + 4


@inner
def _short(c: int) -> Any:
    """The byte that an escape of one letter stands for."""
    if c == 98:
        return 8
    if c == 102:
        return 12
    if c == 110:
        return 10
    if c == 114:
        return 13
    return 9 if c == 116 else c


@inner
def unescape(p: int, end: int, out: int) -> Any:
    """Write the bytes of a checked string, without its marks and escapes; the address behind them."""
    while p < end:
        c = np.int64(load_u8(p))
        if c != 92:
            store_byte(out, c)
            out += 1
            p += 1
        elif load_u8(p + 1) != 117:
            store_byte(out, _short(np.int64(load_u8(p + 1))))
            out += 1
            p += 2
        else:
            code = _hex(p + 2)
            p += _ESCAPE_BYTES
            if 0xD800 <= code <= 0xDFFF:
                code = 0x10000 + ((code - 0xD800) << 10) + (_hex(p + 2) - 0xDC00)
                p += _ESCAPE_BYTES
            out = _write_code(out, code)
    return out
