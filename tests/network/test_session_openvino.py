"""OpenVINO answers as ONNX Runtime does, from several threads, and refuses what it cannot run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from recserve.errors import ConfigError, RequestError
from recserve.network import session_openvino
from recserve.network.session import Session
from recserve.network.session_openvino import OpenVinoSession, computes_in
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
