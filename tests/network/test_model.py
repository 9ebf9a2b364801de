"""Loading a network refuses what cannot be served, and says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from recserve.errors import ConfigError
from recserve.network.model import Network, TensorSpec
from recserve.network.session import Session
from recserve.rates import Rate

N_BY_4 = ["N", 4]


def model_of(
    inputs: Any, outputs: Any, dtype: int = TensorProto.FLOAT, op: str = "Identity", source: str = "item"
) -> onnx.ModelProto:
    node = helper.make_node(op, [source], ["ctr"])
    ins = [helper.make_tensor_value_info(name, dtype, dims) for name, dims in inputs.items()]
    outs = [helper.make_tensor_value_info(name, dtype, dims) for name, dims in outputs.items()]
    return helper.make_model(helper.make_graph([node], "g", ins, outs), opset_imports=[helper.make_opsetid("", 18)])


def load(model: onnx.ModelProto) -> Network:
    return Network.from_bytes(model.SerializeToString(), "m.onnx")


def test_a_good_graph_tells_its_inputs_and_outputs(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model_of({"item": ["N", None, 4]}, {"ctr": ["N", None, 4]}), path)
    network = Network.load(path)
    assert network.inputs == {"item": TensorSpec("item", "float32", ("N", None, 4))}
    assert network.outputs == {"ctr": TensorSpec("ctr", "float32", ("N", None, 4))}
    assert Network.from_bytes(network.to_bytes(), "copy").inputs == network.inputs


def test_weights_in_a_file_of_their_own_are_read(tmp_path: Path, sketch: Any) -> None:
    g = sketch()
    g.output(g.linear(g.input("item", Rate.ITEM, 64), 64, 64), dims=(64,))
    proto = onnx.load_model_from_string(g.network().to_bytes())
    path = tmp_path / "m.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="m.data", size_threshold=0)
    assert (tmp_path / "m.data").is_file()
    feeds = {"item": np.ones((2, 64), np.float32)}
    expected = Session(g.network().to_bytes()).run(feeds)["ctr"]
    np.testing.assert_array_equal(Session(Network.load(path).to_bytes()).run(feeds)["ctr"], expected)
    (tmp_path / "m.data").unlink()
    with pytest.raises(ConfigError, match=r"m\.onnx: its external data cannot be read"):
        Network.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.onnx: there is no such file"):
        Network.load(tmp_path / "none.onnx")


@pytest.mark.parametrize("keep", [0, 10, 60])
def test_a_truncated_file_is_refused(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model_of({"item": N_BY_4}, {"ctr": N_BY_4}).SerializeToString()[:keep])
    with pytest.raises(ConfigError, match=r"m\.onnx: (this is not an ONNX file, or it is truncated|the ONNX checker)"):
        Network.load(path)


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"PK\x03\x04 this is a zip file")
    with pytest.raises(ConfigError, match="this is not an ONNX file"):
        Network.load(path)


def test_a_graph_that_the_checker_refuses_is_refused() -> None:
    with pytest.raises(ConfigError, match="the ONNX checker refuses the graph"):
        load(model_of({"item": N_BY_4}, {"ctr": N_BY_4}, op="NoSuchOp"))


def test_a_graph_without_inputs_is_refused() -> None:
    weight = numpy_helper.from_array(np.ones((1, 4), np.float32), "item")
    model = model_of({}, {"ctr": [1, 4]})
    model.graph.initializer.append(weight)
    with pytest.raises(ConfigError, match=r"m\.onnx: the graph has no inputs"):
        load(model)


def test_a_fixed_batch_is_refused_with_a_hint_how_to_export() -> None:
    with pytest.raises(ConfigError, match=r"input 'item': axis 0 has the fixed size 1.*dynamic_shapes"):
        load(model_of({"item": [1, 4]}, {"ctr": [1, 4]}))


def test_an_input_without_axes_is_refused() -> None:
    with pytest.raises(ConfigError, match="input 'item': has no axes"):
        load(model_of({"item": []}, {"ctr": []}))


def test_an_unsupported_dtype_is_refused() -> None:
    with pytest.raises(ConfigError, match="tensor 'item': has the unsupported dtype string"):
        load(model_of({"item": N_BY_4}, {"ctr": N_BY_4}, dtype=TensorProto.STRING))


def test_an_input_that_is_no_tensor_is_refused() -> None:
    element = helper.make_tensor_type_proto(TensorProto.FLOAT, ["N"])
    value = helper.make_value_info("item", helper.make_sequence_type_proto(element))
    out = helper.make_tensor_value_info("ctr", TensorProto.INT64, [])
    graph = helper.make_graph([helper.make_node("SequenceLength", ["item"], ["ctr"])], "g", [value], [out])
    with pytest.raises(ConfigError, match="tensor 'item': is not a tensor"):
        load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))
