"""OpenVINO answers as ONNX Runtime does, from several threads, and refuses what it cannot run."""

from __future__ import annotations

import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from recserve.errors import ConfigError, RequestError
from recserve.network import session_openvino
from recserve.network.session import Session
from recserve.network.session_openvino import OpenVinoSession, computes_in
from recserve.network.stopping import Stoppable, StoppedError, enter_stoppable
from recserve.rates import Rate


@pytest.fixture(autouse=True)
def _needs_openvino() -> None:
    pytest.importorskip("openvino")


def tower(sketch: Any) -> bytes:
    g = sketch(3)
    hidden = g.op("Relu", g.linear(g.input("item", Rate.ITEM, 32), 32, 64))
    g.output(g.op("Sigmoid", g.linear(hidden, 64, 1)))
    return bytes(g.network().to_bytes())


def test_float32_is_that_of_onnx_runtime_in_every_thread(sketch: Any) -> None:
    model = tower(sketch)
    exact, fast = Session(model), OpenVinoSession(model)
    rng = np.random.default_rng(0)
    feeds = [{"item": rng.normal(size=(n, 32)).astype(np.float32)} for n in range(1, 9)]
    with ThreadPoolExecutor(4) as pool:
        for feed, found in zip(feeds * 4, pool.map(fast.run, feeds * 4), strict=True):
            np.testing.assert_allclose(found["ctr"], exact.run(feed)["ctr"], rtol=1e-5, atol=1e-6)


def test_rows_that_are_not_contiguous_or_read_only_are_read_right(sketch: Any) -> None:
    model = tower(sketch)
    wide = np.random.default_rng(1).normal(size=(4, 64)).astype(np.float32)
    found = OpenVinoSession(model).run({"item": wide[:, ::2]})["ctr"]
    fixed = np.broadcast_to(np.float32(0.5), (3, 32))
    np.testing.assert_allclose(
        OpenVinoSession(model).run({"item": fixed})["ctr"], Session(model).run({"item": fixed})["ctr"], rtol=1e-5
    )
    np.testing.assert_allclose(found, Session(model).run({"item": wide[:, ::2]})["ctr"], rtol=1e-5, atol=1e-6)


def test_bfloat16_is_near_and_used_only_where_the_processor_has_it(sketch: Any) -> None:
    model = tower(sketch)
    feed = {"item": np.random.default_rng(2).normal(size=(16, 32)).astype(np.float32)}
    found = OpenVinoSession(model, "bf16").run(feed)["ctr"]
    np.testing.assert_allclose(found, Session(model).run(feed)["ctr"], atol=0.02)
    assert computes_in("fp32")


def test_tensors_and_graphs_that_do_not_fit_are_refused(sketch: Any) -> None:
    with pytest.raises(RequestError, match="the model refuses the inputs"):
        OpenVinoSession(tower(sketch)).run({"item": np.ones((1, 31), np.float32)})
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N"]) for n in ("item", "ctr")]
    node = helper.make_node("Odd", ["item"], ["ctr"], domain="own")
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    model = helper.make_model(helper.make_graph([node], "g", value[:1], value[1:]), opset_imports=opsets, ir_version=9)
    with pytest.raises(ConfigError, match=r"OpenVINO .* cannot load the graph"):
        OpenVinoSession(model.SerializeToString())


def test_a_machine_without_openvino_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    session_openvino._core.cache_clear()
    try:
        with pytest.raises(ConfigError, match="OpenVINO is not installed"):
            OpenVinoSession(b"")
        assert not session_openvino.is_available()
        assert session_openvino.version() == ""
        assert not computes_in("bf16")
    finally:
        session_openvino._core.cache_clear()


def chain(length: int, size: int = 128) -> bytes:
    """Products of matrices, one after the other."""
    names = ["x", *(f"h{n}" for n in range(length))]
    nodes = [helper.make_node("MatMul", [a, "w"], [b]) for a, b in pairwise(names)]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size]) for name in (names[0], names[-1])]
    weights = numpy_helper.from_array(np.eye(size, dtype=np.float32), "w")
    graph = helper.make_graph(nodes, "g", value[:1], value[1:], [weights])
    opset = helper.make_opsetid("", 18)
    return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString())


def test_a_long_call_ends_when_its_work_is_stopped_and_the_session_goes_on() -> None:
    session = OpenVinoSession(chain(64))
    x = np.random.default_rng(3).normal(size=(2048, 128)).astype(np.float32)
    session.run({"x": x})
    assert session._is_long

    def call(work: Stoppable) -> Any:
        enter_stoppable(work)
        return session.run({"x": x})

    work = Stoppable()
    stopper = threading.Timer(0.005, work.stop)
    stopper.start()

    def call_until_stopped() -> None:
        for _ in range(1000):  # a machine may be quicker than the timer
            contextvars.copy_context().run(call, work)

    with pytest.raises(StoppedError, match="the call was stopped"):
        call_until_stopped()
    stopper.join()
    session._is_long = True
    found = contextvars.copy_context().run(call, Stoppable())
    np.testing.assert_allclose(next(iter(found.values())), x, rtol=1e-5)


def test_a_stop_that_comes_late_does_not_end_the_next_call() -> None:
    cancelled: list[str] = []

    class Request:
        def cancel(self) -> None:
            cancelled.append("cancel")

    held = session_openvino._Held(Request())
    held.cancel()
    held.let_go()
    held.cancel()
    assert cancelled == ["cancel"]
