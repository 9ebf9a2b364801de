"""Requests that go past ASGI, over a transport that is none: every chunking of a stream gives the same answers."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from recserve.errors import OverloadedError, RequestError
from recserve.serving.body import read_body
from recserve.serving.direct import Reply, Request
from recserve.serving.gate import Gate
from recserve.serving.http_exchange import allocate
from recserve.serving.http_protocol import LONG_BYTES, bounded_protocol
from recserve.serving.messages import Limits
from recserve.serving.overload.turn import current_turn
from recserve.serving.rank_threads import RankThreads

TEXT = (b"content-type", b"text/plain")
ALIGN = b"x-align-at"


def mark(path: str, body: Any) -> bytes:
    """What the echo answers."""
    data = bytes(body)
    return b"%s %d %s" % (path.encode(), len(data), data[:20] + data[-20:])


class Echo:
    """A direct route that tells what it got."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.bodies: list[Any] = []
        self.counted: list[Exception | None] = []

    def answer(self, request: Request) -> Reply:
        self.bodies.append(request.body)
        if bytes(request.body[:4]) == b"fail":
            raise RequestError("it fails")
        if bytes(request.body[:4]) == b"long":
            return Reply(200, bytes(50_000), [TEXT])
        return Reply(200, mark(self.path, request.body), [TEXT])

    def refuse(self, error: Exception) -> Reply:
        closes = [(b"connection", b"close")] if "not complete" in str(error) else []
        return Reply(400, str(error).encode(), [TEXT, *closes])

    def count(self, error: Exception | None, time_s: float) -> None:
        assert time_s >= 0
        self.counted.append(error)

    def aligned_at(self, headers: Mapping[bytes, bytes]) -> int:
        return int(headers.get(ALIGN, b"0"))


class App:
    """`/direct...` has direct routes; everything else is answered over ASGI, alike."""

    def __init__(self) -> None:
        self.routes: dict[str, Echo] = {}
        self.through_asgi: list[str] = []

    def find_route(self, path: str) -> Echo | None:
        return self.routes.setdefault(path, Echo(path)) if path.startswith("/direct") else None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.through_asgi.append(scope["path"])
        body = await read_body(scope, receive, Limits(), takes_codings=True)
        if body is None:
            return
        await asyncio.sleep(0)
        answer = mark(scope["path"], body)
        headers = [TEXT, (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"sockname": ("127.0.0.1", 1), "peername": ("127.0.0.1", 2)})
        self.out = bytearray()
        self.is_closed = False
        self.protocol: Any = None
        self.paused = 0

    def write(self, data: Any) -> None:
        assert not self.is_closed
        self.out += data

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.is_closed

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def pause_reading(self) -> None:
        self.paused += 1

    def resume_reading(self) -> None:
        pass

    def receive(self, data: bytes) -> None:
        """Hand bytes to whichever protocol reads now, as a loop does."""
        while data and not self.is_closed:
            if isinstance(self.protocol, asyncio.BufferedProtocol):
                view: Any = self.protocol.get_buffer(-1)
                part, data = data[: len(view)], data[len(view) :]
                view[: len(part)] = part
                self.protocol.buffer_updated(len(part))
            else:
                self.protocol.data_received(data)
                return

    def answers(self) -> list[bytes]:
        """Bodies of what was written so far."""
        found, rest = [], bytes(self.out)
        while rest:
            head, _, rest = rest.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            assert length is not None
            assert re.search(rb"x-request-id: [0-9a-f]{20}", head)
            found.append(rest[: int(length[1])])
            rest = rest[int(length[1]) :]
        return found


def connect(serving_of: Any, app: App, limits: Limits | None = None, threads: RankThreads | None = None) -> Wire:
    """A connection to the application; within a running loop."""
    serving = serving_of()
    serving = replace(serving, limits=limits or serving.limits, threads=threads or serving.threads)
    gate = Gate(app, serving, "recserve")
    kind = bounded_protocol(serving.limits, {1: gate})
    config = uvicorn.Config(gate, http=kind, ws="none", lifespan="off", log_config=None, access_log=False)
    config.load()
    wire = Wire()
    wire.protocol = kind(config, ServerState(), {}, _loop=asyncio.get_running_loop())
    wire.protocol.connection_made(wire)
    return wire


