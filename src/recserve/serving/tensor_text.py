"""Tensors → JSON text, nested as their shapes are; NaN and infinities as the tokens NaN, Infinity and -Infinity."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from recserve.errors import RequestError


def encode_tensor(tensor: NDArray[Any], name: str = "") -> bytes:
    """The JSON text of a tensor: its number, string or truth value, or lists of them.

    Args:
        tensor: of any dtype but complex; an object array holds `bytes`.
        name: of the output, for errors.

    Raises:
        RequestError: bytes that are not UTF-8, or complex numbers.
    """
    match tensor.dtype.kind:
        case "O":
            return _encode_text(tensor, name)
        case "c":
            raise RequestError(f"output '{name}' is {tensor.dtype}, which JSON has no form for")
    if tensor.dtype.itemsize == 2 and tensor.dtype.kind in "fV":
        tensor = tensor.astype(np.float32)
    numbers = np.ascontiguousarray(tensor).reshape(tensor.shape)
    # A scalar goes as a list of one: orjson knows arrays of C's `long long`, and no scalars of it.
    text = orjson.dumps(numbers if tensor.ndim else numbers.reshape(1), option=orjson.OPT_SERIALIZE_NUMPY)
    text = text if tensor.ndim else text[1:-1]
    if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
        return name_odd_numbers(text, numbers)
    return text


def name_odd_numbers(text: bytes, numbers: NDArray[Any]) -> bytes:
    """Put NaN, Infinity or -Infinity for each `null`, which is what orjson writes for them.

    Args:
        text: what orjson wrote for the numbers.
        numbers: in the order of the text.
    """
    odd = numbers[~np.isfinite(numbers)]
    names = np.where(np.isnan(odd), b"NaN", np.where(odd > 0, b"Infinity", b"-Infinity")).tolist()
    pieces = [b""] * (2 * len(names) + 1)
    pieces[::2] = text.split(b"null")
    pieces[1::2] = names
    return b"".join(pieces)


def _encode_text(tensor: NDArray[Any], name: str) -> bytes:
    texts = np.empty(tensor.shape, object)
    try:
        texts.reshape(-1)[:] = list(map(bytes.decode, tensor.ravel().tolist()))
    except UnicodeDecodeError:
        raise RequestError(f"output '{name}' holds bytes that are not UTF-8") from None
    return orjson.dumps(texts.tolist())
