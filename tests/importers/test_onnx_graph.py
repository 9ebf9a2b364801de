from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from recserve.errors import ConfigError
from recserve.importers import formats
from recserve.importers.onnx_graph import LARGE, convert, hold_to, load_graph, write_graph
from recserve.plain_model import open_plain_model

FLOAT = TensorProto.FLOAT


def make(nodes: list[Any], weights: dict[str, Any] | None = None, **more: Any) -> onnx.ModelProto:
    """A model from x[n, 2] to y."""
    x = helper.make_tensor_value_info("x", FLOAT, ["n", 2])
    y = more.pop("output", None) or helper.make_tensor_value_info("y", FLOAT, None)
    constants = [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(nodes, "g", [x], [y], constants)
    domains = ["", *more.pop("domains", [])]
    opsets = [helper.make_opsetid(domain, 1 if domain else 20) for domain in domains]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, **more)


def line() -> onnx.ModelProto:
    return make([helper.make_node("Mul", ["x", "two"], ["y"])], {"two": np.float32(2)})


def put(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "models" / "m" / "1"
    made.mkdir(parents=True)
    return made


X = np.array([[1, 2], [3, 4]], np.float32)


def test_a_graph_becomes_a_plain_model(tmp_path: Path, folder: Path) -> None:
    report = convert(put(tmp_path / "a.onnx", line()), folder)
    assert (report.elements, report.fields, report.targets) == ({"Mul": 1}, {"x": "float[?, 2]"}, ["y"])
    declared = json.loads((folder / "model.json").read_text())
    assert declared == {"signatures": {"serving_default": {"inputs": {"x": "x"}, "outputs": {"y": "y"}}}}
    np.testing.assert_array_equal(open_plain_model(folder).run("serving_default", {"x": X})["y"], X * 2)


def test_a_directory_with_one_graph_is_that_graph(tmp_path: Path, folder: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    put(source / "a.onnx", line())
    assert convert(source, folder).elements == {"Mul": 1}
    put(source / "b.onnx", line())
    with pytest.raises(ConfigError, match=r"one \.onnx file; here are 'a.onnx', 'b.onnx'"):
        convert(source, folder)


def test_large_weights_stand_in_files_that_graphs_share(tmp_path: Path, folder: Path) -> None:
    table = np.arange(LARGE, dtype=np.float32).reshape(-1, 2)
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "i"], ["y"]),
    ]
    model = make(nodes, {"table": table})
    source = tmp_path / "source.onnx"
    onnx.save_model(model, str(source), save_as_external_data=True, location="weights.bin", size_threshold=0)
    convert(source, folder)
    write_graph(load_graph(source), folder, "other.onnx")
    assert len(list((folder / "weights").iterdir())) == 1
    assert (folder / "model.onnx").stat().st_size < 1000
    np.testing.assert_array_equal(open_plain_model(folder).run("serving_default", {"x": X})["y"], table[X.astype(int)])


