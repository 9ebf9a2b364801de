"""Rows (`instances`) and columns (`inputs`) of a predict request → tensors.

The usual request is plain lists of numbers or texts: NumPy reads those whole. What it does not read as the very same
tensor goes through the exact, slow way, which also has the words for what is wrong.
"""

from __future__ import annotations

import base64
import binascii
import re
from array import array as array_of
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final

import numpy as np
import orjson

from recserve.serving.json_tensors.lift import Block
from recserve.serving.overload.turn import current_turn
from recserve.serving.tfs.documents import Document, LiftedDocument
from recserve.serving.tfs.errors import WireError
from recserve.serving.tfs.values import TYPE_NAMES, json_type, show
from recserve.signatures import Tensor, TensorSpec, numpy_dtype

MAX_RANK: Final = 64
"""Dimensions that an array of NumPy has."""

_INT32: Final = (-(1 << 31), (1 << 31) - 1)
_RANGES: Final = {
    **dict.fromkeys(("int8", "int16", "int32", "uint8"), _INT32),
    "int64": (-(1 << 63), (1 << 63) - 1),
    "uint32": (0, (1 << 32) - 1),
    "uint64": (0, (1 << 64) - 1),
}
"""Integers that a dtype takes; the smaller ones wrap around."""

_FLOATS: Final = ("float32", "float64")
_FEW: Final = 64
_CHUNK: Final = 256
"""Rows that are looked at together where not all are read fast."""
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")


def read_inputs(document: Document, specs: Mapping[str, TensorSpec]) -> tuple[dict[str, Tensor], bool]:
    """The tensors of a predict request.

    Args:
        document: of the request.
        specs: inputs of the signature, by name; at least one.

    Returns:
        Tensor by input name, and whether the request has the form of rows.

    Raises:
        WireError: neither or both forms, or values that do not fit the inputs.
    """
    members = document.members
    if "instances" in members and "inputs" in members:
        raise _malformed(
            members, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        )
    if "instances" in members:
        rows = members["instances"]
        if not isinstance(rows, list):
            raise _malformed(members, "Expecting 'instances' to be an list/array")
        if not rows:
            raise _malformed(members, "No values in 'instances' array")
        return _read_rows(rows, specs, document.has_literals), True
    if "inputs" in members:
        return _read_columns(members["inputs"], specs, document.has_literals), False
    raise WireError("Missing 'inputs' or 'instances' key")


def take_inputs(document: LiftedDocument, specs: Mapping[str, TensorSpec]) -> tuple[dict[str, Tensor], bool] | None:
    """What `read_inputs` returns for the body of the document; None where only that can tell, or has to refuse."""
    members = document.members
    if ("instances" in members) == ("inputs" in members):
        return None
    are_rows = "instances" in members
    value = members["instances" if are_rows else "inputs"]
    if isinstance(value, Block):
        if not are_rows if value.is_table else len(specs) > 1:
            return None
        columns: Mapping[str, Any] = value.columns if value.is_table else dict.fromkeys(specs, value.columns[""])
    elif isinstance(value, dict):
        columns = {name: part for name, part in value.items() if name in specs}
    else:
        return None
    if not {name for name, spec in specs.items() if not spec.is_optional} <= columns.keys() <= specs.keys():
        return None
    tensors: dict[str, Tensor] = {}
    for name, column in columns.items():
        tensor = _take_tensor(column, specs[name], document.has_literals)
        if tensor is None:
            return None
        tensors[name] = tensor
    return tensors, are_rows


def _take_tensor(column: Any, spec: TensorSpec, has_literals: bool) -> Tensor | None:
    """The tensor of a block, of its array, or of the plain values of a short list; None where it is none."""
    if isinstance(column, Block):
        return None if column.is_table else _numbers_as(column.columns[""], spec.dtype)
    if isinstance(column, np.ndarray):
        return _numbers_as(column, spec.dtype)
    try:
        return _tensor(column, spec, has_literals)
    except WireError:
        return None


