from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from recserve.errors import BundleError, ConfigError, InvariantError
from recserve.serving.dialects import DIALECTS, Dialect, Port
from recserve.serving.messages import Limits
from recserve.serving.run import ServeOptions, ServerProcess, address_of, bind

NOTHING_TO_SERVE = "no model to serve. Name directories of models, or give --base or --model-config-file."


def test_a_server_stops_when_told_and_closes_its_rankers_and_records(
    serve: Any, make_ranker: Any, make_sink: Any
) -> None:
    rankers, sink = {"a": make_ranker(), "b": make_ranker(version=8)}, make_sink()
    with serve(rankers, records=sink) as server, server.client() as client:
        assert client.get("/v1/models/rank").json()["version"] == 8
    assert all(ranker.is_closed for ranker in rankers.values())
    assert sink.is_closed
    assert server.failure == []
    with pytest.raises(ConnectionRefusedError):
        server.connect()


def test_an_idle_connection_does_not_hold_the_end_up(serve: Any, make_ranker: Any) -> None:
    with serve({"a": make_ranker()}) as server, server.client() as client, server.connect() as half_open:
        half_open.sendall(b"POST /v1/models/rank:rank HTTP/1.1\r\nHo")
        assert client.get("/healthz").status_code == 200
        server.stop()
    assert server.failure == []


def test_a_running_request_is_answered_before_the_end(serve: Any, make_ranker: Any) -> None:
    ranker = make_ranker()
    answers: list[httpx.Response] = []
    with serve({"a": ranker}) as server:

        def post() -> None:
            with server.client() as client:
                answers.append(client.post("/v1/models/rank:rank", json={"user": {"act": "wait"}, "candidates": ["a"]}))

        thread = threading.Thread(target=post)
        thread.start()
        assert ranker.entered.wait(10)
        server.process.stop()
        threading.Timer(0.3, ranker.gate.set).start()
        thread.join(10)
    assert answers[0].status_code == 200
    assert ranker.is_closed


