"""Payloads on their way in and out: checks, and NumPy ragged arrays ↔ value-table rows.

Axes: N items, W floats of a payload row, R ragged parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recserve import memory
from recserve.columns import Ragged, offsets_of
from recserve.dtypes import F32, I64
from recserve.errors import InvariantError
from recserve.store.kernels.write import measure_values
from recserve.store.layout import PayloadLayout
from recserve.store.state import State

RaggedParts = I64 | Mapping[str, Ragged] | None


@dataclass(frozen=True, eq=False)
class Payloads:
    """Payloads of N items as the kernels read them.

    Attributes:
        fixed: float32[N, W], C-contiguous.
        values: int64[R, FIELDS] of `recserve.memory`, row n of each is that of item n.
        sizes: int64[R, 2], elements and token bytes over all items.
        keep: arrays that `values` points into.
    """

    fixed: F32
    values: I64
    sizes: I64
    keep: list[npt.NDArray[Any]]


def read_payloads(layout: PayloadLayout, n_rows: int, fixed: F32 | None, ragged: RaggedParts) -> Payloads:
    """Check payloads and measure them.

    Args:
        layout: of the store.
        n_rows: N.
        fixed: float32[N, W]; None where W is 0.
        ragged: int64[R, FIELDS] in order of the layout, or one Ragged for each ragged part; None where R is 0.

    Raises:
        InvariantError: another shape or dtype, a part missing or unknown, a fixed float or a weight that is not finite.
    """
    rows = _checked_fixed(layout, n_rows, fixed)
    keep: list[npt.NDArray[Any]] = []
    if isinstance(ragged, np.ndarray):
        values = _checked_values(layout, n_rows, ragged)
    else:
        values = _describe_parts(layout, n_rows, ragged or {}, keep)
    sizes = np.zeros((len(layout.ragged), 2), np.int64)
    r, n = measure_values(values, np.array(layout.kinds, np.int64), n_rows, sizes)
    if r >= 0:
        raise InvariantError(f"payload part {layout.ragged[r][0]!r} of row {n} is not finite")
    return Payloads(rows, values, sizes, keep)


def _checked_fixed(layout: PayloadLayout, n_rows: int, fixed: F32 | None) -> F32:
    rows = np.empty((n_rows, 0), np.float32) if fixed is None else fixed
    if rows.dtype != np.float32 or rows.shape != (n_rows, layout.width):
        shape = f"{rows.dtype}{list(rows.shape)}"
        raise InvariantError(f"payload rows are {shape}, expected float32[{n_rows}, {layout.width}]")
    if not np.isfinite(rows).all():
        n, column = (int(i) for i in np.argwhere(~np.isfinite(rows))[0])
        name = next(
            name
            for (name, _), (start, width) in zip(layout.fixed, layout.columns, strict=True)
            if start <= column < start + width
        )
        raise InvariantError(f"payload part {name!r} of row {n} is not finite")
    return np.ascontiguousarray(rows)


def _checked_values(layout: PayloadLayout, n_rows: int, values: I64) -> I64:
    if values.dtype != np.int64 or values.shape != (len(layout.ragged), memory.FIELDS):
        shape = f"{values.dtype}{list(values.shape)}"
        raise InvariantError(f"ragged parts are {shape}, expected int64[{len(layout.ragged)}, {memory.FIELDS}]")
    for (name, kind), value in zip(layout.ragged, values, strict=True):
        if value[memory.STRIDE] and value[memory.ROWS] < n_rows:
            raise InvariantError(f"payload part {name!r} has {value[memory.ROWS]} rows for {n_rows} items")
        if kind == "weighted_ids" and value[memory.COUNT] and not value[memory.WEIGHTS]:
            raise InvariantError(f"payload part {name!r} has no weights")
    return np.ascontiguousarray(values)


def _describe_parts(
    layout: PayloadLayout, n_rows: int, parts: Mapping[str, Ragged], keep: list[npt.NDArray[Any]]
) -> I64:
    names = [name for name, _ in layout.ragged]
    for name in (*names, *parts):
        if name not in parts or name not in names:
            raise InvariantError(f"payload part {name!r} is {'missing' if name in names else 'unknown'}")
    values = np.zeros((len(names), memory.FIELDS), np.int64)
    for value, (name, kind) in zip(values, layout.ragged, strict=True):
        try:
            parts[name].check()
            if len(parts[name]) != n_rows:
                raise InvariantError(f"{len(parts[name])} rows for {n_rows} items")
            _describe_part(value, kind, parts[name], keep)
        except InvariantError as error:
            raise error.at(f"payload part {name!r}") from None
    return values


def _describe_part(value: I64, kind: str, part: Ragged, keep: list[npt.NDArray[Any]]) -> None:
    def address(array: npt.NDArray[Any]) -> int:
        keep.append(array)
        return array.ctypes.data

    value[memory.STARTS] = address(offsets_of(part.lengths))
    value[memory.ENDS] = value[memory.STARTS] + 8
    value[memory.STRIDE] = 1
    value[memory.ROWS] = len(part)
    value[memory.COUNT] = len(part.values)
    if kind == "tokens":
        _describe_tokens(value, part, address)
        return
    dtype = np.dtype(np.float64 if kind == "numbers" else np.int64)
    if part.values.ndim != 1 or (len(part.values) and part.values.dtype != dtype):
        raise InvariantError(f"values are {part.values.dtype}{list(part.values.shape)}, expected {dtype}")
    value[memory.VALUES] = address(np.ascontiguousarray(part.values, dtype))
    if (kind == "weighted_ids") != (part.weights is not None):
        raise InvariantError("has no weights" if part.weights is None else "has weights, but its kind has none")
    if part.weights is not None:
        value[memory.WEIGHTS] = address(np.ascontiguousarray(part.weights, np.float32))


def _describe_tokens(value: I64, part: Ragged, address: Callable[[npt.NDArray[Any]], int]) -> None:
    try:
        tokens = pa.array(part.values.tolist(), pa.large_string())
    except (pa.ArrowException, UnicodeError, TypeError) as error:
        raise InvariantError(f"values are not strings: {error}") from None
    if tokens.null_count:
        raise InvariantError("a token is null")
    _, offsets, data = tokens.buffers()
    empty = not len(tokens)
    value[memory.TOKEN_OFFSETS] = address(np.zeros(1, np.int64) if empty else np.frombuffer(offsets, np.int64))
    has_bytes = data is not None and data.size > 0
    value[memory.VALUES] = address(np.frombuffer(data, np.uint8) if has_bytes else np.empty(0, np.uint8))


def copy_ragged(state: State, starts: I64, ends: I64) -> dict[str, Ragged]:
    """Ragged parts of N items as arrays of their own; for people and tests, not for the path of a request.

    Args:
        state: pinned.
        starts: int64[R, N], first element of each item's part.
        ends: int64[R, N], behind the last.
    """
    parts = {}
    for r, (name, kind) in enumerate(state.layout.ragged):
        heap = state.heaps[r]
        lengths = ends[r] - starts[r]
        picked = np.repeat(starts[r] - offsets_of(lengths)[:-1], lengths) + np.arange(lengths.sum())
        if kind == "tokens" and heap.token_offsets is not None:
            spans = zip(heap.token_offsets[picked].tolist(), heap.token_offsets[picked + 1].tolist(), strict=True)
            texts = [heap.values[start:end].tobytes().decode() for start, end in spans]
            parts[name] = Ragged(np.array(texts, object), lengths)
        else:
            parts[name] = Ragged(heap.values[picked], lengths, None if heap.weights is None else heap.weights[picked])
    return parts
