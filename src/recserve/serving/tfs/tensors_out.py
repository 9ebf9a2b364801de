"""Tensors → the rows (`predictions`) or columns (`outputs`) of an answer.

Texts of values are made and joined array by array; nothing loops over values or rows in Python but what C does for it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any, Final

import numpy as np

from recserve.serving.inference import dtype_name
from recserve.serving.json_tensors.written import write_rows as json_rows
from recserve.serving.tfs.errors import WireError
from recserve.serving.tfs.float_text import float_texts
from recserve.serving.tfs.values import TYPE_NAMES
from recserve.signatures import Tensor

_INTEGERS: Final = ("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")


def write_rows(outputs: Mapping[str, Tensor]) -> bytes:
    """`{"predictions": [...]}`: plain values of the only output, else an object a row.

    Raises:
        WireError: an output is a scalar, they differ in their first size, or a dtype has no JSON.
    """
    rows = -1
    for name, tensor in outputs.items():
        if tensor.ndim == 0:
            raise WireError(f"Tensor name: {name} has no shape information ")
        if rows >= 0 and tensor.shape[0] != rows:
            raise WireError(f"Tensor name: {name} has inconsistent batch size: {tensor.shape[0]} expecting: {rows}")
        rows = tensor.shape[0]
    if rows == 0:
        return b'{"predictions": []}'
    are_objects = len(outputs) > 1
    prefixes = (_key(name, "{" if place == 0 else ", ") if are_objects else b"" for place, name in enumerate(outputs))
    if text := json_rows(dict(zip(prefixes, outputs.values(), strict=True)), are_objects=are_objects):
        return b'{"predictions": [' + text + b"]}"
    if len(outputs) == 1:
        ((name, tensor),) = outputs.items()
        return _encode('{"predictions": ', write_tensor(name, tensor), "}")
    columns = [write_tensor(name, tensor, is_split=True).split("\n") for name, tensor in outputs.items()]
    template = ", ".join(f"{encode_basestring(name).replace('%', '%%')}: %s" for name in outputs)
    return _encode('{"predictions": [', ", ".join(map(f"{{{template}}}".__mod__, zip(*columns, strict=True))), "]}")


def write_columns(outputs: Mapping[str, Tensor]) -> bytes:
    """`{"outputs": ...}`: the value of the only output, else an object.

    Raises:
        WireError: a dtype has no JSON.
    """
    texts = [json_rows({b"": tensor}) if tensor.ndim else None for tensor in outputs.values()]
    parts = [b"[" + text + b"]" for text in texts if text]
    if len(parts) == len(outputs) == 1:
        return b'{"outputs": ' + parts[0] + b"}"
    if len(parts) == len(outputs):
        return b'{"outputs": {' + b", ".join(map(bytes.__add__, map(_key, outputs), parts)) + b"}}"
    if len(outputs) == 1:
        ((name, tensor),) = outputs.items()
        return _encode('{"outputs": ', write_tensor(name, tensor), "}")
    members = ", ".join(f"{encode_basestring(name)}: {write_tensor(name, tensor)}" for name, tensor in outputs.items())
    return _encode('{"outputs": {', members, "}}")


def _key(name: str, before: str = "") -> bytes:
    return f"{before}{encode_basestring(name)}: ".encode("utf-8", "replace")


def write_regressions(values: Tensor) -> bytes:
    """`{"results": [v, ...]}` of float32[rows]."""
    return _encode('{"results": [', ", ".join(float_texts(values)), "]}")


def write_classifications(scores: Tensor, labels: Tensor | None) -> bytes:
    """`{"results": [[[label, score], ...], ...]}` of float32[rows, classes]; labels are empty where there are none."""
    texts = float_texts(scores.ravel())
    names = ['""'] * len(texts) if labels is None else _string_texts(labels.ravel(), is_binary=False)
    pairs = list(map("[%s, %s]".__mod__, zip(names, texts, strict=True)))
    return _encode('{"results": ', _nest(pairs, scores.shape), "}")


def write_tensor(name: str, tensor: Tensor, *, is_split: bool = False) -> str:
    """A tensor as nested lists.

    Args:
        name: of the output; strings of one that ends in `_bytes` are written as base64.
        tensor: of any shape.
        is_split: whether to return the first axis as lines of text in place of a list.

    Raises:
        WireError: the dtype has no JSON.
    """
    dtype = dtype_name(tensor.dtype)
    flat = tensor.ravel()
    if not flat.size:
        texts: list[str] = []
    elif dtype in ("float32", "float64"):
        texts = float_texts(flat)
    elif dtype in _INTEGERS:
        texts = list(map(str, flat.tolist()))
    elif dtype == "bool":
        texts = np.where(flat, "true", "false").tolist()
    elif dtype == "string":
        texts = _string_texts(flat, is_binary=name.endswith("_bytes"))
    else:
        raise WireError(f"Failed to write JSON value for tensor type: {TYPE_NAMES.get(dtype, dtype)}")
    return _nest(texts, tensor.shape, is_split=is_split)


def _nest(texts: list[str], shape: tuple[int, ...], *, is_split: bool = False) -> str:
    """Texts of values with brackets and commas around them."""
    if not shape:
        return texts[0]
    if 0 in shape:
        return _nest_empty(shape, is_split)
    depth = len(shape)
    outer = 1 if is_split else 0
    if depth == 1:
        return "\n".join(texts) if is_split else f"[{', '.join(texts)}]"
    # Before value i, as many lists end and begin anew as trailing sizes multiply to a divisor of i.
    places = np.arange(1, len(texts))
    levels = np.zeros(len(places), np.intp)
    block = 1
    for size in reversed(shape[1:]):
        block *= size
        levels += places % block == 0
    separators = [f"{']' * n}, {'[' * n}" for n in range(depth)]
    if is_split:
        separators[depth - 1] = f"{']' * (depth - 1)}\n{'[' * (depth - 1)}"
    parts = [""] * (2 * len(texts) - 1)
    parts[0::2] = texts
    parts[1::2] = np.array(separators, object)[levels].tolist()
    return f"{'[' * (depth - outer)}{''.join(parts)}{']' * (depth - outer)}"


def _nest_empty(shape: tuple[int, ...], is_split: bool) -> str:
    """The text of a tensor without values; lists inside it that are there count."""
    text = "[]"
    for size in reversed(shape[1 if is_split else 0 : shape.index(0)]):
        text = f"[{', '.join([text] * size)}]"
    return "\n".join([text] * shape[0]) if is_split else text


def _string_texts(flat: Tensor, *, is_binary: bool) -> list[str]:
    values: list[bytes] = flat.tolist()
    if is_binary:
        return [f'{{"b64": "{base64.b64encode(value).decode()}"}}' for value in values]
    try:
        decoded = list(map(bytes.decode, values))
    except UnicodeDecodeError:
        decoded = [value.decode("utf-8", "replace") for value in values]
    return list(map(encode_basestring, decoded))


def _encode(*parts: Any) -> bytes:
    return "".join(parts).encode("utf-8", "replace")
