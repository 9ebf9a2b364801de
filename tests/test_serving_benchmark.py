"""What the serving benchmark's figures rest on: the same scores everywhere, honest latencies, results that merge."""

from __future__ import annotations

import importlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from recserve import Ranker
from recserve.wire.ranking import RankResponse

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the benchmarks, which are scripts in a folder."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


@pytest.mark.parametrize("kind", ["b", "b_sent", "c"])
def test_a_ranker_in_stages_scores_as_the_network_of_the_peers(
    kind: str, load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rankers, models = load("serving_rankers"), load("serving_models")
    for name, value in (("ITEMS", 300), ("KEYS", 100), ("KINDS", (kind,)), ("ENGINE_SECONDS", 0.0)):
        monkeypatch.setattr(rankers, name, value)
    assert rankers.build_rankers(tmp_path, precisions=("fp32",)) == [f"{kind}_fp32"]
    task = rankers.make_rank_task(kind, 7)
    ranker = Ranker.open(tmp_path / f"{kind}_fp32" / "1", items=tmp_path / f"{kind}.parquet")
    request = json.loads(task.as_json())
    ranked = ranker.rank(request["user"], {}, request["candidates"])
    assert not ranked.unknown_items
    assert not ranked.missing_columns
    flat = tmp_path / "model.onnx"
    (models.save_c if kind == "c" else models.save_b)(flat)
    expected = onnxruntime.InferenceSession(str(flat)).run(None, dict(task.flat_inputs()))[0].ravel()
    np.testing.assert_allclose(ranked.scores, expected[ranked.positions], rtol=1e-4, atol=1e-4)


def test_scores_are_read_in_the_order_of_the_request(load: Any) -> None:
    wires, task = load("serving_wires"), load("serving_rankers").make_rank_task("c", 3)
    ids = task.item_ids.tolist()
    body = json.dumps({"item_ids": [ids[2], ids[0], ids[1]], "scores": [3.0, 1.0, 2.0]}).encode()
    assert wires.read_ranked(wires.Answer({}, body), task).tolist() == [1, 2, 3]
    message = RankResponse(positions=[2, 0, 1], scores=[3.0, 1.0, 2.0]).SerializeToString()
    assert wires.read_rank_call(wires.Answer({}, message), task).tolist() == [1, 2, 3]


def test_open_inference_scores_are_read_as_text_and_behind_their_head(load: Any) -> None:
    wires = load("serving_wires")
    text = wires.Answer({}, b'{"outputs": [{"name": "y", "data": [1.5, 2.5]}]}')
    assert wires.read_open_inference(text, None).tolist() == [1.5, 2.5]
    head = b'{"outputs": [{"name": "y", "parameters": {"binary_data_size": 8}}]}'
    body = head + np.array([1.5, 2.5], np.float32).tobytes()
    answer = wires.Answer({"inference-header-content-length": str(len(head))}, body)
    assert wires.read_open_inference(answer, None).tolist() == [1.5, 2.5]


STALL_S = 0.4


@pytest.fixture
def stalling() -> Iterator[str]:
    """A server that answers at once, but for its tenth answer, which holds all up for a while."""
    answered = 0
    lock = threading.Lock()

    def serve(connection: socket.socket) -> None:
        nonlocal answered
        with connection:
            while connection.recv(4096):
                with lock:
                    answered += 1
                    if answered == 10:
                        time.sleep(STALL_S)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_a_stall_counts_for_every_request_that_was_due_in_it(load: Any, stalling: str) -> None:
    generator = load("serving_load")
    target = generator.make_target(stalling, "/", b"{}")
    outcome = generator.run_open(target, 200.0, 1.0, seed=0, connections=1)
    assert outcome.good().all()
    began_s = outcome.at_s[9]
    in_stall = (outcome.at_s > began_s) & (outcome.at_s < began_s + STALL_S)
    assert in_stall.sum() > 20
    left_s = began_s + STALL_S - outcome.at_s[in_stall]
    assert (outcome.latency_s[in_stall] >= left_s - 0.02).all()  # arrivals may be read in another order by that much


def test_query_sizes_are_those_of_the_published_traffic(load: Any) -> None:
    sizes = load("serving_runs").draw_sizes(seed=0)
    t1, t2 = np.array(sizes["t1"]), np.array(sizes["t2"])
    assert (t1.min(), np.median(t1), t1.max()) == (100, 200, 700)
    assert t1.mean() == pytest.approx(270, abs=5)
    assert t2.mean() == pytest.approx(165, abs=10)


def test_an_open_loop_of_few_requests_lasts_longer_within_bounds(load: Any) -> None:
    pace = load("serving_runs").Pace(seconds=2.0, more=2.0)
    assert pace.of_open_loop("b", rate=100.0) == 2.0
    assert pace.of_open_loop("b", rate=10.0) == 4.0
    assert pace.of_open_loop("c", rate=1.0) == 12.0


def case(variant: str, speed: float, traffic: str = "c1") -> dict[str, Any]:
    return {"case": "b", "variant": variant, "traffic": traffic, "n": 500, "requests_per_s": speed}


def test_results_of_parts_of_a_run_merge(load: Any, tmp_path: Path) -> None:
    kind, path = load("serving_results").Results, tmp_path / "serving.json"
    first = kind(path, {"commit": "one"}, keeps=False)
    first.add([case("x json", 1.0), case("y json", 2.0)])
    second = kind(path, {"commit": "two"}, keeps=True)
    assert second.has("b", "x json", "c1", 500)
    assert not second.has("b", "x json", "load_70")
    second.add([case("x json", 3.0), case("x json", 4.0, "load_70")])
    found = json.loads(path.read_text())
    assert found["header"] == {"commit": "two"}
    assert [(c["variant"], c["traffic"], c["requests_per_s"], c.get("commit")) for c in found["results"]] == [
        ("x json", "c1", 3.0, None),
        ("y json", "c1", 2.0, "one"),
        ("x json", "load_70", 4.0, None),
    ]
    kind(path, {"commit": "three"}, keeps=False).add([case("z json", 5.0)])
    assert [c["variant"] for c in json.loads(path.read_text())["results"]] == ["z json"]


def test_decoding_and_encoding_are_told_by_the_time_that_a_request_was_worked_on(load: Any) -> None:
    share = load("serving_runs").share_of_ends
    before = {"parse": 1.0, "run": 5.0, "encode": 1.0, "queue": 9.0}
    after = {"parse": 1.5, "run": 13.0, "encode": 2.0, "queue": 99.0, "rank/decode": 1.0}
    assert share(before, after) == {"decode_encode_share": round(2.5 / 9.5, 4)}
    assert share({}, {}) == {}
