"""Tensors ↔ TensorFlow Serving's JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from recserve.client.failures import not_understood
from recserve.client.results import Array


def write_json(document: Any) -> bytes:
    """JSON of a document with NumPy arrays in it; bytes become `{"b64": ...}`, and NaN and infinities their tokens."""
    if _is_plain(document):
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS, default=_plain)
    return json.dumps(document, default=_plain, separators=(",", ":")).encode()


def read_json(body: bytes, where: str) -> Any:
    """A document, with TensorFlow Serving's tokens NaN, Infinity and -Infinity.

    Raises:
        CallFailedError: it is no JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            return json.loads(body)
        except ValueError as error:
            raise not_understood(where, f"the answer is no JSON: {error}") from None


def to_array(value: Any) -> Array:
    """The array of nested lists: float32, int64, bool, or objects (`str`, and `bytes` of `{"b64": ...}`)."""
    decoded = _undo_base64(value) if _holds_objects(value) else value
    array = np.asarray(decoded)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    return array.astype(object) if array.dtype.kind in "USO" else array


def _is_plain(document: Any) -> bool:
    """Whether orjson writes the document right: it writes null for what is not finite."""
    if isinstance(document, Mapping):
        return all(map(_is_plain, document.values()))
    if isinstance(document, np.ndarray):
        return document.dtype.kind not in "fV" or bool(np.isfinite(document).all())
    if isinstance(document, list | tuple):
        return all(map(_is_plain, document))
    return not isinstance(document, float) or bool(np.isfinite(document))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "S":
            value = value.astype(object)
        if value.dtype.itemsize == 2 and value.dtype.kind in "fV":  # float16 and bfloat16
            value = value.astype(np.float32)
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    raise TypeError(f"{type(value).__name__} is no JSON")


def _holds_objects(value: Any) -> bool:
    while isinstance(value, list) and value:
        value = value[0]
    return isinstance(value, dict)


def _undo_base64(value: Any) -> Any:
    """The same nested lists with `{"b64": ...}` decoded, in an object array so that no zero byte is lost."""
    if isinstance(value, dict):
        return base64.b64decode(value.get("b64", ""))
    decoded = list(map(_undo_base64, value)) if isinstance(value, list) else value
    if isinstance(decoded, list) and decoded and isinstance(decoded[0], bytes):
        row = np.empty(len(decoded), object)
        row[:] = decoded
        return row
    return decoded
