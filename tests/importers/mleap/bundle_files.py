"""Writes small MLeap bundles, in JSON and in protobuf, from one description."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from recserve.importers import read

Files = dict[str, bytes]
BASIC = {"boolean": 1, "int": 4, "long": 5, "double": 7, "string": 100}


def scalar(kind: str, value: Any) -> dict[str, Any]:
    return {kind: value}


def listed(kind: str, values: list[Any]) -> dict[str, Any]:
    return {kind: values, "type": "list"}


def tensor(values: list[float], *sizes: int) -> dict[str, Any]:
    shape = {"dimensions": [{"size": size, "name": ""} for size in sizes or (len(values),)]}
    return {"double": values, "shape": shape, "type": "tensor"}


def shapes(*sizes: int) -> dict[str, Any]:
    found = [
        {"base": "tensor", "isNullable": False, "tensorShape": {"dimensions": [{"size": size, "name": ""}]}}
        if size > 1
        else {"base": "scalar", "isNullable": False}
        for size in sizes
    ]
    return listed("data_shape", found)


class Node:
    """One node: op, attributes, ports, and trees beside it."""

    def __init__(
        self,
        op: str,
        inputs: dict[str, str],
        outputs: dict[str, str],
        beside: dict[str, Any] | None = None,
        **attributes: Any,
    ) -> None:
        self.op, self.inputs, self.outputs, self.attributes = op, inputs, outputs, attributes
        self.beside = beside or {}


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while True:
        out += bytes([(value & 127) | (128 if value > 127 else 0)])
        value >>= 7
        if not value:
            return out


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def double(number: int, value: float) -> bytes:
    return varint(number << 3 | 1) + struct.pack("<d", value)


def message_shape(shape: dict[str, Any]) -> bytes:
    return b"".join(field(1, field(1, int(size["size"]))) for size in shape["dimensions"])


def message_data_shape(shape: dict[str, Any]) -> bytes:
    out = field(1, {"scalar": 0, "list": 1, "tensor": 2}[shape["base"]]) + field(2, int(shape["isNullable"]))
    return out + (field(3, message_shape(shape["tensorShape"])) if "tensorShape" in shape else b"")


def message_tensor(value: dict[str, Any]) -> bytes:
    data = b"".join(struct.pack(">d", x) for x in value["double"])
    return field(1, 7) + field(2, message_shape(value["shape"])) + field(3, data)


def message_value(value: dict[str, Any]) -> bytes:
    kind = next((key for key in value if key not in {"type", "shape"}), None)
    if value.get("type") == "tensor":
        return field(3, message_tensor(value))
    if value.get("type") == "list":
        out = b""
        for item in value.get(kind, []) if kind else []:
            if kind == "string":
                out += field(2, item.encode())
            elif kind == "tensor":
                out += field(8, message_tensor(item))
            elif kind == "data_shape":
                out += field(10, message_data_shape(item))
        if kind == "double":
            out += field(6, b"".join(struct.pack("<d", x) for x in value[kind]))
        elif kind in {"boolean", "int", "long"}:
            number = {"boolean": 1, "int": 3, "long": 4}[kind]
            out += field(number, b"".join(varint(int(x)) for x in value[kind]))
        return field(2, out)
    if kind is None:
        return field(1, b"")
    one = value[kind]
    if kind == "double":
        return field(1, double(6, one))
    number = {"boolean": 1, "string": 2, "int": 3, "long": 4}[kind]
    return field(1, field(number, one.encode() if isinstance(one, str) else int(one)))


def message_model(op: str, attributes: dict[str, Any]) -> bytes:
    entries = b"".join(field(1, field(1, k.encode()) + field(2, message_value(v))) for k, v in attributes.items())
    return field(1, op.encode()) + field(2, entries)


def message_node(name: str, inputs: dict[str, str], outputs: dict[str, str]) -> bytes:
    sides = b""
    for number, ports in ((1, inputs), (2, outputs)):
        for port, column in ports.items():
            sides += field(number, field(1, port.encode()) + field(2, column.encode()))
    return field(1, name.encode()) + field(2, sides)


def message_tree_line(line: dict[str, Any]) -> bytes:
    if "numChildren" in line:
        out = field(1, line["index"] & 0xFFFFFFFF) + double(2, 0.0) + field(4, line["numChildren"])
        return out + field(3, b"".join(struct.pack("<d", x) for x in line["values"]))
    if line["type"] == "leaf":
        return field(2, field(1, b"".join(struct.pack("<d", x) for x in line["values"])))
    split = line["split"]
    inner = field(1, split["featureIndex"])
    if split["type"] == "continuous":
        return field(1, field(1, field(2, inner + double(2, split["threshold"]))))
    inner += field(2, int(split["isLeft"])) + field(3, split["numCategories"])
    inner += field(4, b"".join(struct.pack("<d", x) for x in split["categories"]))
    return field(1, field(1, field(1, inner)))


def bundle_files(nodes: dict[str, Node], form: str = "json", name: str = "pipeline") -> Files:
    """All files of a bundle, by name."""
    info = {"uid": "u", "name": name, "format": form, "version": "0.25.2", "timestamp": "2026-01-01"}
    files = {"bundle.json": json.dumps(info).encode()}
    root = Node("pipeline", {}, {}, nodes=listed("string", list(nodes)))
    for folder, title, node in [
        ("root/", "root", root),
        *((f"root/{key}.node/", key, node) for key, node in nodes.items()),
    ]:
        write_model(files, folder, node.op, node.attributes, form)
        if form == "json":
            sides = [[{"port": p, "name": c} for p, c in ports.items()] for ports in (node.inputs, node.outputs)]
            content = {"name": title, "shape": {"inputs": sides[0], "outputs": sides[1]}}
            files[f"{folder}node.json"] = json.dumps(content).encode()
        else:
            files[f"{folder}node.pb"] = message_node(title, node.inputs, node.outputs)
        for inner, content in node.beside.items():
            if inner:
                write_model(files, f"{folder}{inner}/", content["op"], content.get("attributes", {}), form)
            if "lines" in content:
                write_tree(files, f"{folder}{inner}/" if inner else folder, content["lines"], form)
    return files


def write_model(files: Files, folder: str, op: str, attributes: dict[str, Any], form: str) -> None:
    if form == "json":
        files[f"{folder}model.json"] = json.dumps({"op": op, "attributes": attributes}).encode()
    else:
        files[f"{folder}model.pb"] = message_model(op, attributes)


def write_tree(files: Files, folder: str, lines: list[dict[str, Any]], form: str) -> None:
    if form == "json":
        files[f"{folder}tree.json"] = "\n".join(json.dumps(line) for line in lines).encode()
    else:
        messages = [message_tree_line(line) for line in lines]
        files[f"{folder}tree.pb"] = b"".join(struct.pack(">i", len(m)) + m for m in messages)


def write_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_folder(path: Path, files: Files) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


LEAF = {"type": "leaf"}


def assemble(*names: str) -> Any:
    inputs = {f"input{i}": name for i, name in enumerate(names)}
    return Node("vector_assembler", inputs, {"output": "v"}, input_shapes=shapes(*[1] * len(names)))


def split(feature: int, threshold: float) -> dict[str, Any]:
    return {"type": "internal", "split": {"type": "continuous", "featureIndex": feature, "threshold": threshold}}


def categorical(feature: int, categories: list[float], is_left: bool) -> dict[str, Any]:
    inner = {"type": "categorical", "featureIndex": feature, "isLeft": is_left, "numCategories": 4}
    return {"type": "internal", "split": {**inner, "categories": categories}}


def stump(low: list[float], high: list[float]) -> list[dict[str, Any]]:
    return [split(0, 1.0), {**LEAF, "values": low}, {**LEAF, "values": high}]


def score(path: Path, nodes: dict[str, Any], form: str, columns: dict[str, list[Any]]) -> Any:
    content = bundle_files(nodes, form)
    model = read(write_zip(path / "m.zip", content) if form == "json" else write_folder(path / "m", content))
    fast, slow = model.score(columns), model.score(columns, reference=True)
    assert fast.errors == slow.errors
    for name, values in fast.outputs.items():
        np.testing.assert_array_equal(np.array(values), np.array(slow.outputs[name]))
    return fast
