"""The graph of a bundle: nodes with their op, attributes and ports, from `root` on.

Only what a pipeline names is read: other nodes that lie in the bundle are no part of the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from recserve.errors import ConfigError
from recserve.importers.mleap import messages
from recserve.importers.mleap.archive import Archive
from recserve.importers.mleap.attributes import Attributes
from recserve.importers.pipelines.trees import Leaf, Split, Tree, in_preorder

_DEPTH_LIMIT = 32
_PYTHON_NAME = re.compile(r"_[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")


@dataclass(frozen=True)
class BundleModel:
    """A model of a bundle: what `model.json` says, and the files beside it.

    Attributes:
        op: name of the op.
        attributes: of the model.
        folder: of its files, ending with a slash.
        bundle: that it lies in.
    """

    op: str
    attributes: Attributes
    folder: str
    bundle: Bundle

    def unsupported(self, problem: str) -> ConfigError:
        """The error for a model that recserve cannot take."""
        return ConfigError(problem, code="unsupported_element", where=self.attributes.where)

    def child(self, name: str) -> BundleModel:
        """A model in a folder of this one, such as a tree of a forest."""
        return self.bundle.model(f"{self.folder}{name}/")

    def tree(self) -> Tree:
        """The decision tree beside the model."""
        return in_preorder([_tree_node(line, self) for line in self.bundle.tree_lines(self.folder, is_cluster=False)])


@dataclass(frozen=True)
class BundleNode:
    """A stage: a model with its ports.

    Attributes:
        name: of the node.
        model: of the node.
        inputs: port → column.
        outputs: port → column.
    """

    name: str
    model: BundleModel
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


class Bundle:
    """An open bundle.

    Attributes:
        archive: with its files.
        is_protobuf: whether nodes and models are messages, not JSON.
        is_python: whether mleap's Python package wrote it, whose matrices lie row by row.
    """

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.is_protobuf = False
        self.is_python = False
        info = self._json("bundle.json")
        form = info.get("format", "json")
        if form not in {"json", "protobuf"}:
            raise archive.damaged("bundle.json", f"format {form!r} is neither 'json' nor 'protobuf'")
        self.is_protobuf = form == "protobuf"
        self.is_python = _PYTHON_NAME.search(str(info.get("name", ""))) is not None
        self.version = str(info.get("version", ""))

    def _json(self, name: str) -> dict[str, Any]:
        try:
            content = json.loads(self.archive.read(name))
        except (ValueError, RecursionError) as error:
            raise self.archive.damaged(name, f"the file is no JSON: {error}") from error
        if not isinstance(content, dict):
            raise self.archive.damaged(name, f"the file holds {type(content).__name__}, not an object")
        return content

    def _content(self, folder: str, kind: str) -> dict[str, Any]:
        """`model` or `node` of a folder, in JSON's shape."""
        if not self.is_protobuf:
            return self._json(f"{folder}{kind}.json")
        name = f"{folder}{kind}.pb" if f"{folder}{kind}.pb" in self.archive.names else f"{folder}{kind}.json"
        reader = messages.model if kind == "model" else messages.node
        try:
            return reader(memoryview(self.archive.read(name)))
        except (ValueError, RecursionError) as error:
            raise self.archive.damaged(name, f"the file is no {kind} message: {error}") from error

    def model(self, folder: str) -> BundleModel:
        """The model in a folder.

        Raises:
            ConfigError: "damaged_model" where its file is absent or broken.
        """
        content = self._content(folder, "model")
        op, attributes = content.get("op"), content.get("attributes") or {}
        if not isinstance(op, str) or not isinstance(attributes, dict):
            raise self.archive.damaged(f"{folder}model", f"op {op!r} and its attributes are no model")
        where = f"{self.archive.path}, {folder}model, op {op!r}"
        return BundleModel(op, Attributes(where, attributes, row_major=self.is_python), folder, self)

    def node(self, folder: str) -> BundleNode:
        """The node in a folder, with its model."""
        content = self._content(folder, "node")
        try:
            shape = content["shape"]
            sockets = [{s["port"]: s["name"] for s in shape.get(side, [])} for side in ("inputs", "outputs")]
            name = str(content["name"])
        except (KeyError, TypeError, AttributeError) as error:
            raise self.archive.damaged(f"{folder}node", f"the node lacks {error}") from error
        return BundleNode(name, self.model(folder), *sockets)

    def walk(self, folder: str = "root/", depth: int = 0) -> Iterator[BundleNode]:
        """The stages in the order in which they run, without the pipelines that hold them."""
        if depth > _DEPTH_LIMIT:
            raise self.archive.damaged(folder, f"pipelines lie within each other more than {_DEPTH_LIMIT} deep")
        node = self.node(folder)
        if node.model.op != "pipeline":
            yield node
            return
        for name in node.model.attributes.texts("nodes"):
            yield from self.walk(f"{folder}{name}.node/", depth + 1)

    def tree_lines(self, folder: str, *, is_cluster: bool) -> list[dict[str, Any]]:
        """The nodes of the tree file of a folder, in JSON's shape."""
        name = f"{folder}tree.{'pb' if self.is_protobuf else 'json'}"
        content = self.archive.read(name)
        try:
            if self.is_protobuf:
                reader = messages.cluster_node if is_cluster else messages.tree_node
                return [reader(record) for record in messages.records(content)]
            lines = [json.loads(line) for line in content.splitlines() if line.strip()]
        except (ValueError, RecursionError) as error:
            raise self.archive.damaged(name, f"the tree cannot be read: {error}") from error
        return lines


def _tree_node(line: dict[str, Any], model: BundleModel) -> Split | Leaf:
    try:
        if line["type"] == "leaf":
            return Leaf(tuple(float(value) for value in line["values"]))
        split = line["split"]
        feature = int(split["featureIndex"])
        if split["type"] == "continuous":
            return Split(feature, float(split["threshold"]), None, -1, -1)
        categories = tuple(float(category) for category in split["categories"])
        is_left = bool(split["isLeft"])
        # A value that is none of the categories, and so a missing one, goes the other way.
        if is_left:
            return Split(feature, 0.0, categories, -1, -1)
        return Split(feature, 0.0, categories, -1, -1, missing_yes=True, test="not_in")
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"a node of the tree is {str(line)[:100]}: {error!r}", code="damaged_model", where=model.attributes.where
        ) from error
