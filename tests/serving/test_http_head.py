from __future__ import annotations

from contextvars import copy_context
from typing import Any, cast

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.serving import observation
from recserve.serving.gate import DirectTarget
from recserve.serving.http_head import MAX_KNOWN_BYTES, DirectHead, Head, KnownHeads, Pairs
from recserve.serving.overload.turn import Priority, current_turn
from recserve.serving.traffic.user import current_user

END = b"\r\n\r\n"


class Target:
    path = "/x"


def direct(headers: Pairs, size: int, *, keep_alive: bool = True) -> DirectHead:
    return DirectHead(headers, cast("DirectTarget", Target()), size, keep_alive=keep_alive)


def request(size: int, *lines: bytes) -> bytes:
    return b"\r\n".join([b"POST /x HTTP/1.1", b"Content-Length: %d" % size, *lines]) + END + b"b" * size


def test_a_head_tells_who_calls_and_what_the_caller_wishes() -> None:
    head = Head(
        [
            (b"x-request-id", b"one"),
            (b"authorization", b"Bearer t"),
            (b"traceparent", b"00-a"),
            (b"x-user-id", b"u1"),
            (b"x-request-priority", b"low"),
            (b"x-request-timeout-ms", b"500"),
            (b"content-length", b"12"),
        ],
        "/x",
    )
    assert (head.request_id, head.authorization, head.traceparent) == ("one", "Bearer t", "00-a")
    turn = head.begin_turn()
    assert (turn.priority, turn.size_bytes, turn.kind) == (Priority.LOW, 12, "/x")
    assert 0 < turn.remaining_s() <= 0.5
    seen = observation.Observation("tfs", "POST /x", "one")

    def work() -> None:
        head.enter(turn, seen)
        assert (current_turn(), current_user(), observation.current()) == (turn, "u1", seen)
        Head([], "").enter(turn, None)
        assert (current_user(), observation.current()) == (None, None)

    copy_context().run(work)


def test_a_head_without_wishes_has_a_turn_without_limits_each_time() -> None:
    head = Head([(b"content-length", b"3")], "/x")
    first, second = head.begin_turn(), head.begin_turn()
    assert first is not second
    assert (first.size_bytes, first.kind, first.remaining_s()) == (3, "/x", float("inf"))
    assert (head.request_id, head.authorization, head.traceparent) == ("", "", "")


@pytest.mark.parametrize("length", [b"", b"x", b"-1"])
def test_a_length_that_is_no_number_is_none(length: bytes) -> None:
    assert Head([(b"content-length", length)], "").begin_turn().size_bytes is None


def test_a_learnt_head_is_found_with_every_body_of_its_size() -> None:
    heads, head = KnownHeads(), direct([], 3)
    chunk = request(3)
    assert heads.find(chunk) is None
    heads.learn(chunk, head)
    assert heads.find(chunk[:-3] + b"xyz") == (head, len(chunk) - 3)
    assert heads.find(chunk[:-1]) is None
    assert heads.find(chunk + chunk) is None
    assert heads.find(request(4)) is None


@pytest.mark.parametrize(
    ("headers", "keep_alive"),
    [([(b"x-request-id", b"1")], True), ([(b"traceparent", b"1")], True), ([], False)],
)
def test_heads_that_do_not_recur_are_not_learnt(headers: Pairs, keep_alive: bool) -> None:
    heads = KnownHeads()
    heads.learn(request(3), direct(headers, 3, keep_alive=keep_alive))
    assert heads.find(request(3)) is None


def test_heads_are_kept_within_bounds() -> None:
    heads = KnownHeads()
    long = request(0, b"X: " + b"y" * MAX_KNOWN_BYTES)
    heads.learn(long, direct([], 0))
    assert heads.find(long) is None
    for number in range(2000):
        heads.learn(request(0, b"X: %d" % number), direct([], 0))
        assert heads.find(request(0, b"X: %d" % number)) is not None
    assert sum(heads.find(request(0, b"X: %d" % number)) is not None for number in range(2000)) <= 512


@pytest.mark.parametrize("chunk", [b"", b"\r\n\r\n", END * 3, b"GET", b"\0" * 5000])
def test_what_is_no_request_is_not_known(chunk: bytes) -> None:
    heads = KnownHeads()
    heads.learn(chunk, direct([], 1000))
    assert heads.find(chunk) is None


class Seen:
    """What a parser makes of a chunk."""

    def __init__(self) -> None:
        self.heads: list[tuple[bytes, Pairs]] = []
        self.bodies: list[bytes] = []

    def on_message_begin(self) -> None:
        self.bodies.append(b"")

    def on_url(self, url: bytes) -> None:
        self.heads.append((url, []))

    def on_header(self, name: bytes, value: bytes) -> None:
        self.heads[-1][1].append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.bodies[-1] += body


def parse(chunk: bytes) -> Seen | None:
    seen: Any = Seen()
    try:
        httptools.HttpRequestParser(seen).feed_data(chunk)
    except httptools.HttpParserError:
        return None
    return cast("Seen", seen)


@settings(max_examples=100, deadline=None)
@given(
    first=st.sampled_from([b"", b"\r\n", b"\n", END]),
    line_end=st.sampled_from([b"\r\n", b"\n"]),
    head_end=st.sampled_from([END, b"\n\n", b"\r\n\n", b"\n\r\n"]),
    body=st.sampled_from([b"", b"abc", END, b"a" + END, END + b"b"]),
    other=st.sampled_from([b"", b"xyz", END, b"P" + END]),
)
def test_a_known_head_is_what_a_parser_reads(
    first: bytes, line_end: bytes, head_end: bytes, body: bytes, other: bytes
) -> None:
    def make(content: bytes) -> bytes:
        lines = [b"POST /x HTTP/1.1", b"Content-Length: %d" % len(body), b"Host: h"]
        return first + line_end.join(lines) + head_end + content

    seen = parse(make(body))
    if seen is None or len(seen.bodies) != 1 or seen.bodies[0] != body or not seen.heads:
        return
    heads = KnownHeads()
    head = direct(seen.heads[0][1], len(body))
    heads.learn(make(body), head)
    found = heads.find(make(other))
    if found is not None:
        again = parse(make(other))
        assert again is not None
        assert again.heads == seen.heads
        assert again.bodies == [make(other)[found[1] :]]
