"""Both clients on both transports against a real server."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import numpy as np
import pytest

from recserve.client import AsyncClient, CallFailedError, Client, Retries, Target
from recserve.errors import ConfigError, RequestError

X = np.array([1.0, 2.0], np.float32)


def test_both_clients_have_the_same_methods(both_have_the_same_methods: None) -> None:
    pass


def test_predict(caller: Any) -> None:
    got = caller.predict("half_plus_two", {"x": X}, outputs=["y"])
    assert got.model == "half_plus_two"
    assert got["y"].dtype == np.float32
    assert got["y"].tolist() == [2.5, 3.0]


def test_predict_takes_versions_labels_and_lists(caller: Any) -> None:
    assert caller.predict("half_plus_two", {"x": X}, version=123).version == 123
    labelled = caller.predict("half_plus_two", {"x": X}, label="stable", outputs=["y"])
    assert labelled["y"].tolist() == [2.5, 3.0]
    assert caller.predict("echo", {"n": [1, 2], "t": ["a", "b"]})["n"].tolist() == [1, 2]


def test_what_is_not_finite_travels(caller: Any) -> None:
    values = np.array([np.nan, np.inf, -np.inf, 4], np.float32)
    got = caller.predict("half_plus_two", {"x": values}, outputs=["y"])["y"]
    np.testing.assert_array_equal(got, values / 2 + 2)


def test_several_outputs_of_several_types(caller: Any) -> None:
    sent = {"n": np.array([[1], [2**60]]), "t": np.array(["a", "ü"], object)}
    got = caller.predict("echo", sent)
    assert got["n"].dtype == np.int64
    assert got["n"].tolist() == [[1], [2**60]]
    assert [v.decode() if isinstance(v, bytes) else v for v in got["t"]] == ["a", "ü"]


def test_classify_and_regress(caller: Any) -> None:
    got = caller.classify("half_plus_two", [{"x": 0.25}, {"x": 1.0}], signature="classify_x")
    assert got == [[("no", 0.75), ("yes", 0.25)], [("no", 0.0), ("yes", 1.0)]]
    values = caller.regress("half_plus_two", [{"x": [0.5]}, {}], signature="regress_x", context={"x": [2.0]})
    assert values.dtype == np.float32
    assert values.tolist() == [1.5, 3.0]


def test_status_and_signatures(caller: Any) -> None:
    rows = caller.status("half_plus_two")
    assert [(row.version, row.state, row.error_code) for row in rows] == [
        (124, "AVAILABLE", "OK"),
        (123, "AVAILABLE", "OK"),
    ]
    assert [row.version for row in caller.status("half_plus_two", version=123)] == [123]
    found = caller.signatures("half_plus_two", label="stable")
    assert found["serving_default"].inputs["x"].shape == (None,)
    assert found["serving_default"].inputs["x"].dtype == "float32"
    assert found["classify_x"].method == "classify"
    assert caller.signatures("echo")["serving_default"].inputs["n"].shape is None


def test_mistakes_say_what_happened(caller: Any) -> None:
    error = caller.fails("predict", "nope", {"x": X})
    assert error.status == "NOT_FOUND"
    assert not error.is_retryable
    assert "Servable not found for request: Latest(nope)" in str(error)
    assert caller.fails("predict", "half_plus_two", {"x": X}, label="x").status == "INVALID_ARGUMENT"
    assert caller.fails("status", "nope").status == "NOT_FOUND"
    assert caller.fails("rank", "nope", ["a"]).code == "model_not_found"


def test_infer(infer_caller: Any) -> None:
    got = infer_caller.infer("half_plus_two", {"x": X}, version=123, outputs=["y"])
    assert (got.model, got.version) == ("half_plus_two", 123)
    assert got["y"].tolist() == [2.5, 3.0]
    echo = infer_caller.infer("echo", {"n": np.array([1, 2]), "t": np.array(["a", "ü"])})
    assert echo["n"].tolist() == [1, 2]
    assert echo["t"].tolist() == [b"a", "ü".encode()]
    error = infer_caller.fails("infer", "nope", {"x": X})
    assert error.status == "NOT_FOUND"
    assert "Request for unknown model: 'nope' is not found" in str(error)


def test_readiness(infer_caller: Any) -> None:
    assert infer_caller.is_ready()
    assert infer_caller.is_ready("half_plus_two")
    assert not infer_caller.is_ready("nope")


def test_rank(caller: Any, served: Any) -> None:
    got = caller.rank(
        "rank",
        np.array([5, 0, 7]),
        user={"age": 3, "clicks": {"acme": 2.0}, "seq": ["a", "b"]},
        context={"hour": 20},
        columns={"position": [1.5, None, 2.5]},
        items={7: {"price": 9.5}},
        top_k=2,
        request_id="q",
        timings=True,
        version=7,
    )
    assert served.ranker.calls[-1] == {
        "user": {"age": 3, "clicks": {"acme": 2.0}, "seq": ["a", "b"]},
        "context": {"hour": 20},
        "candidates": {"item_id": [5, 0, 7], "position": [1.5, None, 2.5]},
        "top_k": 2,
        "items": {7: {"price": 9.5}},
    }
    assert list(got.item_ids) == [5, 7]
    assert got.scores.tolist() == [2.0, 1.0]
    assert set(got.outputs) == {"ctr", "cvr"}
    assert got.version.item_epoch == 5
    assert got.request_id == "q"
    assert list(got.unknown_items) == [0]
    assert list(got.missing_columns) == ["age"]
    assert got.timings_us["features"] == 1.0


def test_rank_of_texts_and_chosen_outputs(caller: Any) -> None:
    got = caller.rank("rank", ["a", "b"], user={"act": "nan"}, outputs=["ctr"])
    assert list(got.item_ids) == ["a", "b"]
    assert np.isnan(got.scores[1])
    assert list(got.outputs) == ["ctr"]
    assert not got.timings_us


def test_rank_by_label_and_by_several_models(caller: Any) -> None:
    assert caller.rank("rank", ["a"], label="live").version.version == 7
    found = caller.rank_by_each(["rank", Target("rank", 7), Target("rank", label="live")], ["a", "b"], top_k=1)
    assert [(list(one.item_ids), one.version.version) for one in found] == [(["a"], 7)] * 3
    assert [one.is_user_found for one in found] == [None] * 3


def test_what_the_server_has_not_is_told(caller: Any) -> None:
    with pytest.raises(CallFailedError, match="keeps no users"):
        caller.rank("rank", ["a"], user_id="ann")
    with pytest.raises(CallFailedError, match="does not explain its scores"):
        caller.rank("rank", ["a"], explain=True)
    with pytest.raises(RequestError, match="there is no field"):
        caller.rank_by_each(["rank"], ["a"], top_m=1)


def test_nobody_there_is_told_apart_from_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for scheme in ("http", "grpc"):
        with Client(f"{scheme}://127.0.0.1:{port}", retries=Retries(1), timeout_s=5) as client:
            with pytest.raises(CallFailedError) as caught:
                client.predict("m", {"x": X})
            assert caught.value.status == "UNAVAILABLE"
            assert caught.value.is_retryable


@pytest.mark.parametrize("kind", ["http", "grpc", "http async", "grpc async"])
def test_a_server_that_says_nothing_is_left_at_the_deadline(kind: str) -> None:
    scheme, _, suffix = kind.partition(" ")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
        begin_s = time.monotonic()
        with pytest.raises(CallFailedError) as caught:
            asyncio.run(call_on_asyncio(url)) if suffix else call(url)
        assert caught.value.status == "DEADLINE_EXCEEDED"
        assert time.monotonic() - begin_s < 10


def call(url: str) -> None:
    with Client(url, timeout_s=0.3) as client:
        client.predict("m", {"x": X})


async def call_on_asyncio(url: str) -> None:
    async with AsyncClient(url, timeout_s=0.3) as client:
        await client.predict("m", {"x": X})


@pytest.mark.parametrize("url", ["localhost:8501", "ftp://x:1", "http://", "grpc://:80", "http://x:99999999"])
def test_a_bad_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="is no server's URL"):
        Client(url)


def test_a_bad_timeout_is_refused() -> None:
    with pytest.raises(ConfigError, match="timeout_s is 0"):
        Client("http://x", timeout_s=0)


def test_threads_share_a_client(served: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with Client(served.url("rest")) as client, ThreadPoolExecutor(8) as pool:
        got = pool.map(
            lambda i: client.predict("half_plus_two", {"x": np.array([i], np.float32)}, outputs=["y"])["y"][0],
            range(64),
        )
        assert list(got) == [i / 2 + 2 for i in range(64)]


def test_tasks_share_a_client(served: Any) -> None:
    async def run(url: str) -> list[float]:
        async with AsyncClient(url) as client:
            calls = [
                client.predict("half_plus_two", {"x": np.array([i], np.float32)}, outputs=["y"]) for i in range(64)
            ]
            return [float(answer["y"][0]) for answer in await asyncio.gather(*calls)]

    for kind in ("rest", "grpc"):
        assert asyncio.run(run(served.url(kind))) == [i / 2 + 2 for i in range(64)]
