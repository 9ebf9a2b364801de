"""The protobuf form of a bundle's files, brought into the shape of their JSON form.

The messages are few and flat, so a small reader of the wire format does: field numbers and types are the tables below.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Json = dict[str, Any]

_BASIC = {
    0: "unknown", 1: "boolean", 2: "byte", 3: "short", 4: "int", 5: "long", 6: "float", 7: "double",
    100: "string", 101: "byte_string",
}  # fmt: skip
_SHAPES = {0: "scalar", 1: "list", 2: "tensor"}
# What a tensor's bytes hold, big-endian as Java writes them.
_TENSOR_DTYPES = {"boolean": "i1", "byte": "i1", "short": ">i2", "int": ">i4", "long": ">i8", "float": ">f4",
                  "double": ">f8"}  # fmt: skip
_DEPTH_LIMIT = 64


class WireError(ValueError):
    """The bytes are no message of the expected type."""


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise WireError(f"a number at byte {at} has no end")
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of each field of a message: an int for the numeric wire types' bits, bytes for the others.

    Raises:
        WireError: the bytes are cut off or of an unknown wire type.
    """
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        value: int | memoryview
        if kind == 0:
            value, at = _varint(data, at)
        elif kind in (1, 5, 2):
            size = 8 if kind == 1 else 4
            if kind == 2:
                size, at = _varint(data, at)
            if at + size > len(data):
                raise WireError(f"field {number} at byte {at} is cut off")
            value = data[at : at + size]
            at += size
        else:
            raise WireError(f"field {number} at byte {at} has wire type {kind}")
        yield number, value


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _blob(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise WireError("a number where bytes belong")
    return value


def _integer(value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise WireError("bytes where a number belongs")
    return _signed(value)


def _float(value: int | memoryview) -> float:
    return float(struct.unpack("<f", _blob(value))[0])


def _double(value: int | memoryview) -> float:
    return float(struct.unpack("<d", _blob(value))[0])


def _text(value: int | memoryview) -> str:
    return bytes(_blob(value)).decode("utf-8")


def _packed(dtype: str) -> Callable[[int | memoryview], list[Any]]:
    """Reader of a repeated fixed-width field, packed or not."""

    def read(value: int | memoryview) -> list[Any]:
        found: list[Any] = np.frombuffer(_blob(value), dtype=dtype).tolist()
        return found

    return read


def _integers(value: int | memoryview) -> list[int]:
    """Reader of a repeated integer field, packed or not."""
    if isinstance(value, int):
        return [_signed(value)]
    found, at = [], 0
    while at < len(value):
        one, at = _varint(value, at)
        found.append(_signed(one))
    return found


def _tensor_values(base: str, data: bytes) -> list[Any]:
    if base in _TENSOR_DTYPES:
        values: list[Any] = np.frombuffer(data, dtype=_TENSOR_DTYPES[base]).tolist()
        return [value == 1 for value in values] if base == "boolean" else values
    if base == "string":
        found, at = [], 0
        while at < len(data):
            (size,) = struct.unpack_from(">i", data, at)
            found.append(data[at + 4 : at + 4 + size].decode("utf-8"))
            at += 4 + size
        return found
    raise WireError(f"a tensor of {base} cannot be read")


def _dimensions(data: memoryview) -> Json:
    sizes = []
    for number, value in fields(data):
        if number == 1:
            sizes.append({"size": next((_integer(size) for n, size in fields(_blob(value)) if n == 1), 0)})
    return {"dimensions": sizes}


def _tensor(data: memoryview, _: int) -> Json:
    shape: Json = {"dimensions": []}
    base, raw = "unknown", b""
    for number, value in fields(data):
        if number == 1:
            base = _BASIC.get(_integer(value), "unknown")
        elif number == 2:
            shape = _dimensions(_blob(value))
        elif number == 3:
            raw = bytes(_blob(value))
    return {base: _tensor_values(base, raw), "shape": shape}


def _data_shape(data: memoryview) -> Json:
    shape: Json = {"base": "scalar", "isNullable": False}
    for number, value in fields(data):
        if number == 1:
            shape["base"] = _SHAPES.get(_integer(value), "unknown")
        elif number == 2:
            shape["isNullable"] = bool(_integer(value))
        elif number == 3:
            shape["tensorShape"] = _dimensions(_blob(value))
    return shape


def _scalar(data: memoryview, depth: int) -> Json:
    found: Json = {}
    for number, value in fields(data):
        if number == 1:
            found["boolean"] = bool(_integer(value))
        elif number == 2:
            found["string"] = _text(value)
        elif number in (3, 4):
            found["int" if number == 3 else "long"] = _integer(value)
        elif number == 5:
            found["float"] = _float(value)
        elif number == 6:
            found["double"] = _double(value)
        elif number == 8:
            found["tensor"] = _tensor(_blob(value), depth)
        elif number == 9:
            found["basic_type"] = _BASIC.get(_integer(value), "unknown")
        elif number == 10:
            found["data_shape"] = _data_shape(_blob(value))
        elif number == 11:
            found["model"] = model(_blob(value), depth + 1)
    return found


def _list(data: memoryview, depth: int) -> Json:
    found: Json = {"type": "list"}
    for number, value in fields(data):
        key, items = _list_items(number, value, depth)
        found.setdefault(key, []).extend(items)
    return found


def _list_items(number: int, value: int | memoryview, depth: int) -> tuple[str, list[Any]]:
    """The key of a list's field in JSON, and the items that one field adds."""
    if number == 1:
        return "boolean", [bool(item) for item in _integers(value)]
    if number == 2:
        return "string", [_text(value)]
    if number in (3, 4):
        return ("int" if number == 3 else "long"), _integers(value)
    if number == 5:
        return "float", _packed("<f4")(value)
    if number == 6:
        return "double", _packed("<f8")(value)
    if number == 8:
        return "tensor", [_tensor(_blob(value), depth)]
    if number == 9:
        return "basic_type", [_BASIC.get(item, "unknown") for item in _integers(value)]
    if number == 10:
        return "data_shape", [_data_shape(_blob(value))]
    if number == 11:
        return "model", [model(_blob(value), depth + 1)]
    return "byte_string", [bytes(_blob(value))]


def _value(data: memoryview, depth: int) -> Json:
    for number, value in fields(data):
        if number == 1:
            return _scalar(_blob(value), depth)
        if number == 2:
            return _list(_blob(value), depth)
        if number == 3:
            return {**_tensor(_blob(value), depth), "type": "tensor"}
    return {}


def _attributes(data: memoryview, depth: int) -> Json:
    found: Json = {}
    for number, value in fields(data):
        if number != 1:
            continue
        name, content = "", memoryview(b"")
        for part, inner in fields(_blob(value)):
            if part == 1:
                name = _text(inner)
            elif part == 2:
                content = _blob(inner)
        found[name] = _value(content, depth)
    return found


def model(data: memoryview, depth: int = 0) -> Json:
    """A Model message as `{"op": ..., "attributes": ...}`.

    Raises:
        WireError: the bytes are no such message.
    """
    if depth > _DEPTH_LIMIT:
        raise WireError(f"models lie within each other more than {_DEPTH_LIMIT} deep")
    found: Json = {"op": "", "attributes": {}}
    for number, value in fields(data):
        if number == 1:
            found["op"] = _text(value)
        elif number == 2:
            found["attributes"] = _attributes(_blob(value), depth)
    return found


def node(data: memoryview) -> Json:
    """A Node message as `{"name": ..., "shape": {"inputs": [...], "outputs": [...]}}`.

    Raises:
        WireError: the bytes are no such message.
    """
    found: Json = {"name": "", "shape": {"inputs": [], "outputs": []}}
    for number, value in fields(data):
        if number == 1:
            found["name"] = _text(value)
        elif number == 2:
            for side, socket in fields(_blob(value)):
                parts = {part: _text(inner) for part, inner in fields(_blob(socket))}
                place = {"port": parts.get(1, ""), "name": parts.get(2, "")}
                found["shape"]["inputs" if side == 1 else "outputs"].append(place)
    return found


def _split(data: memoryview) -> Json:
    for number, value in fields(data):
        found: Json = {"type": "categorical" if number == 1 else "continuous", "featureIndex": 0}
        if number == 1:
            found.update(isLeft=False, numCategories=0, categories=[])
        else:
            found["threshold"] = 0.0
        for part, inner in fields(_blob(value)):
            if part == 1:
                found["featureIndex"] = _integer(inner)
            elif number == 2 and part == 2:
                found["threshold"] = _double(inner)
            elif part == 2:
                found["isLeft"] = bool(_integer(inner))
            elif part == 3:
                found["numCategories"] = _integer(inner)
            elif part == 4:
                found["categories"] += _packed("<f8")(inner)
        return found
    raise WireError("a node of a tree has no split")


def tree_node(data: memoryview) -> Json:
    """A node of a decision tree, as a line of `tree.json`.

    Raises:
        WireError: the bytes are no such message.
    """
    for number, value in fields(data):
        if number == 1:
            split = next((inner for part, inner in fields(_blob(value)) if part == 1), None)
            if split is None:
                raise WireError("a node of a tree has no split")
            return {"type": "internal", "split": _split(_blob(split))}
        values: list[float] = []
        for part, inner in fields(_blob(value)):
            if part == 1:
                values += _packed("<f8")(inner)
        return {"type": "leaf", "values": values}
    raise WireError("a node of a tree is empty")


def cluster_node(data: memoryview) -> Json:
    """A node of a tree of clusters, as a line of its `tree.json`.

    Raises:
        WireError: the bytes are no such message.
    """
    found: Json = {"index": 0, "norm": 0.0, "values": [], "numChildren": 0}
    for number, value in fields(data):
        if number == 1:
            index = _integer(value) & 0xFFFFFFFF
            found["index"] = index - (1 << 32) if index >= 1 << 31 else index
        elif number == 2:
            found["norm"] = _double(value)
        elif number == 3:
            found["values"] += _packed("<f8")(value)
        elif number == 4:
            found["numChildren"] = _integer(value)
    return found


def records(data: bytes) -> Iterator[memoryview]:
    """The messages of a tree file, each behind its length in four bytes.

    Raises:
        WireError: the last one is cut off.
    """
    view, at = memoryview(data), 0
    while at < len(view):
        if at + 4 > len(view):
            raise WireError(f"the length at byte {at} is cut off")
        (size,) = struct.unpack_from(">i", view, at)
        at += 4
        if size < 0 or at + size > len(view):
            raise WireError(f"the message at byte {at} is cut off")
        yield view[at : at + size]
        at += size