def post(path: str, body: bytes, *headers: str, chunked: bool = False) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", *headers]
    lines.append("Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}")
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return head + (
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked and body else b"0\r\n\r\n" if chunked else body
    )


async def settle(wire: Wire, answers: int) -> list[bytes]:
    """The answers, once there are so many."""
    for _ in range(2000):
        if len(wire.answers()) >= answers:
            break
        await asyncio.sleep(0)
    return wire.answers()


def drive(serving_of: Any, work: Callable[[Wire, App], Any], **options: Any) -> None:
    """Run `work` with a connection, within a loop."""

    async def main() -> None:
        app = App()
        wire = connect(serving_of, app, **options)
        await work(wire, app)
        wire.close()
        wire.protocol.connection_lost(None)

    asyncio.run(main())


requests = st.lists(
    st.tuples(
        st.sampled_from(["/direct", "/direct/b:x", "/asgi"]),
        st.sampled_from([0, 1, 50, LONG_BYTES, LONG_BYTES + 1, 3 * LONG_BYTES]),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(asked=requests, data=st.data())
def test_every_chunking_of_pipelined_requests_gives_the_same_answers(serving_of: Any, asked: Any, data: Any) -> None:
    bodies = [bytes([65 + n]) * size for n, (_, size, _) in enumerate(asked)]
    stream = b"".join(post(path, body, chunked=ch) for (path, _, ch), body in zip(asked, bodies, strict=True))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream)), max_size=8)) | {len(stream)})
    yields = data.draw(st.lists(st.integers(0, 3), min_size=len(cuts), max_size=len(cuts)))

    async def work(wire: Wire, app: App) -> None:
        begin = 0
        for end, pauses in zip(cuts, yields, strict=True):
            wire.receive(stream[begin:end])
            begin = end
            for _ in range(pauses):
                await asyncio.sleep(0)
        found = await settle(wire, len(asked))
        assert found == [mark(path, body) for (path, _, _), body in zip(asked, bodies, strict=True)]
        assert len(app.through_asgi) == sum(path == "/asgi" or chunked for path, _, chunked in asked)

    drive(serving_of, work)


@settings(max_examples=60, deadline=None)
@given(
    asked=st.lists(st.tuples(st.sampled_from(["/direct", "/direct/b:x"]), st.sampled_from([0, 4, 5])), max_size=12),
    data=st.data(),
)
def test_requests_with_known_heads_get_the_answers_that_a_parser_would_give(
    serving_of: Any, asked: Any, data: Any
) -> None:
    bodies = [b"%04d" % n + b"x" * size if size else b"" for n, (_, size) in enumerate(asked)]
    sent = [post(path, body) for (path, _), body in zip(asked, bodies, strict=True)]
    pauses = data.draw(
        st.lists(st.sampled_from(["none", "one", "cut", "join"]), min_size=len(sent), max_size=len(sent))
    )

    async def work(wire: Wire, app: App) -> None:
        rest = b""
        for one, pause in zip(sent, pauses, strict=True):
            chunk = rest + one
            kept = {"cut": 7, "join": len(chunk)}.get(pause, 0)
            chunk, rest = chunk[: len(chunk) - kept], chunk[len(chunk) - kept :]
            wire.receive(chunk)
            if pause == "one":
                await asyncio.sleep(0)
        wire.receive(rest)
        found = await settle(wire, len(asked))
        assert found == [mark(path, body) for (path, _), body in zip(asked, bodies, strict=True)]
        assert not app.through_asgi

    drive(serving_of, work)


