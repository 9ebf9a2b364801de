"""Bundles that are damaged, hostile, or ask for what recserve lacks."""

from __future__ import annotations

import contextlib
from pathlib import Path

import bundle_files as files
import pytest
from bundle_files import Node, assemble, scalar, stump, tensor

from recserve.errors import ConfigError
from recserve.importers import read
from recserve.importers.mleap.stages import STAGES

TREE = Node(
    "decision_tree_regression",
    {"features": "v"},
    {"prediction": "p"},
    {"": {"lines": stump([5.0], [6.0])}},
    num_features=scalar("long", 2),
)
FEATURES, PREDICT = {"features": "v"}, {"prediction": "p"}
GOOD = files.bundle_files(
    {"a": assemble("a"), "n": Node("linear_regression", FEATURES, PREDICT, coefficients=tensor([1.0]), intercept={})}
)


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("bundle.json", b"{", "damaged_model", "bundle.json: the file is no JSON"),
        ("bundle.json", b"[]", "damaged_model", "the file holds list"),
        ("bundle.json", b'{"format": "xml"}', "damaged_model", "'xml' is neither 'json' nor 'protobuf'"),
        ("root/n.node/model.json", None, "damaged_model", "root/n.node/model.json: the bundle has no such file"),
        ("root/n.node/model.json", b'{"op": 3}', "damaged_model", "are no model"),
        (
            "root/n.node/model.json",
            b'{"op": "linear_regresion"}',
            "unsupported_element",
            "op 'linear_regresion' of node 'n'",
        ),
        ("root/n.node/model.json", b'{"op": "linear_regression"}', "invalid_model", "'coefficients' is absent"),
        ("root/n.node/node.json", b'{"name": "n"}', "damaged_model", "the node lacks 'shape'"),
        (
            "root/n.node/node.json",
            b'{"name": "n", "shape": {"inputs": [], "outputs": []}}',
            "unsupported_element",
            "no input port 'features'",
        ),
        (
            "root/model.json",
            b'{"op": "pipeline", "attributes": {"nodes": {"string": [3]}}}',
            "invalid_model",
            "no list of texts",
        ),
    ],
)
def test_damaged_bundles_are_refused_with_the_place(
    name: str, content: bytes | None, code: str, words: str, tmp_path: Path
) -> None:
    broken = {**GOOD, name: content} if content is not None else {k: v for k, v in GOOD.items() if k != name}
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")) as caught:
        read(files.write_folder(tmp_path / "m", broken), format="mleap")
    assert caught.value.code == code
    assert str(tmp_path) in str(caught.value)


def test_messages_that_are_cut_off_are_refused(tmp_path: Path) -> None:
    content = files.bundle_files({"n": TREE}, "protobuf")
    for name in ("root/n.node/model.pb", "root/n.node/tree.pb", "root/node.pb"):
        broken = {**content, name: content[name][:-1]}
        with pytest.raises(ConfigError, match=name.rpartition("/")[2]):
            read(files.write_folder(tmp_path / name.replace("/", "_") / "m", broken))


def test_no_cut_of_a_message_ends_in_another_error(tmp_path: Path) -> None:
    content = files.bundle_files({"n": TREE}, "protobuf")
    folder = files.write_folder(tmp_path / "m", content)
    for name in ("root/n.node/model.pb", "root/n.node/tree.pb", "root/n.node/node.pb"):
        for size in range(len(content[name])):
            (folder / name).write_bytes(content[name][:size])
            with contextlib.suppress(ConfigError):
                read(folder)
        (folder / name).write_bytes(content[name])


def test_zip_files_that_point_outside_or_explode_are_refused(tmp_path: Path) -> None:
    outside = files.write_zip(tmp_path / "a.zip", {**GOOD, "../evil": b"x"})
    with pytest.raises(ConfigError, match="points outside the bundle"):
        read(outside)
    bomb = tmp_path / "b.zip"
    files.write_zip(bomb, {**GOOD, "bomb": b"\0" * 1000})
    data = bytearray(bomb.read_bytes())
    place = data.rfind(b"PK\x01\x02")
    data[place + 24 : place + 28] = (0x7FFFFFFF).to_bytes(4, "little")
    bomb.write_bytes(data)
    with pytest.raises(ConfigError, match=r"unpacks to more than|claim to unpack"):
        read(bomb)
    bomb.write_bytes(bytes(data[:40]))
    with pytest.raises(ConfigError, match="damaged"):
        read(bomb)
    with pytest.raises(ConfigError, match="neither a directory nor a zip file"):
        read(bomb, format="mleap")


def test_ops_that_make_lists_or_call_other_runtimes_are_not_known() -> None:
    lists = {"multinomial_labeler", "lda_local_model_op", "map_entry_selector", "categorical_drilldown", "tensorflow"}
    assert not lists & set(STAGES)
