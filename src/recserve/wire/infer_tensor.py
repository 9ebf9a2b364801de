"""Tensors of the Open Inference Protocol ↔ NumPy.

Raw tensors are little-endian and row-major; a string (`BYTES`) is 4 bytes of length and its bytes. Typed contents hold
one value an element; FP16 and BF16 have no typed form.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

import ml_dtypes
import numpy as np
import numpy.typing as npt

from recserve.errors import RequestError, suggest
from recserve.wire.element_count import count_elements
from recserve.wire.open_inference import InferTensorContents
from recserve.wire.pool import Message

Array = npt.NDArray[Any]

BYTES: Final = "BYTES"
NUMPY: Final[dict[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    BYTES: np.dtype(object),
}
"""Datatype → dtype of the array."""
DATATYPES: Final = {dtype: name for name, dtype in NUMPY.items()}

_FIELDS: Final = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
_LENGTH: Final = struct.Struct("<I")


def datatype_of(dtype: np.dtype[Any]) -> str:
    """The datatype of a NumPy dtype; `BYTES` for objects, text and bytes.

    Raises:
        RequestError: it has none (complex numbers, dates).
    """
    if dtype.kind in "USO":
        return BYTES
    if dtype not in DATATYPES:
        raise RequestError(f"dtype {dtype} has no datatype", code="unsupported_dtype")
    return DATATYPES[dtype]


def decode_raw(raw: bytes, datatype: str, shape: Sequence[int]) -> Array:
    """The array of a raw tensor; read-only, except for `BYTES`, which gives an object array of `bytes`.

    Raises:
        RequestError: an unknown datatype, a bad shape, or bytes that do not fit the shape.
    """
    dtype = _dtype(datatype)
    count = count_elements(shape)
    if datatype == BYTES:
        return split_bytes(raw, count).reshape(shape)
    if len(raw) != count * dtype.itemsize:
        raise RequestError(
            f"{len(raw)} bytes for a shape {list(shape)} of {datatype}, which takes {count * dtype.itemsize}",
            code="invalid_tensor",
        )
    array = np.frombuffer(raw, dtype)
    if datatype == "BOOL" and array.view(np.uint8).max(initial=0) > 1:
        array = array.view(np.uint8) != 0
    return array.reshape(shape)


def encode_raw(array: Array) -> bytes:
    """The raw bytes of an array of any dtype that `datatype_of` knows."""
    if array.dtype.kind in "USO":
        return join_bytes(array)
    return np.ascontiguousarray(array).tobytes()


def split_bytes(raw: bytes, count: int) -> Array:
    """object[count] of `bytes`, from strings that each follow their length.

    Raises:
        RequestError: other than `count` strings, or a length that leads beyond the end.
    """
    if count > len(raw) // 4:
        raise RequestError(f"{len(raw)} bytes are too few for {count} strings", code="invalid_tensor")
    strings = np.empty(count, object)
    at = 0
    for i in range(count):
        begin = at + 4
        end = begin + _LENGTH.unpack_from(raw, at)[0] if begin <= len(raw) else begin
        if end > len(raw):
            raise RequestError(f"string {i} of {count} ends behind the {len(raw)} bytes", code="invalid_tensor")
        strings[i] = raw[begin:end]
        at = end
    if at != len(raw):
        raise RequestError(f"{count} strings take {at} bytes of {len(raw)}", code="invalid_tensor")
    return strings


def join_bytes(array: Array) -> bytes:
    """Each string behind its length; text as UTF-8."""
    parts: list[bytes] = []
    for value in array.ravel().tolist():
        text = value.encode() if isinstance(value, str) else bytes(value)
        parts += (_LENGTH.pack(len(text)), text)
    return b"".join(parts)


def decode_contents(contents: Message, datatype: str, shape: Sequence[int]) -> Array:
    """The array of typed contents.

    Raises:
        RequestError: an unknown datatype or one without a typed form, a bad shape, values in another field, another
            number of them than the shape has elements, or a value that does not fit the datatype.
    """
    dtype = _dtype(datatype)
    field = _FIELDS.get(datatype)
    if field is None:
        raise RequestError(f"{datatype} has no typed contents", code="invalid_tensor", hint="Send raw_input_contents.")
    count = count_elements(shape)
    for other, _ in contents.ListFields():
        if other.name != field:
            raise RequestError(f"{other.name} is set, but {datatype} comes in {field}", code="invalid_tensor")
    values = getattr(contents, field)
    if len(values) != count:
        raise RequestError(
            f"{len(values)} values in {field} for a shape {list(shape)} of {count} elements", code="invalid_tensor"
        )
    if datatype == BYTES:
        strings = np.empty(count, object)
        strings[:] = list(values)
        return strings.reshape(shape)
    wide = np.int32 if field == "int_contents" else np.uint32 if field == "uint_contents" else dtype
    return _narrowed(np.fromiter(values, wide, count), dtype).reshape(shape)


def encode_contents(array: Array) -> Message:
    """Typed contents of an array.

    Raises:
        RequestError: the dtype has no typed form.
    """
    datatype = datatype_of(array.dtype)
    field = _FIELDS.get(datatype)
    if field is None:
        raise RequestError(f"{datatype} has no typed contents", code="invalid_tensor", hint="Send it raw.")
    values = array.ravel().tolist()
    if datatype == BYTES:
        values = [v.encode() if isinstance(v, str) else bytes(v) for v in values]
    return InferTensorContents(**{field: values})


def _narrowed(values: Array, dtype: np.dtype[Any]) -> Array:
    if values.dtype == dtype:
        return values
    bounds = np.iinfo(dtype)
    wrong = values[(values < bounds.min) | (values > bounds.max)]
    if len(wrong):
        raise RequestError(f"{wrong[0]} does not fit {DATATYPES[dtype]}", code="invalid_tensor")
    return values.astype(dtype)


def _dtype(datatype: str) -> np.dtype[Any]:
    dtype = NUMPY.get(datatype)
    if dtype is None:
        raise RequestError(
            f"there is no datatype {datatype[:40]!r}",
            code="unsupported_dtype",
            hint=suggest(datatype[:40], NUMPY) or f"Datatypes: {', '.join(NUMPY)}.",
        )
    return dtype