def test_a_request_with_a_known_head_needs_no_parser(serving_of: Any) -> None:
    async def work(wire: Wire, app: App) -> None:
        wire.receive(post("/direct", b"abc"))
        wire.protocol.parser = None
        wire.receive(post("/direct", b"def"))
        assert await settle(wire, 2) == [mark("/direct", b"abc"), mark("/direct", b"def")]

    drive(serving_of, work)


@pytest.mark.parametrize("at", [1, 7, 16, 130])
def test_tensors_of_a_long_body_lie_at_even_addresses(serving_of: Any, at: int) -> None:
    import numpy as np

    body = bytes(range(256)) * 1000

    async def work(wire: Wire, app: App) -> None:
        stream = post("/direct", body, f"{ALIGN.decode()}: {at}")
        wire.receive(stream[:5000])
        wire.receive(stream[5000:])
        assert (await settle(wire, 1)) == [mark("/direct", body)]
        got = app.routes["/direct"].bodies[0]
        assert bytes(got) == body
        assert np.frombuffer(got, np.uint8)[at:].ctypes.data % 16 == 0

    drive(serving_of, work)


def test_an_error_of_a_route_is_its_refusal_and_is_counted(serving_of: Any) -> None:
    async def work(wire: Wire, app: App) -> None:
        wire.receive(post("/direct", b"fail") + post("/direct", b"ok"))
        assert await settle(wire, 2) == [b"it fails", mark("/direct", b"ok")]
        assert [str(error) for error in app.routes["/direct"].counted] == ["it fails", "None"]

    drive(serving_of, work)


@pytest.mark.parametrize(
    "odd",
    [
        "Expect: 100-continue",
        "Content-Encoding: identity",
        "X-A: 1\r\nX-A: 2",
    ],
)
def test_requests_that_need_more_than_a_length_go_through_asgi(serving_of: Any, odd: str) -> None:
    async def work(wire: Wire, app: App) -> None:
        wire.receive(post("/direct", b"abc", odd))
        for _ in range(50):
            await asyncio.sleep(0)
        assert bytes(wire.out).endswith(mark("/direct", b"abc"))
        assert app.through_asgi == ["/direct"]

    drive(serving_of, work)


@pytest.mark.parametrize("path", ["/direct?x=1", "/direct%20", "http://x/direct"])
def test_targets_that_must_be_read_go_through_asgi(serving_of: Any, path: str) -> None:
    async def work(wire: Wire, app: App) -> None:
        wire.receive(post(path, b"abc"))
        await settle(wire, 1)
        assert len(app.through_asgi) == 1

    drive(serving_of, work)


def test_a_body_that_does_not_come_is_refused(serving_of: Any) -> None:
    async def work(wire: Wire, app: App) -> None:
        wire.receive(post("/direct", bytes(LONG_BYTES * 4))[:3000])
        assert isinstance(wire.protocol, asyncio.BufferedProtocol)
        while not wire.is_closed:
            await asyncio.sleep(0.01)
        assert wire.answers() == [
            b"body: the body was not complete after 0.05 s. Send it faster, or raise --body-timeout."
        ]
        assert len(app.routes["/direct"].counted) == 1

    drive(serving_of, work, limits=Limits(body_timeout_s=0.05))


def test_a_client_that_leaves_within_a_long_body_is_forgotten(serving_of: Any) -> None:
    async def work(wire: Wire, app: App) -> None:
        wire.receive(post("/direct", bytes(LONG_BYTES * 4))[:3000])
        reader = wire.protocol
        wire.is_closed = True
        reader.connection_lost(ConnectionResetError())
        assert not app.routes["/direct"].bodies
        wire.protocol = reader._connection

    drive(serving_of, work)


