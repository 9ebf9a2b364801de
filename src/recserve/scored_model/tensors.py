"""Tensors of the protocols as columns of a program, and its outputs as tensors.

| a field's dtype | tensor  | missing                                                                      |
|-----------------|---------|------------------------------------------------------------------------------|
| float64         | float64 | NaN                                                                          |
| string          | string  | the empty text, unless the model itself names the empty text as a value      |
| bool            | bool    | only by leaving the input out                                                |

An input that is left out is missing in every row. Outputs: numbers as float64 (NaN where missing), all else as text:
labels as they are, `true` and `false`, lists as JSON; the empty text where missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from recserve.errors import RequestError
from recserve.importers.model import Output
from recserve.signatures import Tensor, TensorSpec


def input_specs(inputs: Mapping[str, str]) -> dict[str, TensorSpec]:
    """Specs of a model's inputs: one value a row, all optional."""
    return {name: TensorSpec(name, dtype, (None,), name, is_optional=True) for name, dtype in inputs.items()}


def output_specs(outputs: tuple[Output, ...], error: str | None) -> dict[str, TensorSpec]:
    """Specs of a model's outputs, and of the one that tells why a row has no answer."""
    specs = {}
    for output in outputs:
        shape = (None,) if output.kind == "scalar" else (None, len(output.parts))
        specs[output.name] = TensorSpec(
            output.name, "float64" if output.dtype == "float64" else "string", shape, output.name
        )
    if error is not None:
        specs[error] = TensorSpec(error, "string", (None,), error)
    return specs


def to_columns(inputs: Mapping[str, Tensor], *, keeps_empty: bool) -> tuple[dict[str, Any], int]:
    """Columns for a program, and the number of rows N.

    Args:
        inputs: tensors [N] or [N, 1], by name; at least one.
        keeps_empty: whether the empty text is a value; else it is missing.

    Raises:
        RequestError: no input, another shape, different lengths, or bytes that are no UTF-8.
    """
    if not inputs:
        raise RequestError("no input is given, so the number of rows is unknown", code="no_inputs")
    columns: dict[str, Any] = {}
    rows: int | None = None
    for name, tensor in inputs.items():
        if tensor.ndim == 2 and tensor.shape[1] == 1:
            tensor = tensor[:, 0]  # noqa: PLW2901
        if tensor.ndim != 1:
            raise RequestError(f"has the shape {list(tensor.shape)}, not [rows] or [rows, 1]", where=f"input {name!r}")
        if rows is not None and len(tensor) != rows:
            raise RequestError(f"has {len(tensor)} rows, others have {rows}", where=f"input {name!r}")
        rows = len(tensor)
        columns[name] = _texts(name, tensor, keeps_empty) if tensor.dtype.kind == "O" else tensor
    return columns, rows or 0


def _texts(name: str, tensor: Tensor, keeps_empty: bool) -> list[str | None]:
    cells = tensor.tolist()
    try:
        texts: list[str | None] = list(map(bytes.decode, cells))
    except UnicodeDecodeError:
        raise RequestError("holds bytes that are no UTF-8", where=f"input {name!r}") from None
    if keeps_empty or "" not in texts:
        return texts
    return [text or None for text in texts]


def to_tensor(output: Output, values: Any) -> Tensor:
    """An output of a program as a tensor.

    Args:
        output: what it is.
        values: array [N] or [N, parts]: float64, or objects (str, bool, list or None).
    """
    array = np.asarray(values)
    if output.dtype == "float64":
        return array.astype(np.float64, copy=False)
    return texts_tensor(array.ravel().tolist()).reshape(array.shape)


def texts_tensor(cells: list[Any]) -> Tensor:
    """object[N] of bytes: texts, truths, lists as JSON; empty for None."""
    known: dict[Any, bytes] = {None: b"", True: b"true", False: b"false"}
    tensor = np.empty(len(cells), object)
    tensor[:] = [known[cell] if cell is None or type(cell) is bool else _text(cell) for cell in cells]
    return tensor


def _text(cell: Any) -> bytes:
    return cell.encode() if isinstance(cell, str) else orjson.dumps(cell)
