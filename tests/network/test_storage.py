from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from onnx import TensorProto, helper

from recserve.errors import BundleError
from recserve.network.model import Network
from recserve.network.session import Session
from recserve.network.split import SplitNetwork, split_network
from recserve.network.storage import load_split, save_split
from recserve.network.unhandled import Unhandled
from recserve.rates import Rate


@pytest.fixture(scope="module")
def split() -> SplitNetwork:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((4, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Concat", ["user", "item"], ["both"], axis=1),
        helper.make_node("MatMul", ["both", "weights"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["relu"]),
        helper.make_node("ReduceSum", ["relu", "axes"], ["ctr"], keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in ("user", "item")]
    constants = [
        helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.ravel()),
        helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
    ]
    outputs = [helper.make_tensor_value_info("ctr", TensorProto.FLOAT, ["N"])]
    graph = helper.make_graph(nodes, "layer", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return split_network(Network(model, "layer"), {"user": Rate.REQUEST, "item": Rate.ITEM})


def refuse(folder: Path) -> BundleError:
    with pytest.raises(BundleError) as caught:
        load_split(folder)
    assert caught.value.code == "bad_split"
    return caught.value


def test_a_split_comes_back_as_it_was(split: SplitNetwork, tmp_path: Path) -> None:
    save_split(split, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "candidate.onnx",
        "item.onnx",
        "request.onnx",
        "split.json",
    ]
    assert load_split(tmp_path) == split


def test_nodes_that_stay_whole_come_back_and_an_older_split_has_none(split: SplitNetwork, tmp_path: Path) -> None:
    odd = Unhandled("v", "Det", "", "no_rule", Rate.ITEM, None, 2, 30)
    told = replace(split, report=replace(split.report, unhandled=(odd,)))
    save_split(told, tmp_path)
    assert load_split(tmp_path) == told
    document = orjson.loads((tmp_path / "split.json").read_bytes())
    document["report"]["unhandled"][0]["reason"] = "odd"
    (tmp_path / "split.json").write_bytes(orjson.dumps(document))
    assert "'odd' is no reason to stay whole" in str(refuse(tmp_path))
    del document["report"]["unhandled"]
    (tmp_path / "split.json").write_bytes(orjson.dumps(document))
    assert load_split(tmp_path) == split


def test_the_parts_are_models_that_run(split: SplitNetwork, tmp_path: Path) -> None:
    save_split(split, tmp_path)
    loaded = load_split(tmp_path)
    assert loaded.item is not None
    (name,) = loaded.item.inputs
    assert all(
        len(answer) == 3 for answer in Session(loaded.item.model).run({name: np.ones((3, 2), np.float32)}).values()
    )


def test_rates_without_a_part_have_no_file(split: SplitNetwork, tmp_path: Path) -> None:
    import dataclasses

    save_split(dataclasses.replace(split, item=None, request=None), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["candidate.onnx", "split.json"]
    loaded = load_split(tmp_path)
    assert loaded.item is None
    assert loaded.request is None


@pytest.mark.parametrize("name", ["split.json", "candidate.onnx", "item.onnx"])
def test_a_missing_file_is_named(split: SplitNetwork, tmp_path: Path, name: str) -> None:
    save_split(split, tmp_path)
    (tmp_path / name).unlink()
    text = str(refuse(tmp_path))
    assert text.startswith(f"{tmp_path / 'split.json'}: cannot be read: [Errno 2] No such file or directory: ")
    assert text.endswith(f"{name}'")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda document: document.pop("parts"), "parts\n  Field required"),
        (lambda document: document["parts"].pop("candidate"), "'candidate'"),
        (lambda document: document.update(extra=1), "extra\n  Extra inputs are not permitted"),
        (lambda document: document["crossings"].update(x="never"), "'never' is not a valid Rate"),
        (lambda document: document["parts"].update(never=document["parts"]["item"]), "'never' is not a valid Rate"),
        (lambda document: document["report"].update(item_bytes="4"), "item_bytes\n  Input should be a valid integer"),
        (lambda document: document["report"].update(changes=[{"what": "?"}]), "missing 2 required"),
    ],
)
def test_another_document_is_refused(
    split: SplitNetwork, tmp_path: Path, change: Callable[[dict[str, Any]], Any], text: str
) -> None:
    save_split(split, tmp_path)
    path = tmp_path / "split.json"
    document = orjson.loads(path.read_bytes())
    change(document)
    path.write_bytes(orjson.dumps(document))
    assert text in str(refuse(tmp_path))


def test_text_that_is_no_json_is_refused(split: SplitNetwork, tmp_path: Path) -> None:
    save_split(split, tmp_path)
    (tmp_path / "split.json").write_text("{")
    assert str(refuse(tmp_path)).startswith(f"{tmp_path / 'split.json'}: cannot be read: ")
