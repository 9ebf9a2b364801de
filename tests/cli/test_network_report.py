"""`recserve explain network` on a graph whose sides are given on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from recserve.cli import main
from recserve.cli.network_report import print_unhandled


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 4]) for n in ("user", "item")]
    out = helper.make_tensor_value_info("ctr", TensorProto.FLOAT, ["N", 1])
    weight = numpy_helper.from_array(np.ones((8, 1), np.float32), "w")
    nodes = [
        helper.make_node("Concat", ["user", "item"], ["both"], axis=1),
        helper.make_node("MatMul", ["both", "w"], ["ctr"]),
    ]
    proto = helper.make_graph(nodes, "g", inputs, [out], [weight])
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path / "network.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["explain", "network", *map(str, arguments)])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


SIDES = ("--side", "user=user", "--side", "item=item")


def test_operations_bytes_floor_and_passes_are_printed(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = run(capsys, graph, *SIDES)
    assert code == 0
    assert "Floor: " in text
    assert "Dearest nodes at candidate rate" in text
    assert "split_affine" in text


def test_the_report_is_json_on_demand(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = run(capsys, graph, *SIDES, "--json", "--candidates", 100)
    network = json.loads(text)["network"]
    assert code == 0
    assert network["floor"]["candidates"] == 100
    assert network["passes"]["split_affine"] == 1
    assert network["flops"]["candidate"] == 1


def test_what_is_stored_is_told_with_its_figures(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = run(capsys, graph, *SIDES, "--max-payload-bytes", 8)
    assert code == 0
    assert "Stored for each item, or computed again for each candidate" in text
    assert "Decided within 8 bytes an item for 100,000 items in fp32" in text
    assert "the least possible is 4 bytes." in text
    assert "before it serves." in text
    _, text, _ = run(capsys, graph, *SIDES, "--json")
    storing = json.loads(text)["network"]["storing"]
    assert storing["options"]["max_payload_bytes_per_item"] is None
    (decision,) = storing["decisions"]
    assert (decision["action"], decision["size_bytes"]) == ("store", 4)
    assert decision["instead_us"] > 0


@pytest.fixture
def opaque_graph(tmp_path: Path) -> Path:
    """A fused product of the user's row, and a shuffle by positions of the item's."""
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 4]) for n in ("user", "item")]
    out = helper.make_tensor_value_info("ctr", TensorProto.FLOAT, ["N", 4])
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    nodes = [
        helper.make_node("FusedMatMul", ["user", "w"], ["fused"], domain="com.microsoft"),
        helper.make_node("NhwcMaxPool", ["item"], ["pooled"], domain="com.microsoft"),
        helper.make_node("NhwcMaxPool", ["pooled"], ["pooled_again"], domain="com.microsoft"),
        helper.make_node("Add", ["fused", "pooled_again"], ["ctr"]),
    ]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, [out], [weight]), opset_imports=opsets)
    model.ir_version = 9
    path = tmp_path / "opaque.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_nodes_that_stay_whole_are_told_with_their_share_and_what_to_do(
    opaque_graph: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text, _ = run(capsys, opaque_graph, *SIDES, "--json")
    assert code == 0
    told = json.loads(text)["network"]["unhandled"]
    assert [(n["op"], n["name"], n["reads"], n["flops"], n["behind"]) for n in told] == [
        ("NhwcMaxPool", "pooled", "item", None, 1),
        ("NhwcMaxPool", "pooled_again", "item", None, 1),
        ("FusedMatMul", "fused", "request", 32, 1),
    ]
    assert [n["share"] for n in told][:2] == [None, None]
    assert told[2]["share"] == pytest.approx(32 / 32)
    code, text, _ = run(capsys, opaque_graph, *SIDES)
    text = " ".join(text.split())
    assert code == 0
    assert "3 nodes stay whole at candidate rate: no rule handles them" in text
    assert "unknown" in text
    assert "100%" in text
    assert (
        "'pooled' (com.microsoft.NhwcMaxPool) stays whole at candidate rate: it is an op of ONNX Runtime's own. "
        "So does 1 more. Save the network before an optimiser fuses its ops, or export it with ONNX's own ops. "
        "It depends on the item alone: or compute it outside, as a feature."
    ) in text


def test_nothing_is_told_where_rules_handle_every_node(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, text, _ = run(capsys, graph, *SIDES)
    assert "stay whole" not in text


def test_a_long_list_of_nodes_is_cut_and_advice_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    node = {"op": "Det", "reads": "candidate", "flops": 5, "share": 0.5, "behind": 0, "behind_flops": 0,
            "why": "'v' (Det) stays whole.", "advice": "Do this."}  # fmt: skip
    print_unhandled([{**node, "name": f"v{k}"} for k in range(14)])
    text = capsys.readouterr().out
    assert "and 2 more (--json lists all)." in text
    assert text.count("Do this.") == 1
    assert "'v' (Det) stays whole. So do 13 more. Do this." in text


def test_the_parts_are_drawn(graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, _ = run(capsys, graph, *SIDES, "--svg", tmp_path / "x.svg")
    assert code == 0
    assert (tmp_path / "x.svg").read_text().startswith("<svg ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--side", "user"), "'user' is not INPUT=SIDE"),
        (("--side", "usr=user"), "the network has no input 'usr'"),
        (("--side", "user=usr"), "'usr' is no side"),
        (("--side", "user=user"), "input 'item' is no feature"),
        ((*SIDES, "--svg", "/nowhere/x.svg"), "cannot be written"),
        ((*SIDES, "--max-payload-bytes", "3"), "needs at least 4 bytes stored for each item"),
        (("--svg", "x.svg"), "a graph without rates cannot be drawn"),
    ],
)
def test_wrong_options_are_told(
    graph: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    code, _, error = run(capsys, graph, *arguments)
    assert code != 0
    assert message in " ".join(error.replace("│", " ").split())
