"""TLS with real sockets: HTTP, mutual TLS, certificates that change, and gRPC."""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from recserve.errors import ConfigError
from recserve.serving.dialects import Port
from recserve.serving.oversight import Operations
from recserve.serving.security.tls import HttpTls, SslConfigFile, TlsFiles, grpc_credentials


def trusting(cert: Path, client: Any = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(cert))
    if client is not None:
        context.load_cert_chain(client.cert, client.key)
    return context


def ask(port: int, context: ssl.SSLContext) -> int:
    with httpx.Client(verify=context) as client:
        return client.get(f"https://localhost:{port}/livez").status_code


def subject(port: int, context: ssl.SSLContext) -> Any:
    plain = socket.create_connection(("localhost", port), timeout=10)
    with plain, context.wrap_socket(plain, server_hostname="localhost") as secure:
        found: Any = secure.getpeercert()
        return found["subject"][0][0][1]


def test_an_http_port_speaks_tls_and_takes_a_new_certificate_while_it_serves(
    serve: Any, make_ranker: Any, make_certificate: Callable[[str], Any]
) -> None:
    one, two = make_certificate("one"), make_certificate("two")
    operations = Operations(tls=TlsFiles(str(one.cert), str(one.key)))
    with serve({"models/rank/7": make_ranker()}, operations=operations) as server:
        assert server.process.addresses["recserve"].startswith("https://")
        assert ask(server.port, trusting(one.cert)) == 200
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://localhost:{server.port}/livez")
        for new, old in ((two.cert, one.cert), (two.key, one.key)):
            os.replace(new, old)
        server.process._oversight.refresh()
        assert subject(server.port, trusting(one.cert)) == "two"


def test_a_long_body_comes_through_tls_whole(
    serve: Any, make_ranker: Any, make_certificate: Callable[[str], Any]
) -> None:
    files = make_certificate("server")
    ids = [f"item-{number}" for number in range(8000)]
    body = json.dumps({"candidates": ids, "top_k": 8000}).encode()
    operations = Operations(tls=TlsFiles(str(files.cert), str(files.key)))
    with (
        serve({"models/rank/7": make_ranker()}, operations=operations) as server,
        httpx.Client(base_url=f"https://localhost:{server.port}", verify=trusting(files.cert), timeout=10) as client,
    ):
        for _ in range(3):
            answer = client.post("/v1/models/rank:rank", content=body)
            assert (answer.status_code, answer.json()["item_ids"]) == (200, ids)


def test_a_client_without_a_certificate_is_turned_away_where_one_is_required(
    serve: Any, make_ranker: Any, make_certificate: Callable[[str], Any]
) -> None:
    server_side, client = make_certificate("server"), make_certificate("client")
    tls = TlsFiles(str(server_side.cert), str(server_side.key), str(client.cert), requires_client=True)
    with serve({"models/rank/7": make_ranker()}, operations=Operations(tls=tls)) as server:
        assert ask(server.port, trusting(server_side.cert, client)) == 200
        with pytest.raises(httpx.HTTPError):
            ask(server.port, trusting(server_side.cert))


def test_a_wrong_new_certificate_leaves_the_old_one_in_force(
    make_certificate: Callable[[str], Any],
) -> None:
    made = make_certificate("one")
    tls = HttpTls(TlsFiles(str(made.cert), str(made.key)))
    assert not tls.refresh()
    made.cert.write_text("no certificate")
    with pytest.raises(ConfigError, match="the certificate cannot be used"):
        tls.refresh()
    assert not tls.refresh()


@pytest.mark.parametrize("requires_client", [False, True])
def test_a_grpc_port_speaks_tls(
    serve: Any, make_ranker: Any, make_certificate: Callable[[str], Any], requires_client: bool
) -> None:
    server_side, client = make_certificate("server"), make_certificate("client")
    tls = TlsFiles(
        str(server_side.cert), str(server_side.key), str(client.cert) if requires_client else "", requires_client
    )
    options = {"operations": Operations(tls=tls), "ports": [Port("grpc", 0)]}
    with serve({"models/rank/7": make_ranker()}, **options) as server:
        port = server.process.addresses["grpc"].rpartition(":")[2]
        pair = (client.key.read_bytes(), client.cert.read_bytes()) if requires_client else (None, None)
        credentials = grpc.ssl_channel_credentials(server_side.cert.read_bytes(), *pair)
        with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        if requires_client:
            bare = grpc.ssl_channel_credentials(server_side.cert.read_bytes())
            with grpc.secure_channel(f"localhost:{port}", bare) as channel, pytest.raises(grpc.RpcError):
                health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)


def test_tensorflow_servings_ssl_config_file_is_read(tmp_path: Path, make_certificate: Callable[[str], Any]) -> None:
    made = make_certificate("one")
    file = tmp_path / "ssl.txt"
    pems = {
        "server_key": made.key.read_text(),
        "server_cert": made.cert.read_text(),
        "custom_ca": made.cert.read_text(),
    }
    lines = [f"{name}: {pem!r}" for name, pem in pems.items()]
    file.write_text("\n".join([*lines, "client_verify: true"]))
    source = SslConfigFile(str(file))
    assert source.requires_client
    assert source.read().key == made.key.read_bytes()
    assert grpc_credentials(source) is not None
    file.write_text(lines[0])
    with pytest.raises(ConfigError, match="server_key or server_cert is missing"):
        source.read()
    file.write_text("\n".join([*lines[:2], "client_verify: true"]))
    with pytest.raises(ConfigError, match="client_verify needs a custom_ca"):
        source.read()
    file.write_text("what")
    with pytest.raises(ConfigError, match="no SSLConfig"):
        source.read()


def test_wrong_files_are_told(tmp_path: Path, make_certificate: Callable[[str], Any]) -> None:
    one, two = make_certificate("one"), make_certificate("two")
    with pytest.raises(ConfigError, match="TLS needs a certificate and its key"):
        TlsFiles(str(one.cert), "")
    with pytest.raises(ConfigError, match="nobody's are accepted"):
        TlsFiles(str(one.cert), str(one.key), requires_client=True)
    with pytest.raises(ConfigError, match=r"the certificate cannot be used: .*mismatch"):
        HttpTls(TlsFiles(str(one.cert), str(two.key)))
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        HttpTls(TlsFiles(str(tmp_path / "none"), str(one.key)))
    with pytest.raises(ConfigError, match="the certificate cannot be used"):
        grpc_credentials(TlsFiles(str(one.cert), str(two.key)))