def test_a_large_weight_of_typed_fields_is_written_too(tmp_path: Path, folder: Path) -> None:
    values = np.ones((LARGE // 8, 2), np.float32)
    model = make([helper.make_node("MatMul", ["x", "t"], ["y"])])
    model.graph.initializer.append(helper.make_tensor("t", FLOAT, values.T.shape, values.ravel().tolist()))
    convert(put(tmp_path / "a.onnx", model), folder)
    assert (folder / "weights").is_dir()
    assert open_plain_model(folder).run("serving_default", {"x": X})["y"][1, 0] == 7


def test_missing_and_outside_weights_are_refused(tmp_path: Path, folder: Path) -> None:
    table = np.zeros((LARGE, 1), np.float32)
    source = tmp_path / "source.onnx"
    model = make([helper.make_node("Gather", ["table", "x"], ["y"])], {"table": table})
    onnx.save_model(model, str(source), save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ConfigError, match="its weights cannot be read") as caught:
        convert(source, folder)
    assert caught.value.code == "damaged_model"
    model = onnx.load(str(source), load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "../../etc/passwd"
    with pytest.raises(ConfigError, match="its weights cannot be read"):
        convert(put(source, model), folder)


@pytest.mark.parametrize("data", [b"", b"garbage", line().SerializeToString()[:40]])
def test_a_damaged_file_is_told(data: bytes, tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="is no ONNX graph") as caught:
        convert(path, folder)
    assert caught.value.code == "damaged_model"


def test_ops_of_custom_domains_are_named_in_subgraphs_too(tmp_path: Path, folder: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Inner", ["x"], ["z"], "deep", domain="acme")],
        "then",
        [],
        [helper.make_tensor_value_info("z", FLOAT, None)],
    )
    nodes = [
        helper.make_node("If", ["flag"], ["t"], then_branch=inner, else_branch=inner),
        helper.make_node("Outer", ["t"], ["u"], "first", domain="acme"),
        helper.make_node("StringLower", ["u"], ["y"]),
    ]
    model = make(nodes, {"flag": np.array(True)}, domains=["acme"])
    with pytest.raises(ConfigError, match="ops that ONNX lacks") as caught:
        convert(put(tmp_path / "a.onnx", model), folder)
    assert caught.value.problem.endswith(
        "StringLower (1, first at 'y'), acme::Inner (2, first at 'deep'), acme::Outer (1, first at 'first')"
    )
    assert caught.value.code == "unsupported_element"


def test_an_op_that_the_model_defines_itself_is_fine(tmp_path: Path, folder: Path) -> None:
    twice = helper.make_function(
        "acme", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 20)]
    )
    model = make([helper.make_node("Twice", ["x"], ["y"], domain="acme")], domains=["acme"], functions=[twice])
    convert(put(tmp_path / "a.onnx", model), folder)
    np.testing.assert_array_equal(open_plain_model(folder).run("serving_default", {"x": X})["y"], X * 2)


def test_a_graph_that_breaks_the_standard_is_told(tmp_path: Path, folder: Path) -> None:
    model = make([helper.make_node("Mul", ["x", "nowhere"], ["y"])])
    with pytest.raises(ConfigError, match="breaks the standard"):
        convert(put(tmp_path / "a.onnx", model), folder)


def test_a_graph_that_the_engine_refuses_is_told(tmp_path: Path, folder: Path) -> None:
    model = make([helper.make_node("NoSuchOp", ["x"], ["y"], domain="com.microsoft")], domains=["com.microsoft"])
    with pytest.raises(ConfigError, match="cannot load the graph") as caught:
        convert(put(tmp_path / "a.onnx", model), folder)
    assert caught.value.code == "unsupported_element"
    assert str(tmp_path / "a.onnx") in str(caught.value)


def test_outputs_that_are_no_tensors_are_left_out_and_told(tmp_path: Path, folder: Path) -> None:
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None))
    model = make([helper.make_node("SequenceConstruct", ["x"], ["y"])], output=helper.make_value_info("y", kind))
    with pytest.raises(ConfigError, match="no output is a tensor") as caught:
        convert(put(tmp_path / "a.onnx", model), folder)
    assert "zipmap=False" in str(caught.value.hint)
    model.graph.node.append(helper.make_node("Neg", ["x"], ["z"]))
    model.graph.output.append(helper.make_tensor_value_info("z", FLOAT, None))
    report = convert(put(tmp_path / "a.onnx", model), folder)
    assert report.notes == ["Output 'y' is a seq(tensor(float)), not a tensor: it is left out."]
    assert list(open_plain_model(folder).signatures["serving_default"].outputs) == ["z"]


def test_inputs_that_are_no_tensors_are_refused(tmp_path: Path, folder: Path) -> None:
    model = make([helper.make_node("SequenceAt", ["s", "at"], ["y"])], {"at": np.int64(0)})
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None))
    model.graph.input.append(helper.make_value_info("s", kind))
    with pytest.raises(ConfigError, match=r"input 's' is a seq\(tensor\(float\)\); callers send tensors"):
        convert(put(tmp_path / "a.onnx", model), folder)


def test_a_graph_is_held_to_the_frameworks_answers(tmp_path: Path) -> None:
    path = put(tmp_path / "a.onnx", line())
    hold_to(path, {"x": X}, {"y": X * 2}, "model.pt2")
    for wrong in (X * 2 + 0.01, X[0] * 2):
        with pytest.raises(ConfigError, match=r"model.pt2: output 'y' .* differs") as caught:
            hold_to(path, {"x": X}, {"y": wrong}, "model.pt2")
        assert caught.value.code == "differs"


def test_the_format_is_known_by_suffix_content_or_directory(tmp_path: Path) -> None:
    assert formats.guess(put(tmp_path / "a.onnx", line())) == "onnx"
    assert formats.guess(put(tmp_path / "model", line())) == "onnx"
    (tmp_path / "d").mkdir()
    put(tmp_path / "d" / "a.onnx", line())
    assert formats.guess(tmp_path / "d") == "onnx"