def test_a_client_that_leaves_cancels_its_turn(serving_of: Any) -> None:
    threads, entered, gate = RankThreads(1, 8), threading.Event(), threading.Event()
    turns: list[Any] = []

    class Slow(Echo):
        def answer(self, request: Request) -> Reply:
            turns.append(current_turn())
            entered.set()
            assert gate.wait(10)
            turns[0].check()
            return super().answer(request)

    async def work(wire: Wire, app: App) -> None:
        slow = app.routes["/direct"] = Slow("/direct")
        wire.receive(post("/direct", b"abc") * 3)
        await asyncio.to_thread(entered.wait)
        wire.is_closed = True
        wire.protocol.connection_lost(None)
        gate.set()
        while not slow.counted:
            await asyncio.sleep(0.001)
        assert [getattr(error, "code", "") for error in slow.counted] == ["cancelled"]
        assert not wire.out

    drive(serving_of, work, threads=threads)
    assert threads.close(5)


def test_a_long_body_that_goes_on_as_its_turn_comes_is_read_once(serving_of: Any) -> None:
    async def work(wire: Wire, app: App) -> None:
        body = bytes(LONG_BYTES * 4)
        long = post("/direct", body)
        wire.receive(post("/asgi", b"first") + long[:3000])
        for at in range(3000, len(long), 1000):  # a part at each step of the loop
            await asyncio.sleep(0)
            wire.receive(long[at : at + 1000])
        assert await settle(wire, 2) == [mark("/asgi", b"first"), mark("/direct", body)]

    drive(serving_of, work)


def test_only_an_idle_connection_is_closed(serving_of: Any) -> None:
    async def work(wire: Wire, app: App) -> None:
        connection = wire.protocol
        connection.timeout_keep_alive = 0.2
        for _ in range(10):
            wire.receive(post("/direct", b"abc"))
            await asyncio.sleep(0.05)
            assert not wire.is_closed
        long = post("/direct", bytes(LONG_BYTES * 4))
        wire.receive(long[:3000])
        await asyncio.sleep(0.3)
        assert not wire.is_closed  # within a body
        wire.receive(long[3000:])
        assert len(await settle(wire, 11)) == 11
        while not wire.is_closed:
            await asyncio.sleep(0.01)

    drive(serving_of, work)


def test_answers_that_nobody_reads_hold_the_next_request(serving_of: Any) -> None:
    async def work(wire: Wire, app: App) -> None:
        wire.receive(post("/direct", b"long"))
        wire.protocol.pause_writing()
        wire.receive(post("/direct", b"next"))
        assert await settle(wire, 1) == [bytes(50_000)]
        assert len(app.routes["/direct"].bodies) == 1
        wire.protocol.resume_writing()
        assert len(await settle(wire, 2)) == 2

    drive(serving_of, work)


def test_a_buffer_is_as_long_as_asked_for() -> None:
    for size in (0, 1, 1 << 20):
        buffer = allocate(size)
        assert (type(buffer), len(buffer)) == (bytearray, size)
    buffer[:] = bytes(1 << 20)
    assert buffer.count(0) == 1 << 20


def test_a_long_body_that_comes_too_late_is_thrown_away_and_refused(
    serving_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = RankThreads(1, 8)
    asked: list[float] = []

    def hopeless(turn: Any) -> OverloadedError | None:
        asked.append(turn.remaining_s())
        return OverloadedError("it would wait 500 ms") if turn.remaining_s() < 1 else None

    monkeypatch.setattr(threads, "hopeless", hopeless)

    async def work(wire: Wire, app: App) -> None:
        body = bytes(range(256)) * (LONG_BYTES // 64)
        late = post("/direct", body, "X-Request-Timeout-Ms: 500")
        wire.receive(late[:3000])
        assert await settle(wire, 0) == []  # the rest is read before it is answered: the connection goes on
        wire.receive(late[3000:] + post("/direct", body))
        refused, answered = await settle(wire, 2)
        assert refused == b"it would wait 500 ms"
        assert answered == mark("/direct", body)
        assert [len(kept) for kept in app.routes["/direct"].bodies] == [len(body)]
        assert len(asked) == 1  # the second came in one piece

    drive(serving_of, work, threads=threads)
    assert threads.close(5)