def test_a_request_that_never_ends_is_abandoned_and_its_ranker_stays_open(
    serve: Any, make_ranker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ranker = make_ranker()
    with serve({"a": ranker}, drain_s=0.1) as server:
        connection = server.connect()
        body = b'{"user":{"act":"wait"},"candidates":["a"]}'
        connection.sendall(b"POST /v1/models/rank:rank HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
        connection.sendall(body)
        assert ranker.entered.wait(10)
        server.stop()
        connection.close()
        assert not ranker.is_closed
    assert "A request still runs after 0.1 s; it is abandoned" in caplog.text


@pytest.mark.parametrize(
    ("caught", "expected", "message"),
    [
        (BundleError("checksum differs", where="b/manifest.json"), BundleError, "b/manifest.json: checksum differs"),
        (OSError("no disk"), InvariantError, "a bundle could not be loaded: OSError: no disk"),
    ],
)
def test_a_bundle_that_cannot_be_loaded_ends_the_server(
    caught: Exception, expected: type[Exception], message: str, make_ranker: Any
) -> None:
    loaded = make_ranker()

    def open_ranker(bundle: str) -> Any:
        if bundle == "a":
            return loaded
        raise caught

    process = ServerProcess(ServeOptions(bundles=["a", "b"], port=0), open_ranker)
    with pytest.raises(expected) as raised:
        process.run()
    assert str(raised.value) == message
    assert loaded.is_closed


def test_a_port_of_a_model_that_is_not_there_ends_the_server(make_ranker: Any) -> None:
    options = ServeOptions(bundles=["a"], ports=[Port("vertex", 0, "rnak")])
    with pytest.raises(ConfigError, match=r"vertex:0=rnak: there is no model 'rnak'\. Did you mean 'rank'\?"):
        ServerProcess(options, lambda _: make_ranker()).run()


def test_the_same_version_from_two_bundles_ends_the_server(make_ranker: Any) -> None:
    opened: list[Any] = []

    def open_ranker(_: str) -> Any:
        opened.append(make_ranker())
        return opened[-1]

    with pytest.raises(ConfigError) as raised:
        ServerProcess(ServeOptions(bundles=["a", "b"], port=0), open_ranker).run()
    assert str(raised.value) == "b: model 'rank' version 7 is served already. Name each bundle once."
    assert [ranker.is_closed for ranker in opened] == [True, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bundles": []}, NOTHING_TO_SERVE),
        ({"bundles": [], "ports": [Port("tfs", 0)]}, NOTHING_TO_SERVE),
        ({"ports": [Port("tfs", 1), Port("tfs", 2)]}, "dialect 'tfs' has two ports. Give each dialect one port."),
        ({"rank_threads": -1}, "rank_threads is -1. It is at least 0."),
        ({"max_waiting": 0}, "max_waiting is 0. It is at least 1."),
        ({"drain_s": float("nan")}, "drain_s is nan. It is at least 0."),
        ({"limits": Limits(max_candidates=0)}, "max_candidates is 0. It is at least 1."),
        ({"limits": Limits(max_body_bytes=0)}, "max_body_bytes is 0. It is at least 1."),
        ({"limits": Limits(max_head_bytes=0)}, "max_head_bytes is 0. It is at least 1."),
        ({"limits": Limits(head_timeout_s=-1.0)}, "head_timeout_s is -1.0. It is above 0."),
        ({"limits": Limits(body_timeout_s=0)}, "body_timeout_s is 0. It is above 0."),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ServeOptions(**({"bundles": ["a"]} | options))
    assert str(raised.value) == message


def test_an_address_that_cannot_be_had_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as raised:
            bind("127.0.0.1", port)
        assert raised.value.where == f"127.0.0.1:{port}"
        assert raised.value.problem.startswith("cannot listen: ")
        assert raised.value.hint == "Choose another --host or --port."
    with pytest.raises(ConfigError, match="cannot listen"):
        bind("no.such.host.invalid", 80)
    with pytest.raises(ConfigError, match=r"port 70000 is out of range\. Give 1 to 65535, or 0 for a free one\."):
        bind("127.0.0.1", 70000)


def test_an_ipv6_address_is_a_url() -> None:
    try:
        listener = bind("::1", 0)
    except ConfigError:
        pytest.skip("this machine has no IPv6")
    with listener:
        assert address_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"


PROGRAM = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("serving_conftest", sys.argv[1])
conftest = importlib.util.module_from_spec(spec)
sys.modules["serving_conftest"] = conftest
spec.loader.exec_module(conftest)
from recserve.serving.run import ServeOptions, ServerProcess
options = ServeOptions(bundles=["a"], port=0)
ServerProcess(options, lambda _: conftest.FakeRanker(), on_ready=lambda address: print(address, flush=True)).run()
print("clean", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_cleanly(number: signal.Signals) -> None:
    conftest = Path(__file__).with_name("conftest.py")
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(conftest)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        answer = httpx.post(f"{address}/v1/models/rank:rank", json={"candidates": ["a"]}, timeout=10)
        assert answer.status_code == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "clean\n", "")


class FakeCompanion:
    """A server of another transport."""

    port = 4711

    def __init__(self) -> None:
        self.stopped: list[float] = []

    def stop(self, grace_s: float) -> None:
        self.stopped.append(grace_s)


COMPANION = FakeCompanion()


def build_companion(*_: Any) -> FakeCompanion:
    return COMPANION


def test_one_process_opens_a_port_for_each_dialect(
    serve: Any, make_ranker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Dialect("a companion", 1, f"{__name__}:build_companion", transport="grpc")
    monkeypatch.setitem(DIALECTS, "companion", row)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    ports = [Port("recserve", 0), Port("tfs", 0), Port("companion", 0)]
    with serve({"a": make_ranker()}, ports=ports) as server:
        addresses = server.process.addresses
        assert list(addresses) == ["recserve", "tfs", "companion"]
        assert addresses["companion"] == "127.0.0.1:4711"
        assert httpx.get(f"{addresses['recserve']}/v1/models").json()["models"][0]["name"] == "rank"
        assert httpx.get(f"{addresses['tfs']}/v1/models").status_code == 400
        assert COMPANION.stopped == []
    assert COMPANION.stopped == [10.0]


def test_a_port_that_is_taken_closes_those_that_are_open(make_ranker: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [Port("recserve", 0), Port("tfs", taken.getsockname()[1])]
        process = ServerProcess(ServeOptions(bundles=["a"], ports=ports), lambda _: make_ranker())
        with pytest.raises(ConfigError) as caught:
            process.run()
    assert caught.value.code == "cannot_listen"
    with pytest.raises(httpx.ConnectError):
        httpx.get(process.addresses["recserve"])


def test_a_dialect_whose_clients_load_models_starts_without_any(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Dialect("loads by itself", 1, DIALECTS["recserve"].builder, starts_empty=True)
    monkeypatch.setitem(DIALECTS, "loader", row)
    with serve({}, ports=[Port("loader", 0)]) as server:
        assert httpx.get(f"{server.process.addresses['loader']}/readyz").status_code == 200
