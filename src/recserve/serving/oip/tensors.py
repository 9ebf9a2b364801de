"""One tensor ↔ the two forms that it has on the wire: JSON `data`, and bytes.

Errors are worded as Triton words them, since clients match on its texts; what Triton answers with 500 is 400 here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from recserve.errors import RequestError
from recserve.serving.json_tensors.lift import Block
from recserve.serving.oip.bytes_tensor import CutOffError, SurplusError, pack_bytes, unpack_bytes
from recserve.serving.oip.datatypes import BINARY_ONLY, DTYPE_OF
from recserve.serving.tensor_text import name_odd_numbers
from recserve.signatures import numpy_dtype

MAX_NESTING: Final = 100
"""Lists within one another that `data` may not reach."""

_INT64_MAX: Final = 2**63 - 1
_ELEMENT_BYTES: Final = 16
"""Of the largest dtype."""

_NUMPY_DTYPE: Final = {datatype: numpy_dtype(dtype) for datatype, dtype in DTYPE_OF.items()}


def count_elements(name: str, shape: Sequence[int]) -> int:
    """The number of elements of a shape.

    Raises:
        RequestError: a size, or their product, is beyond int64.
    """
    count = math.prod(shape)
    # NumPy refuses what would be too large without its axes of size 0 too.
    is_empty_too_large = count == 0 and math.prod(filter(None, shape)) > _INT64_MAX // _ELEMENT_BYTES
    if count <= _INT64_MAX and not is_empty_too_large and max(shape, default=0) <= _INT64_MAX:
        return count
    text = f"invalid shape for input '{name}': shape [{','.join(map(str, shape))}]"
    if max(shape) > _INT64_MAX:
        raise RequestError(f"{text} contains one or more invalid dimensions")
    raise RequestError(f"{text} causes total element count to exceed maximum size of {_INT64_MAX}")


def count_bytes(name: str, datatype: str, elements: int) -> int:
    """The bytes of a tensor of fixed-size elements.

    Raises:
        RequestError: beyond int64.
    """
    size = _NUMPY_DTYPE[datatype].itemsize
    if elements * size > _INT64_MAX:
        raise RequestError(
            f"byte size overflow for input '{name}': element count ({elements}) * data type size ({size}) exceeds "
            f"maximum allowed size ({_INT64_MAX})"
        )
    return elements * size


def parse_json_data(name: str, datatype: str, shape: Sequence[int], data: object, model: str) -> NDArray[Any]:
    """The tensor whose elements JSON lists, flat or nested, in row-major order.

    Raises:
        RequestError: no list, nested too deep, an element of another type or beyond the datatype, or a number of
            elements that the shape does not have; FP16 and BF16, which travel in binary form only.
    """
    if datatype in BINARY_ONLY:
        raise RequestError(
            f"receiving {datatype} data via JSON is not supported. Please use the binary data format for input {name}"
        )
    if datatype not in DTYPE_OF:
        raise RequestError(f"invalid datatype for input {name}")
    elements = count_elements(name, shape)
    if datatype != "BYTES":
        count_bytes(name, datatype, elements)
    if not isinstance(data, list):
        raise RequestError("Unable to parse 'data': attempt to access JSON non-array as array")
    flat, kinds = _flatten([] if elements == 0 else data)
    values = _strings(flat, kinds) if datatype == "BYTES" else _numbers(name, datatype, flat, kinds)
    if len(flat) != elements:
        raise RequestError(_count_problem(name, datatype, elements, len(flat), model))
    return values.reshape(shape)


def read_block(name: str, datatype: str, shape: Sequence[int], block: Block) -> NDArray[Any] | None:
    """What `parse_json_data` reads of the text of a block; None where only that can tell, or has to refuse.

    Raises:
        RequestError: the shape is none.
    """
    dtype = _NUMPY_DTYPE.get(datatype)
    if dtype is None or dtype.kind not in "iuf" or datatype in BINARY_ONLY or block.is_table:
        return None
    numbers = block.columns[""].reshape(-1)
    if numbers.size != count_elements(name, shape):
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore", under="ignore"):
            return numbers.astype(np.float64, copy=False).astype(dtype, copy=False).reshape(shape)
    limits = np.iinfo(dtype)
    if numbers.dtype.kind == "f" or int(numbers.min()) < limits.min or int(numbers.max()) > limits.max:
        return None
    return numbers.astype(dtype, copy=False).reshape(shape)


def _count_problem(name: str, datatype: str, expected: int, got: int, model: str) -> str:
    if datatype == "BYTES":
        return f"expected {expected} string elements for inference input '{name}' for model '{model}', got {got}"
    if got > expected:
        return "Unable to parse 'data': Shape does not match true shape of 'data' field"
    return "Failed to parse 'data' field: shape does not match true shape"


def _flatten(data: list[Any]) -> tuple[list[Any], set[type]]:
    """The elements of nested lists, level by level so that C loops do the work, and their types."""
    for _ in range(MAX_NESTING - 1):
        kinds = set(map(type, data))
        if list not in kinds:
            return data, kinds
        if len(kinds) == 1:
            data = list(chain.from_iterable(data))
        else:  # elements and lists of elements side by side: odd, but Triton takes it
            data = list(chain.from_iterable(item if type(item) is list else (item,) for item in data))
    raise RequestError(f"Unable to parse 'data': JSON nesting depth exceeds maximum allowed limit ({MAX_NESTING})")


def _strings(flat: list[Any], kinds: set[type]) -> NDArray[Any]:
    if kinds - {str}:
        raise RequestError("Unable to parse JSON bytes array: attempt to access JSON non-string as string")
    try:
        encoded = list(map(str.encode, flat))
    except UnicodeEncodeError:
        raise RequestError("Unable to parse JSON bytes array: a string is not valid Unicode") from None
    values = np.empty(len(flat), object)
    values[:] = encoded
    return values


def _numbers(name: str, datatype: str, flat: list[Any], kinds: set[type]) -> NDArray[Any]:
    dtype = _NUMPY_DTYPE[datatype]
    if kinds - _JSON_TYPES[dtype.kind]:
        raise RequestError(f"Unable to parse 'data': {_mismatch(dtype)}")
    try:
        with np.errstate(over="ignore"):  # beyond float32 is infinity
            return np.array(flat, dtype)
    except OverflowError:
        if dtype.kind == "u" and min(flat) < 0:
            raise RequestError(f"Unable to parse 'data': {_mismatch(dtype)}") from None
        raise RequestError(
            f"Unable to parse 'data': a number for input '{name}' is out of range for {datatype}"
        ) from None


_JSON_TYPES: Final[dict[str, set[type]]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}


def _mismatch(dtype: np.dtype[Any]) -> str:
    wanted, read_as = {
        "b": ("boolean", "boolean"),
        "i": ("signed-integer", "signed-integer"),
        "u": ("unsigned-integer", "unsigned-integer"),
        "f": ("number", "double"),
    }[dtype.kind]
    return f"attempt to access JSON non-{wanted} as {read_as}"


def parse_binary(name: str, datatype: str, shape: Sequence[int], packed: memoryview, model: str) -> NDArray[Any]:
    """The tensor of bytes: little-endian, row-major; BYTES as lengths and elements in turn. It may be a view.

    Raises:
        RequestError: the bytes are not those of such a tensor.
    """
    if datatype not in DTYPE_OF:
        raise RequestError(f"invalid datatype for input {name}")
    elements = count_elements(name, shape)
    if datatype == "BYTES":
        return _parse_bytes(name, packed, elements, model).reshape(shape)
    expected = count_bytes(name, datatype, elements)
    if len(packed) != expected:
        raise RequestError(
            f"input byte size mismatch for input '{name}' for model '{model}'. Expected {expected}, got {len(packed)}"
        )
    dtype = _NUMPY_DTYPE[datatype]
    if dtype.kind == "b":  # any byte but 0 is true
        truths: NDArray[Any] = (np.frombuffer(packed, np.uint8) != 0).reshape(shape)
        return truths
    values = np.frombuffer(packed, dtype).reshape(shape)
    aligned: NDArray[Any] = np.require(values, requirements=["A"])  # after JSON, numbers may begin at odd addresses
    return aligned


def _parse_bytes(name: str, packed: memoryview, elements: int, model: str) -> NDArray[Any]:
    place = f"inference input '{name}' for model '{model}'"
    try:
        return unpack_bytes(packed, elements)
    except CutOffError as error:
        raise RequestError(f"expected {elements} string elements for {place}, got {error.element}") from None
    except SurplusError as error:
        raise RequestError(
            f"unexpected number of string elements {elements + 1} for {place}, expecting {elements}: "
            f"{error.surplus_bytes} bytes are left after the last one"
        ) from None


def encode_json_data(name: str, tensor: NDArray[Any]) -> bytes:
    """The elements as one flat JSON list; NaN and infinities as the tokens NaN, Infinity and -Infinity.

    Raises:
        RequestError: FP16 and BF16 numbers; BYTES that are not UTF-8.
    """
    flat = np.ascontiguousarray(tensor).reshape(-1)
    if flat.dtype.kind == "O":
        return _encode_strings(name, flat)
    if flat.dtype.itemsize == 2 and flat.dtype.kind not in "iu":
        datatype = "FP16" if flat.dtype.kind == "f" else "BF16"
        raise RequestError(
            f"sending {datatype} data via JSON is not supported. Please use the binary data format for output {name}"
        )
    text = orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)
    if flat.dtype.kind == "f" and not np.isfinite(flat).all():
        return name_odd_numbers(text, flat)
    return text


def _encode_strings(name: str, flat: NDArray[Any]) -> bytes:
    try:
        return orjson.dumps(list(map(bytes.decode, flat.tolist())))
    except UnicodeDecodeError:
        raise RequestError(
            f"output '{name}' holds bytes that are not UTF-8. Please use the binary data format for output {name}"
        ) from None


def encode_binary(tensor: NDArray[Any]) -> bytes:
    """The bytes of a tensor: little-endian, row-major; BYTES as lengths and elements in turn."""
    if tensor.dtype.kind == "O":
        return pack_bytes(tensor)
    return np.ascontiguousarray(tensor).astype(tensor.dtype.newbyteorder("<"), copy=False).tobytes()
