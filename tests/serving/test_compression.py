from __future__ import annotations

import contextlib
import gzip
import random
import zlib
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.errors import RequestError
from recserve.serving.compression import (
    MAX_MEMBERS,
    Coding,
    UnsupportedCodingError,
    choose_coding,
    deflate,
    inflate,
    read_coding,
)
from recserve.serving.refusals import BodyTooLargeError


@given(st.binary(max_size=2000), st.sampled_from(get_args(Coding)))
def test_what_is_deflated_inflates_again(body: bytes, coding: Coding) -> None:
    assert inflate(deflate(body, coding), coding, len(body)) == body


def test_several_members_of_gzip_are_one_body() -> None:
    assert inflate(gzip.compress(b"ab") + gzip.compress(b"cd"), "gzip", 4) == b"abcd"


def test_members_of_every_size_are_joined_wherever_they_end() -> None:
    rng = random.Random(3)
    texts = [rng.randbytes(size) for size in (0, 1, 65_000, 66_000, 200_000, 3, 0, 131_072)]
    for compress in (gzip.compress, zlib.compress):
        body = b"".join(compress(text, 0) for text in texts)
        assert inflate(body, "gzip", sum(map(len, texts))) == b"".join(texts)
    assert inflate(b"", "gzip", 0) == b""


def test_more_members_than_any_writer_makes_are_refused() -> None:
    member = gzip.compress(b"")
    assert inflate(member * MAX_MEMBERS, "gzip", 0) == b""
    with pytest.raises(RequestError, match=f"it has more than {MAX_MEMBERS} members"):
        inflate(member * 100_000, "gzip", 0)


def test_the_limit_counts_what_comes_out() -> None:
    bomb = zlib.compress(bytes(10_000_000))
    with pytest.raises(BodyTooLargeError, match="the body inflates to more than 1000 bytes"):
        inflate(bomb, "deflate", 1000)


def test_the_limit_counts_all_members_together() -> None:
    with pytest.raises(BodyTooLargeError, match="more than 3 bytes"):
        inflate(gzip.compress(b"ab") * 2, "gzip", 3)


@pytest.mark.parametrize(
    ("body", "reason"), [(b"no gzip", "incorrect header"), (gzip.compress(b"abcdef")[:-3], "it is cut off")]
)
def test_a_body_that_is_not_what_it_says_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(RequestError, match=f"failed to decompress the gzip request body: .*{reason}"):
        inflate(body, "gzip", 100)


@given(st.binary(max_size=200))
def test_any_bytes_inflate_or_are_refused(body: bytes) -> None:
    with contextlib.suppress(RequestError):
        assert len(inflate(body, "gzip", 1000)) <= 1000


@pytest.mark.parametrize(
    ("header", "coding"), [("", "identity"), ("GZIP", "gzip"), (" deflate ", "deflate"), ("identity", "identity")]
)
def test_a_header_names_a_coding(header: str, coding: str) -> None:
    assert read_coding(header) == coding


def test_an_unknown_coding_is_refused() -> None:
    with pytest.raises(UnsupportedCodingError, match="Unsupported compression type"):
        read_coding("br")


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("", "identity"),
        ("gzip", "gzip"),
        ("deflate, gzip", "deflate"),
        ("deflate;q=0.5, gzip;q=0.8", "gzip"),
        ("br, gzip;q=0.1", "gzip"),
        ("gzip;q=0", "identity"),
        ("gzip;q=x", "identity"),
        ("gzip;v=1", "identity"),
        ("identity;q=0.9, gzip;q=0.2", "identity"),
        (",,;q=1", "identity"),
    ],
)
def test_the_accepted_coding_of_most_weight_is_chosen(header: str, coding: str) -> None:
    assert choose_coding(header) == coding
