"""TensorFlow's TensorProto ↔ NumPy.

A tensor comes as `tensor_content` (raw bytes, little-endian, row-major) or in the typed field of its dtype, where fewer
values than elements mean that the last one repeats, and none that all are zero (TensorFlow's rules). Where TensorFlow
goes on silently (values that do not fit the dtype, more values than elements) a call is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import ml_dtypes
import numpy as np
import numpy.typing as npt

from recserve.errors import RequestError
from recserve.wire.element_count import count_elements
from recserve.wire.pool import Message, enum_numbers
from recserve.wire.tensorflow_serving import TensorProto

Array = npt.NDArray[Any]

MAX_FILLED_BYTES: Final = 64 << 20
"""Bytes of a tensor whose elements were not all sent: a short message must not claim gigabytes."""


@dataclass(frozen=True)
class TensorType:
    """A dtype on TensorFlow's wire.

    Attributes:
        name: as `recserve.signatures.DTYPES` has it.
        code: number of `tensorflow.DataType`.
        numpy: dtype of the array; object (of `bytes`) for `string`.
        field: the typed field.
        element: dtype of the field's values, in which they are read.
    """

    name: str
    code: int
    numpy: np.dtype[Any]
    field: str
    element: np.dtype[Any]


def _types() -> tuple[TensorType, ...]:
    rows = (
        ("float32", "DT_FLOAT", "float32", "float_val", "float32"),
        ("float64", "DT_DOUBLE", "float64", "double_val", "float64"),
        ("int32", "DT_INT32", "int32", "int_val", "int32"),
        ("uint8", "DT_UINT8", "uint8", "int_val", "int32"),
        ("int16", "DT_INT16", "int16", "int_val", "int32"),
        ("int8", "DT_INT8", "int8", "int_val", "int32"),
        ("string", "DT_STRING", "object", "string_val", "object"),
        ("complex64", "DT_COMPLEX64", "complex64", "scomplex_val", "float32"),
        ("int64", "DT_INT64", "int64", "int64_val", "int64"),
        ("bool", "DT_BOOL", "bool", "bool_val", "bool"),
        ("bfloat16", "DT_BFLOAT16", ml_dtypes.bfloat16, "half_val", "int32"),
        ("uint16", "DT_UINT16", "uint16", "int_val", "int32"),
        ("complex128", "DT_COMPLEX128", "complex128", "dcomplex_val", "float64"),
        ("float16", "DT_HALF", "float16", "half_val", "int32"),
        ("uint32", "DT_UINT32", "uint32", "uint32_val", "uint32"),
        ("uint64", "DT_UINT64", "uint64", "uint64_val", "uint64"),
    )
    codes = enum_numbers("tensorflow.DataType")
    return tuple(TensorType(n, codes[c], np.dtype(a), field, np.dtype(e)) for n, c, a, field, e in rows)


TYPES: Final = _types()
BY_CODE: Final = {t.code: t for t in TYPES}
BY_NAME: Final = {t.name: t for t in TYPES}
BY_NUMPY: Final = {t.numpy: t for t in TYPES}
CODE_NAMES: Final = {number: name for name, number in enum_numbers("tensorflow.DataType").items()}


def decode_tensor(proto: Message) -> Array:
    """The array of a TensorProto; an object array of `bytes` for strings.

    Raises:
        RequestError: an unknown dtype, an unknown rank, a shape that is negative or too large, content of another size
            than the shape, or values that do not fit the dtype.
    """
    kind = BY_CODE.get(proto.dtype)
    if kind is None:
        name = CODE_NAMES.get(proto.dtype, str(proto.dtype))
        raise RequestError(f"dtype {name} is not supported", code="unsupported_dtype")
    if proto.tensor_shape.unknown_rank:
        raise RequestError("the shape has no known rank", code="invalid_shape", hint="Send the sizes of all axes.")
    shape = [dim.size for dim in proto.tensor_shape.dim]
    count = count_elements(shape)
    if proto.tensor_content:
        flat = _from_content(proto.tensor_content, kind, count, shape)
    else:
        flat = _from_field(getattr(proto, kind.field), kind, count, shape)
    return flat.reshape(shape)


def encode_tensor(array: Array, *, as_content: bool = False, dtype: str | None = None) -> Message:
    """A TensorProto of an array.

    Args:
        array: of a dtype in `TYPES`; of strings an object array of `bytes`, or NumPy's own text and bytes.
        as_content: write `tensor_content`, which costs one copy; strings always go to `string_val`.
        dtype: name of the dtype; that of the array if left out.

    Raises:
        RequestError: the dtype has no counterpart.
    """
    if array.dtype.kind in "US" or dtype == "string":
        array = _as_bytes(array)
    kind = BY_NUMPY.get(array.dtype)
    if kind is None:
        raise RequestError(f"dtype {array.dtype} has no counterpart in TensorFlow", code="unsupported_dtype")
    proto = TensorProto(dtype=kind.code)
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    if kind.name == "string":
        proto.string_val.extend(_as_bytes(array).ravel().tolist())
    elif as_content:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
    else:
        getattr(proto, kind.field).extend(_field_values(array.ravel(), kind).tolist())
    return proto


def _from_content(content: bytes, kind: TensorType, count: int, shape: Sequence[int]) -> Array:
    if kind.name == "string":
        return _strings_of_content(content, count, shape)
    expected = count * kind.numpy.itemsize
    if len(content) != expected:
        raise RequestError(
            f"tensor_content has {len(content)} bytes, but the shape {list(shape)} of {kind.name} takes {expected}",
            code="invalid_tensor",
        )
    return np.frombuffer(content, kind.numpy)


def _from_field(values: Any, kind: TensorType, count: int, shape: Sequence[int]) -> Array:
    parts = 2 if kind.field.endswith("complex_val") else 1
    sent, odd = divmod(len(values), parts)
    if odd or sent > count:
        raise RequestError(
            f"{kind.field} has {len(values)} values, but the shape {list(shape)} takes {count * parts}",
            code="invalid_tensor",
            hint="At most one value an element; the last one repeats.",
        )
    itemsize = kind.numpy.itemsize
    if sent < count and count * itemsize > MAX_FILLED_BYTES:
        raise RequestError(
            f"{sent} values would fill {count} elements",
            code="invalid_tensor",
            hint=f"Send all values of a tensor of more than {MAX_FILLED_BYTES} bytes.",
        )
    if kind.name == "string":
        return _filled_strings(list(values), count)
    if kind.field == "bool_val":
        raw = np.fromiter(values, np.bool_, len(values))
    else:
        raw = np.fromiter(values, kind.element, len(values))
    return _filled(_element_values(raw, kind), count)


def _element_values(raw: Array, kind: TensorType) -> Array:
    """Values of a typed field as elements of the tensor."""
    if kind.field == "half_val":
        return raw.astype(np.uint16).view(kind.numpy)
    if kind.field.endswith("complex_val"):
        return raw.view(kind.numpy)
    if kind.field == "int_val" and kind.name != "int32":
        bounds = np.iinfo(kind.numpy)
        wrong = raw[(raw < bounds.min) | (raw > bounds.max)]
        if len(wrong):
            raise RequestError(f"{wrong[0]} does not fit {kind.name}", code="invalid_tensor")
        return raw.astype(kind.numpy)
    return raw


def _field_values(flat: Array, kind: TensorType) -> Array:
    """Elements of a tensor as values of its typed field; the inverse of `_element_values`."""
    if kind.field == "half_val":
        return np.ascontiguousarray(flat).view(np.uint16)
    if kind.field.endswith("complex_val"):
        return np.ascontiguousarray(flat).view(kind.element)
    return flat


def _filled(values: Array, count: int) -> Array:
    if len(values) == count:
        return values
    full = np.zeros(count, values.dtype)
    if len(values):
        full[: len(values)] = values
        full[len(values) :] = values[-1]
    return full


def _filled_strings(values: list[bytes], count: int) -> Array:
    full = np.empty(count, object)
    full[: len(values)] = values
    full[len(values) :] = values[-1] if values else b""
    return full


def _strings_of_content(content: bytes, count: int, shape: Sequence[int]) -> Array:
    """Strings as TensorFlow packs them: all lengths as varints, then all bytes."""
    if count > len(content):  # each length is a byte or more
        raise RequestError(
            f"tensor_content has {len(content)} bytes, too few for {count} strings of the shape {list(shape)}",
            code="invalid_tensor",
        )
    at = 0
    lengths = []
    for _ in range(count):
        length, at = _varint(content, at)
        lengths.append(length)
    if at + sum(lengths) != len(content):
        raise RequestError(
            f"tensor_content has {len(content)} bytes, but its {count} strings take {at + sum(lengths)}",
            code="invalid_tensor",
        )
    full = np.empty(count, object)
    for i, length in enumerate(lengths):
        full[i] = content[at : at + length]
        at += length
    return full


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """The varint at a place, and the place behind it."""
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(content):
            break
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise RequestError("tensor_content ends inside the length of a string", code="invalid_tensor")


def _as_bytes(array: Array) -> Array:
    """An object array of `bytes`."""
    if array.dtype.kind == "U":
        array = np.char.encode(array, "utf-8")
    return np.array([v.encode() if isinstance(v, str) else bytes(v) for v in array.ravel().tolist()] + [None], object)[
        :-1
    ].reshape(array.shape)
