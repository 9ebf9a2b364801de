"""Programs as bytes: a JSON header, then arrays, then a digest of both. No pickle; everything is checked on load.

| part   | content                                                                                          |
|--------|--------------------------------------------------------------------------------------------------|
| magic  | `RSCORE01`                                                                                       |
| sizes  | two little-endian uint64: bytes of the header, bytes of the arrays                               |
| header | nodes (op, arguments, parameters), outputs, guards, and the arrays' dtypes, shapes and offsets    |
| arrays | each begins at a multiple of 8                                                                   |
| digest | SHA-256 of all before                                                                            |

Nodes go through the same checks as those of an importer, so that a file with a right digest and wrong content gives an
error too, never a program that reads what is not its own.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from recserve.errors import BundleError, ConfigError
from recserve.scoring.graph import Graph, Value

MAGIC: Final = b"RSCORE01"
_SIZES: Final = struct.Struct("<QQ")
_DIGEST_BYTES: Final = 32
_ARRAY: Final = "$array"
_DTYPES: Final = ("float64", "int64")
_MALFORMED: Final = (
    *(KeyError, TypeError, ValueError, IndexError, AttributeError),
    *(RecursionError, MemoryError, OverflowError),
)


def to_bytes(graph: Graph) -> bytes:
    """A graph as bytes."""
    blobs: list[bytes] = []
    arrays: list[dict[str, Any]] = []
    size = 0

    def encode(value: Any) -> Any:
        nonlocal size
        if not isinstance(value, np.ndarray):
            return value
        blob = value.astype(value.dtype.newbyteorder("<")).tobytes()
        arrays.append({"dtype": value.dtype.name, "shape": list(value.shape), "offset": size})
        padding = -len(blob) % 8
        blobs.append(blob + bytes(padding))
        size += len(blob) + padding
        return {_ARRAY: len(arrays) - 1}

    nodes = [
        [node.op, list(node.args), {name: encode(value) for name, value in node.params.items()}] for node in graph.nodes
    ]
    content = {"nodes": nodes, "outputs": graph.outputs, "guards": graph.guards, "arrays": arrays}
    header = json.dumps(content, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    body = b"".join([MAGIC, _SIZES.pack(len(header), size), header, *blobs])
    return body + hashlib.sha256(body).digest()


def from_bytes(data: bytes) -> Graph:
    """The graph that `to_bytes` wrote.

    Raises:
        BundleError: the bytes are cut off, changed, of another version, or describe no graph.
    """
    header, arrays = _take_apart(data)
    try:
        return _graph(header, _read_arrays(header["arrays"], arrays))
    except BundleError:
        raise
    except ConfigError as error:
        raise BundleError(f"the stored program is wrong: {error}") from None
    except _MALFORMED as error:
        raise BundleError(f"the stored program is malformed: {type(error).__name__}: {error}") from None


def _take_apart(data: bytes) -> tuple[dict[str, Any], memoryview]:
    """The header and the bytes of the arrays."""
    start = len(MAGIC) + _SIZES.size
    if data[: len(MAGIC)] != MAGIC:
        raise BundleError(
            f"a stored program begins with {MAGIC!r}, not {bytes(data[: len(MAGIC)])!r}",
            hint="It was not written by this version of recserve",
        )
    if len(data) < start + _DIGEST_BYTES:
        raise BundleError(f"the stored program is cut off: it has {len(data)} bytes")
    header_size, array_size = _SIZES.unpack_from(data, len(MAGIC))
    wanted = start + header_size + array_size + _DIGEST_BYTES
    if len(data) != wanted:
        raise BundleError(f"the stored program has {len(data)} bytes, not the {wanted} that it states")
    if hashlib.sha256(data[:-_DIGEST_BYTES]).digest() != data[-_DIGEST_BYTES:]:
        raise BundleError("the stored program was changed: its digest does not match")
    try:
        header = json.loads(data[start : start + header_size])
    except (ValueError, RecursionError) as error:
        raise BundleError(f"the header of the stored program is no JSON: {error}") from None
    if not isinstance(header, dict):
        raise BundleError("the header of the stored program is no object")
    return header, memoryview(data)[start + header_size : -_DIGEST_BYTES]


def _read_arrays(described: Sequence[Mapping[str, Any]], blob: memoryview) -> list[np.ndarray[Any, Any]]:
    found = []
    for i, entry in enumerate(described):
        dtype, shape, offset = entry["dtype"], entry["shape"], entry["offset"]
        if dtype not in _DTYPES or not all(type(n) is int and n >= 0 for n in (*shape, offset)):
            raise BundleError(f"array {i} of the stored program is described as {dict(entry)!r}")
        count = 1
        for n in shape:
            count *= n
        if offset % 8 or offset + 8 * count > len(blob):
            raise BundleError(f"array {i} of the stored program reaches beyond its end")
        array = np.frombuffer(blob, np.dtype(dtype).newbyteorder("<"), count, offset)
        found.append(array.astype(dtype).reshape(shape))
    return found


def _graph(header: Mapping[str, Any], arrays: Sequence[np.ndarray[Any, Any]]) -> Graph:
    graph = Graph()
    values: list[Value] = []

    def value_at(number: Any) -> Value:
        if type(number) is not int or not 0 <= number < len(values):
            raise BundleError(f"the stored program names value {number!r} of {len(values)}")
        return values[number]

    for op, args, params in header["nodes"]:
        decoded = {name: _decode(value, arrays) for name, value in params.items()}
        values += graph.apply_many(op, [value_at(number) for number in args], **decoded)
    for name, number in header["outputs"].items():
        graph.output(name, value_at(number))
    for number in header["guards"]:
        graph.guard(value_at(number))
    if not graph.outputs:
        raise BundleError("the stored program has no output")
    return graph


def _decode(value: Any, arrays: Sequence[np.ndarray[Any, Any]]) -> Any:
    if not isinstance(value, dict):
        return value
    number = value[_ARRAY]
    if type(number) is not int or not 0 <= number < len(arrays):
        raise BundleError(f"the stored program names array {number!r} of {len(arrays)}")
    return arrays[number]
