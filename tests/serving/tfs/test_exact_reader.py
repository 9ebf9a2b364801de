from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recserve.serving.tfs.errors import WireError
from recserve.serving.tfs.exact_reader import make_plain, read_exactly
from recserve.serving.tfs.json_parser import MAX_DEPTH, parse_exactly

VOCABULARY = """
[ ] { } [ ] { } , , , : : " "a" "b": "a": "\\u0061": "": "\xff" "\\ud83d\\ude00" "\\ud800" "\\ud83d\\u0041" "\\udc00"
"\\n\\"" "\\q" "\\u12g4" "\\u12 "\\ "a\x00" "\x01" "é": "\\u00e9": "\x7f\x80": "😀": "\\ud83d\\ude00": 0 -0 -1 1 01 1.
1.e5 1e 1e+ 1.5 -1.5e-3 1E+2 1e308 1e309 -1e400 1e-400 0e999 0.0e999 1.7976931348623157e308 1.7976931348623158e308
1.7976931348623159e308 179769313486231580793e288 0.000017976931348623159e313 18446744073709551615 18446744073709551616
-9223372036854775808 -9223372036854775809 9223372036854775807 99999999999999999999 -9999999999999999999
100000000000000000000 000 123456789012345678901234567890 null true false NaN -NaN Infinity -Infinity Inf -Inf nul Na I -
- -I In \x00 \xef\xbb\xbf
"""
WORDS = VOCABULARY.split()
LARGE_BYTES = 1 << 20
SPACES = ("", " ", "\n\t", "\r")


def drawn_text(rng: random.Random) -> str:
    """A JSON text, mostly."""
    words = [word for word in WORDS if rng.random() < 0.2] or WORDS
    leaves = [word for word in words if word[-1] not in "[]{},:"] or ["1"]
    keys = [word for word in WORDS if word.endswith(":") and len(word) > 1]

    def value(depth: int) -> str:
        kind = rng.random()
        space = rng.choice(SPACES)
        if depth > 4 or kind < 0.4:
            return space + rng.choice(leaves)
        parts = [value(depth + 1) for _ in range(rng.randint(0, 4))]
        if kind < 0.7:
            return f"{space}[{','.join(parts)}{space}]"
        return f"{space}{{{','.join(space + rng.choice(keys) + part for part in parts)}{space}}}"

    text = value(0)
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        at = rng.randint(0, len(text))
        text = text[:at] + rng.choice(WORDS) + text[at + rng.randint(0, 2) :]
    return text


def read(reader: Any, body: bytes) -> str:
    try:
        return repr(reader(body))
    except WireError as error:
        return error.message


def assert_alike(body: bytes) -> None:
    assert read(read_exactly, body) == read(parse_exactly, body)


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.sampled_from(["latin-1", "utf-8"]))
def test_drawn_texts_are_read_as_the_slow_reader_reads_them(seed: int, encoding: str) -> None:
    rng = random.Random(seed)
    for _ in range(20):
        assert_alike(drawn_text(rng).encode(encoding, "ignore"))


@settings(max_examples=100)
@given(st.binary(max_size=40) | st.text('[]{}":,0123456789.eE+-truefalsnNaIify\\ u', max_size=30).map(str.encode))
@example(b"")
@example(b"\xef\xbb\xbf")
@example(b" \n")
def test_any_bytes_are_read_as_the_slow_reader_reads_them(body: bytes) -> None:
    assert_alike(body)


@settings(max_examples=100)
@given(st.from_regex(r"\A-?[0-9]{1,30}(\.[0-9]{0,5})?([eE][+-]?[0-9]{0,3})?\Z"), st.integers(-3, 3))
def test_numbers_at_the_limits_are_read_alike(text: str, offset: int) -> None:
    digits = str((1 << 1024) - (1 << 970) + offset)
    far = f"{digits[0]}.{digits[1:]}e308"
    for number in (text, f"[{text}]", digits, far, f"0.00{digits}e{offset + 2}", f"{digits}0e-1", f"-{digits}.0"):
        assert_alike(number.encode())


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":', "[ ", '[1,{"b":2,"a":'])
@pytest.mark.parametrize("count", [MAX_DEPTH // 2, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, 3000])
def test_every_depth_is_read_alike(opening: str, count: int) -> None:
    brackets = [mark for mark in opening * count if mark in "[{"]
    closing = [{"[": "]", "{": "}"}[mark] for mark in reversed(brackets)]
    text = opening * count + "1" + "".join(closing)
    assert_alike(text.encode())
    assert_alike((text + ",").encode())
    assert_alike(text[:-1].encode())
    wrong = closing[:]
    wrong[count // 2] = "}" if wrong[count // 2] == "]" else "]"
    assert_alike((opening * count + "1" + "".join(wrong)).encode())


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["a", "b", "\\u0061", "\\n", "\n"]) | st.text(max_size=3), max_size=60))
def test_the_first_of_equal_keys_counts(names: list[str]) -> None:
    keys = [name if name.startswith("\\") else json.dumps(name, ensure_ascii=False)[1:-1] for name in names]
    keys = [key.encode("utf-8", "replace").decode() for key in keys]
    members = ",".join(f'"{key}": {{"{key}": {n}, "{key}": [7, {{"x": 1, "x": 2}}]}}' for n, key in enumerate(keys))
    body = f'{{"first": {{{members}}}, {members or chr(34) + "z" + chr(34) + ":1"}}}'.encode()
    assert_alike(body)


def test_what_is_left_out_is_told() -> None:
    assert make_plain(b'{"a": 1, "b": {"a": 2}}').has_equal_keys is False
    assert make_plain(b'{"a": 1, "\\u0061": [Inf]} rest') == (b'{"a":1}', True, True)
    assert make_plain(b"[99999999999999999999, 1]").text == b"[99999999999999999999.0,1]"


def test_large_bodies_of_odd_things_are_read() -> None:
    for unit in (b'{"a":1,"a":NaN}', b'"\xff"', b"[[]]", b'{"\\u0061":{"":1e308}}', b"-Inf"):
        count = LARGE_BYTES // len(unit)
        assert len(read_exactly(b"[" + b",".join([unit] * count) + b"]")) == count
    with pytest.raises(WireError, match="Missing a comma or ]"):
        read_exactly(b"[" * LARGE_BYTES + b"1}")
    keys = b",".join(b'"k%d":%d' % (n % 50_000, n) for n in range(100_000))
    assert read_exactly(b"{" + keys + b"}") == {f"k{n}": n for n in range(50_000)}
