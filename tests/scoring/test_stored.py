"""Programs as bytes: round trips, and files that somebody cut, changed or made up."""

from __future__ import annotations

import hashlib
import json
import struct
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import BundleError
from recserve.scoring.draw import draw_columns, draw_graph
from recserve.scoring.graph import Graph
from recserve.scoring.program import Program


def small() -> bytes:
    graph = Graph()
    x = graph.input("x", "number")
    graph.output("y", graph.apply("linear", x, x, weights=[1.0, 2.0], bias=0.5))
    return graph.build().to_bytes()


def sign(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()


def rewritten(change: Any) -> bytes:
    """`small`, its header changed, with sizes and a digest that fit."""
    data = small()
    header_size, array_size = struct.unpack_from("<QQ", data, 8)
    header = json.loads(data[24 : 24 + header_size])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    arrays = data[24 + header_size : -32]
    return sign(b"RSCORE01" + struct.pack("<QQ", len(text), array_size) + text + arrays)


@settings(max_examples=25)
@given(st.integers(0, 2**32))
def test_a_drawn_program_comes_back_the_same(seed: int) -> None:
    random = Random(seed)
    program = draw_graph(random).build()
    data = program.to_bytes()
    back = Program.from_bytes(data)
    assert back.to_bytes() == data
    assert back.listing() == program.listing()
    columns = draw_columns(random, 3)
    assert repr(back.run(columns, reference=True)) == repr(program.run(columns, reference=True))


@settings(max_examples=60)
@given(st.data())
def test_cut_or_changed_bytes_are_refused(data: st.DataObject) -> None:
    whole = bytearray(small())
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        del whole[place:]
    else:
        whole[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BundleError):
        Program.from_bytes(bytes(whole))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "a stored program begins with b'RSCORE01', not b''"),
        (b"PK\x03\x04 a zip of something", "It was not written by this version"),
        (small()[:40], "the stored program is cut off: it has 40 bytes"),
        (small()[:-1], r"the stored program has \d+ bytes, not the \d+ that it states"),
        (small()[:-1] + b"\0", "the stored program was changed: its digest does not match"),
        (sign(b"RSCORE01" + struct.pack("<QQ", 8, 0) + b"{{{{{{{{"), "the header of the stored program is no JSON"),
        (
            sign(b"RSCORE01" + struct.pack("<QQ", 8, 0) + b"[1,2,3]  "[:8]),
            "the header of the stored program is no object",
        ),
    ],
)
def test_what_is_no_stored_program_says_so(data: bytes, problem: str) -> None:
    with pytest.raises(BundleError, match=problem):
        Program.from_bytes(data)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda h: h["nodes"][1].__setitem__(1, [0, 7]), "the stored program names value 7 of 1"),
        (lambda h: h["nodes"][1].__setitem__(1, [0]), "the stored program is wrong: op 'linear': 2 weights for 1 arg"),
        (lambda h: h["nodes"][1].__setitem__(0, "system"), "the stored program is wrong: there is no op 'system'"),
        (lambda h: h["nodes"][1][2].__setitem__("weights", {"$array": 9}), "names array 9 of 1"),
        (lambda h: h["arrays"][0].__setitem__("shape", [99]), "array 0 of the stored program reaches beyond its end"),
        (lambda h: h["arrays"][0].__setitem__("dtype", "object"), "array 0 of the stored program is described as"),
        (lambda h: h["arrays"][0].__setitem__("offset", -8), "array 0 of the stored program is described as"),
        (lambda h: h["outputs"].clear(), "the stored program has no output"),
        (lambda h: h["outputs"].__setitem__("y", True), "the stored program names value True of 2"),
        (lambda h: h.__delitem__("nodes"), "the stored program is malformed: KeyError: 'nodes'"),
        (lambda h: h["nodes"].append(3), "the stored program is malformed: TypeError"),
    ],
)
def test_a_signed_file_of_wrong_content_is_refused(change: Any, problem: str) -> None:
    with pytest.raises(BundleError, match=problem):
        Program.from_bytes(rewritten(change))
