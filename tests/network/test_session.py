"""A session evaluates a graph, and refuses one that the engine does not know."""

from __future__ import annotations

import contextvars
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import helper

from recserve.errors import ConfigError, RequestError
from recserve.network.session import Session
from recserve.network.stopping import Stoppable, StoppedError, enter_stoppable
from recserve.rates import Rate


def test_a_session_answers_by_output_name(sketch: Any) -> None:
    g = sketch()
    g.output(g.op("Neg", g.input("item", Rate.ITEM, 3)), dims=(3,))
    session = Session(g.network().to_bytes(), threads=2)
    assert (session.inputs, session.outputs) == (("item",), ("ctr",))
    item = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(session.run({"item": item})["ctr"], -item)


def test_rows_that_are_not_contiguous_are_read_right(sketch: Any) -> None:
    g = sketch()
    g.output(g.op("Neg", g.input("item", Rate.ITEM, 3)), dims=(3,))
    wide = np.arange(12, dtype=np.float32).reshape(2, 6)
    np.testing.assert_array_equal(Session(g.network().to_bytes()).run({"item": wide[:, ::2]})["ctr"], -wide[:, ::2])


def test_a_graph_with_an_unknown_op_is_refused() -> None:
    value = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["N"]) for n in ("item", "ctr")]
    graph = helper.make_graph([helper.make_node("Odd", ["item"], ["ctr"], domain="own")], "g", value[:1], value[1:])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    with pytest.raises(ConfigError, match=r"ONNX Runtime .* cannot load the graph: .*Odd"):
        Session(model.SerializeToString())


def test_slots_tell_names_types_and_shapes(sketch: Any) -> None:
    g = sketch()
    g.output(g.op("Neg", g.input("item", Rate.ITEM, 3)), dims=(3,))
    inputs, outputs = Session(g.network().to_bytes()).slots()
    assert [(slot.name, slot.type, slot.shape, slot.is_optional) for slot in inputs] == [
        ("item", "tensor(float)", (None, 3), False)
    ]
    assert [slot.name for slot in outputs] == ["ctr"]


def test_tensors_that_the_graph_refuses_are_the_callers_error(sketch: Any, tmp_path: Path) -> None:
    g = sketch()
    g.output(g.op("Neg", g.input("item", Rate.ITEM, 3)), dims=(3,))
    (tmp_path / "g.onnx").write_bytes(g.network().to_bytes())
    session = Session(tmp_path / "g.onnx")
    (result,) = session.compute({"item": np.ones((1, 3), np.float32)}, ["ctr"])
    assert result.tolist() == [[-1, -1, -1]]
    with pytest.raises(RequestError, match=r"the model refuses the inputs: .*item"):
        session.compute({"item": np.ones((1, 4), np.float32)}, ["ctr"])


ENDLESS = """<ir_version: 9, opset_import: ["": 18]>
endless (int64 times, float[N] x) => (float[N] y) {
  go = Constant <value = bool {1}> ()
  y = Loop <body = step (int64 i, bool on, float[N] h) => (bool on2, float[N] h2) { on2 = Identity(on) h2 = Neg(h) }>
    (times, go, x)
}"""
"""Changes signs so many times."""


def endless() -> bytes:
    return bytes(onnx.parser.parse_model(ENDLESS).SerializeToString())


def test_a_call_ends_when_its_work_is_stopped_and_the_session_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    session, work = Session(endless()), Stoppable()
    x = np.ones(3, np.float32)
    forever = {"times": np.array(2**40), "x": x}

    def call(compute: Any) -> Any:
        enter_stoppable(work)
        return compute()

    for compute in (lambda: session.run(forever), lambda: session.compute(forever, ["y"])):
        stopper = threading.Timer(0.05, work.stop)
        stopper.start()
        with pytest.raises(StoppedError, match="the call was stopped"):
            contextvars.copy_context().run(call, compute)
        stopper.join()
        work = Stoppable()
    thrice = {"times": np.array(3), "x": x}
    np.testing.assert_array_equal(contextvars.copy_context().run(call, lambda: session.run(thrice))["y"], -x)
    np.testing.assert_array_equal(session.run(thrice)["y"], -x)
    assert capfd.readouterr().err == ""


def test_an_error_of_work_that_goes_on_is_told_as_any_other() -> None:
    session = Session(endless())
    wrong = {"times": np.array(1), "x": np.ones((2, 3), np.float32)}  # of another rank
    enter_stoppable(Stoppable())
    try:
        with pytest.raises(RequestError, match="the model refuses the inputs: "):
            session.compute(wrong, ["y"])
        with pytest.raises(Exception, match="INVALID_ARGUMENT"):
            session.run(wrong)
    finally:
        enter_stoppable(None)