def _malformed(members: dict[str, Any], problem: str) -> WireError:
    return WireError(f"JSON Value: {show(members)} {problem}")


def check_time() -> None:
    """Go on only while somebody waits: what is read exactly takes long, and others wait for this thread.

    Raises:
        CallCancelledError, DeadlineExceededError: nobody does.
    """
    turn = current_turn()
    if turn is not None:
        turn.check()


# --- Columns ------------------------------------------------------------------------------------------------------


def _read_columns(value: Any, specs: Mapping[str, TensorSpec], has_literals: bool) -> dict[str, Tensor]:
    if not _is_named(value):
        if len(specs) > 1:
            raise WireError(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        return {name: _tensor(value, spec, has_literals) for name, spec in specs.items()}
    tensors: dict[str, Tensor] = {}
    for name, spec in specs.items():
        if name in value:
            tensors[name] = _tensor(value[name], spec, has_literals)
        elif not spec.is_optional:
            raise WireError(f"Missing named input: {name} in 'inputs' object.")
    return tensors


# --- Rows ---------------------------------------------------------------------------------------------------------


def _read_rows(rows: list[Any], specs: Mapping[str, TensorSpec], has_literals: bool) -> dict[str, Tensor]:
    if not isinstance(rows[0], dict) and len(specs) > 1:
        raise WireError(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    are_named = _is_named(rows[0])
    columns = _named_columns(rows, specs) if are_named else {next(iter(specs)): rows}
    is_odd = len(rows) > _CHUNK and not _is_read_fast(rows[:_CHUNK], specs, are_named)
    if columns is not None and not is_odd:
        tensors = {name: fast_tensor(column, specs[name].dtype, has_literals) for name, column in columns.items()}
        if all(tensor is not None and tensor.ndim for tensor in tensors.values()):
            return {name: tensor for name, tensor in tensors.items() if tensor is not None}
    for first in range(0, len(rows) if len(rows) > _CHUNK else 0, _CHUNK):
        # Only to find the first wrong row without reading all before it exactly, which takes long.
        check_time()
        begin = max(first, 1)
        chunk = rows[begin : first + _CHUNK]
        if not _is_read_fast([rows[0], *chunk], specs, are_named):
            _read_rows_exactly(chain([(0, rows[0])], enumerate(chunk, begin)), specs, rows[0])
    return _read_rows_exactly(enumerate(rows), specs, rows[0])


def _is_read_fast(rows: list[Any], specs: Mapping[str, TensorSpec], are_named: bool) -> bool:
    """Whether the exact reader has nothing to refuse in these rows, as far as that is quickly told."""
    columns = _named_columns(rows, specs) if are_named else {next(iter(specs)): rows}
    if columns is None:
        return False
    try:
        text = orjson.dumps(rows)
    except (orjson.JSONEncodeError, RecursionError):  # texts that are no UTF-8, deep lists
        return False
    has_literals = b"true" in text or b"false" in text
    tensors = [fast_tensor(column, specs[name].dtype, has_literals) for name, column in columns.items()]
    return all(tensor is not None and tensor.ndim for tensor in tensors)


def _named_columns(rows: list[Any], specs: Mapping[str, TensorSpec]) -> dict[str, list[Any]] | None:
    """Values by input; None where the rows are not all objects with the same, right keys."""
    names = rows[0].keys()
    required = {name for name, spec in specs.items() if not spec.is_optional}
    if not required <= names <= specs.keys() or set(map(type, rows)) != {dict}:
        return None
    if not all(map(names.__eq__, map(dict.keys, rows))):
        return None
    return {name: list(map(itemgetter(name), rows)) for name in names}


def _read_rows_exactly(
    rows: Iterable[tuple[int, Any]], specs: Mapping[str, TensorSpec], first: Any
) -> dict[str, Tensor]:
    parts: dict[str, list[Tensor]] = {}
    are_named = _is_named(first)
    only = next(iter(specs))
    required = {name for name, spec in specs.items() if not spec.is_optional}
    for index, row in rows:
        if index % _CHUNK == 0:
            check_time()
        where = f"Failed to process element: {index}"
        if _is_named(row) != are_named:
            expected, got = ("object", "list") if are_named else ("value/list", "object")
            raise WireError(f"Expecting {expected} but got {got} at item {index} of input list")
        for name, value in row.items() if are_named else ((only, row),):
            key = f" key: {name}" if are_named else ""
            try:
                if name not in specs:
                    raise WireError(f"JSON object: does not have named input: {name}")
                _add_part(parts, name, exact_tensor(value, specs[name].dtype))
            except WireError as error:
                text = f"{where}{key} of 'instances' list. Error: {error.code}: {error.message}"
                raise WireError(text) from None
        if are_named and (not required <= row.keys() or row.keys() != first.keys()):
            names = ",".join(sorted(specs))
            raise WireError(f"{where} of 'instances' list. JSON object: {show(row)} keys must be equal to: {names}")
    return {name: np.stack(tensors) for name, tensors in parts.items()}


def _add_part(parts: dict[str, list[Tensor]], name: str, tensor: Tensor) -> None:
    before = parts.setdefault(name, [])
    if before and before[0].size != tensor.size:
        raise WireError(f"Expecting tensor size: {before[0].size} but got: {tensor.size}")
    if before and before[0].shape != tensor.shape:
        raise WireError(f"Expecting shape {_shape(before[0].shape)} but got: {_shape(tensor.shape)}")
    if tensor.ndim >= MAX_RANK:
        raise WireError(f"Tensors have at most {MAX_RANK} dimensions")
    before.append(tensor)


def _shape(sizes: Sequence[int]) -> str:
    return f"[{','.join(map(str, sizes))}]"


# --- One value ----------------------------------------------------------------------------------------------------


def _tensor(value: Any, spec: TensorSpec, has_literals: bool) -> Tensor:
    tensor = fast_tensor(value, spec.dtype, has_literals)
    return exact_tensor(value, spec.dtype) if tensor is None else tensor


def fast_tensor(value: Any, dtype: str, has_literals: bool) -> Tensor | None:
    """What `exact_tensor` would read; None where NumPy cannot tell.

    Args:
        value: as the reader of the document gave it.
        dtype: of the input.
        has_literals: whether there may be a `true` or `false` inside, which NumPy takes for a number among numbers.
    """
    if dtype == "float32" and type(value) is list and len(value) <= _FEW and set(map(type, value)) == {float}:
        return np.frombuffer(array_of("f", value), np.float32)  # as NumPy does it, at a third of the time
    try:
        array = np.array(value, object) if dtype == "string" else np.array(value)
    except (ValueError, OverflowError):
        return None
    kind = array.dtype.kind
    if dtype == "string":
        return _fast_strings(array)
    if dtype == "bool":
        return array if kind == "b" else None if array.size else array.astype(np.bool_)
    return None if has_literals else _numbers_as(array, dtype)


def _numbers_as(array: Tensor | None, dtype: str) -> Tensor | None:
    """Numbers of any type as those of a dtype; None where one of them is not such a number."""
    if array is None or (kind := array.dtype.kind) not in "fiu":
        return None
    if dtype in _FLOATS:
        with np.errstate(over="ignore", under="ignore"):
            return _packed(array.astype(np.float64, copy=False).astype(numpy_dtype(dtype), copy=False))
    if dtype not in _RANGES:
        return None
    if not array.size:
        return array.astype(numpy_dtype(dtype))
    least, most = _RANGES[dtype]
    if kind == "f" or int(array.min()) < least or int(array.max()) > most:
        return None
    return _packed(array.astype(numpy_dtype(dtype), copy=False))


def _packed(array: Tensor) -> Tensor:
    return array if array.flags.c_contiguous else array.copy()


def _fast_strings(array: Tensor) -> Tensor | None:
    """Texts and `{"b64": "..."}` as bytes; None where something else is among them."""
    flat = array.ravel().tolist()
    kinds = set(map(type, flat))
    if not kinds <= {str, dict}:
        return None
    try:
        array.reshape(-1)[:] = [
            decode_base64(entry) if isinstance(entry, dict) else entry.encode("utf-8", "surrogateescape")
            for entry in flat
        ]
    except (UnicodeEncodeError, WireError):
        return None
    return array


def exact_tensor(value: Any, dtype: str) -> Tensor:
    """The tensor of nested lists, of one type and regular shape.

    Raises:
        WireError: it is neither, or has more dimensions than an array.
    """
    shape: list[int] = []
    inner = value
    while isinstance(inner, list):
        shape.append(len(inner))
        if not inner:
            break
        inner = inner[0]
    leaves = list(_leaves(value, shape, dtype))
    if len(shape) > MAX_RANK:
        raise WireError(f"Tensors have at most {MAX_RANK} dimensions")
    array = np.empty(len(leaves), object)
    array[:] = leaves
    if dtype in _RANGES:
        array = array.astype(np.uint64 if dtype == "uint64" else np.int64)
    with np.errstate(over="ignore", under="ignore"):
        return array.astype(numpy_dtype(dtype)).reshape(shape)


def _leaves(value: Any, shape: list[int], dtype: str) -> Iterator[Any]:
    """Values of a nested list in order; nesting costs no recursion."""
    stack: list[Iterator[Any]] = [iter((value,))]
    while stack:
        level = len(stack) - 1
        entry = next(stack[-1], _END)
        if entry is _END:
            stack.pop()
        elif not isinstance(entry, list):
            if level != len(shape):
                raise WireError(
                    f"JSON Value: {show(entry)} found at incorrect level: {level + 1} in the JSON DOM. "
                    f"Expected at level: {len(shape)}"
                )
            yield _leaf(entry, dtype)
        elif level >= len(shape):
            raise WireError(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
        elif len(entry) != shape[level]:
            raise WireError(
                f"Encountered list at unexpected size: {len(entry)} at level: {level} expected size: {shape[level]}"
            )
        else:
            stack.append(iter(entry))


_END: Final = object()


def _leaf(value: Any, dtype: str) -> Any:
    if isinstance(value, dict):
        if dtype == "string":
            return decode_base64(value)
        raise _type_error(value, dtype)
    kind = type(value)
    if dtype in _FLOATS and kind in (int, float):
        return float(value)
    if dtype in _RANGES and kind is int and _RANGES[dtype][0] <= value <= _RANGES[dtype][1]:
        return value
    if dtype == "string" and kind is str:
        return value.encode("utf-8", "surrogateescape")
    if dtype == "bool" and kind is bool:
        return value
    if dtype in _FLOATS or dtype in _RANGES or dtype in ("string", "bool"):
        raise _type_error(value, dtype)
    raise WireError(f"Conversion of JSON Value: {show(value)} to type: {TYPE_NAMES[dtype]}", "UNIMPLEMENTED")


def _type_error(value: Any, dtype: str) -> WireError:
    shown = f"JSON Value: {show(value)} Type: {json_type(value)}"
    return WireError(f"{shown} is not of expected type: {TYPE_NAMES[dtype]}")


# --- Base64 -------------------------------------------------------------------------------------------------------


def is_base64(value: Any) -> bool:
    """Whether a value is `{"b64": "..."}` and nothing else."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def decode_base64(value: dict[str, Any]) -> bytes:
    """The bytes of `{"b64": "..."}`; padding may be left out.

    Raises:
        WireError: it has another form, or is no base64.
    """
    if not is_base64(value):
        raise WireError(f"JSON Value: {show(value)} not formatted correctly for base64 data")
    text = "".join(value["b64"].split())
    if not _BASE64.fullmatch(text) or len(bare := text.rstrip("=")) % 4 == 1:
        raise WireError("Unable to base64 decode")
    try:
        return base64.b64decode(bare.replace("-", "+").replace("_", "/") + "=" * (-len(bare) % 4), validate=True)
    except binascii.Error:
        raise WireError("Unable to base64 decode") from None
