"""Connections that never become requests, on the ports of both transports, with and without TLS."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from recserve.serving.dialects import Port
from recserve.serving.messages import Limits
from recserve.serving.oversight import Operations
from recserve.serving.security.tls import TlsFiles

HEAD_TIMEOUT_S = 0.5
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD = b"POST /v1/models/rank:rank HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"


def client_hello() -> bytes:
    """What a TLS client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    secure = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        secure.do_handshake()
    return outgoing.read()


def is_closed_by(connection: socket.socket, seconds: float) -> bool:
    """Whether the other side closes within some seconds, whatever it says before."""
    end_s = monotonic() + seconds
    while (left_s := end_s - monotonic()) > 0:
        connection.settimeout(left_s)
        try:
            if not connection.recv(65536):
                return True
        except TimeoutError:
            return False
        except OSError:  # a reset
            return True
    return False


def trickle(connection: socket.socket, content: bytes) -> None:
    """Send a byte now and then, until nobody takes it."""
    try:
        for byte in content:
            connection.sendall(bytes([byte]))
            sleep(0.05)
    except OSError:
        return


def open_fruitless(port: int, sent: list[bytes]) -> list[socket.socket]:
    """A connection for each beginning, which says no more; the first one's writing side is closed."""
    connections = [socket.create_connection(("localhost", port), timeout=10) for _ in sent]
    for connection, content in zip(connections, sent, strict=True):
        connection.sendall(content)
    connections[0].shutdown(socket.SHUT_WR)
    return connections


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def doors(request: Any, serve: Any, make_ranker: Any, make_certificate: Callable[[str], Any]) -> Any:
    """(server, HTTP port, gRPC port, certificate or None)."""
    made = make_certificate("server") if request.param else None
    tls = None if made is None else TlsFiles(str(made.cert), str(made.key))
    limits = Limits(head_timeout_s=HEAD_TIMEOUT_S, body_timeout_s=HEAD_TIMEOUT_S)
    ports = [Port("recserve", 0), Port("grpc", 0)]
    options = {"operations": Operations(tls=tls), "ports": ports, "limits": limits}
    with serve({"models/rank/7": make_ranker()}, **options) as server:
        http, rpc = (int(server.process.addresses[name].rpartition(":")[2]) for name in ("recserve", "grpc"))
        yield server, http, rpc, made


def check_health(http: int, rpc: int, made: Any) -> None:
    trust: Any = True if made is None else ssl.create_default_context(cafile=str(made.cert))
    scheme = "http" if made is None else "https"
    with httpx.Client(verify=trust, timeout=20) as client:
        assert client.get(f"{scheme}://localhost:{http}/livez").status_code == 200
    if made is None:
        channel = grpc.insecure_channel(f"localhost:{rpc}")
    else:
        channel = grpc.secure_channel(f"localhost:{rpc}", grpc.ssl_channel_credentials(made.cert.read_bytes()))
    with channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_connections_that_never_become_requests_are_closed_and_hinder_nobody(doors: Any) -> None:
    _, http, rpc, made = doors
    hello = b"" if made is None else client_hello()
    of_http = [b"", b"", b"GET /livez HT", HEAD, HEAD + b"{"] if made is None else [b"", b"", hello[:40], hello]
    of_rpc = [b"", b"", PREFACE[:10], PREFACE] if made is None else [b"", b"", hello[:40], hello]
    fruitless = open_fruitless(http, of_http) + open_fruitless(rpc, of_rpc)
    slow = [socket.create_connection(("localhost", port), timeout=10) for port in (http, rpc)]
    contents = (HEAD, PREFACE * 4) if made is None else (hello, hello)
    writers = [threading.Thread(target=trickle, args=pair) for pair in zip(slow, contents, strict=True)]
    for writer in writers:
        writer.start()
    try:
        check_health(http, rpc, made)
        for number, connection in enumerate([*fruitless, *slow]):
            assert is_closed_by(connection, 10), f"connection {number} stays open"
        check_health(http, rpc, made)
    finally:
        for connection in [*fruitless, *slow]:
            connection.close()
        for writer in writers:
            writer.join()


def test_a_tls_client_that_says_nothing_after_its_handshake_is_closed(doors: Any) -> None:
    _, http, _, made = doors
    if made is None:
        pytest.skip("it is the silent client of the other test")
    context = ssl.create_default_context(cafile=str(made.cert))
    for sent in (b"", b"GET /livez HTTP/1.1\r\nHo"):
        plain = socket.create_connection(("localhost", http), timeout=10)
        with context.wrap_socket(plain, server_hostname="localhost") as secure:
            secure.sendall(sent)
            assert is_closed_by(secure, 10)


def test_many_idle_connections_cost_files_only_and_give_them_back(doors: Any) -> None:
    _, http, rpc, made = doors
    check_health(http, rpc, made)
    before = len(os.listdir("/proc/self/fd"))
    idle = [socket.create_connection(("localhost", port), timeout=10) for port in (http, rpc) for _ in range(100)]
    check_health(http, rpc, made)
    for connection in idle:
        assert is_closed_by(connection, 20)
        connection.close()
    end_s = monotonic() + 20
    while len(os.listdir("/proc/self/fd")) > before + 8 and monotonic() < end_s:
        sleep(0.05)
    assert len(os.listdir("/proc/self/fd")) <= before + 8
