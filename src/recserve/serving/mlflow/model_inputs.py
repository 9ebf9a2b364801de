"""Columns or a bare tensor → the inputs of a signature, in its dtypes and shapes.

Nothing is cut off in silence: a number goes into an integer input only if it is whole, and text into no number.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recserve.errors import RequestError
from recserve.serving.mlflow.frame import BareTensor, Frame
from recserve.signatures import Signature, TensorSpec, numpy_dtype


def bind_inputs(signature: Signature, frame: Frame | BareTensor) -> dict[str, NDArray[Any]]:
    """The tensors of a signature's inputs.

    Columns go to the inputs of their names; others are ignored. Where a model has one input and no column has its name,
    all columns together are it, side by side.

    Raises:
        RequestError: an input has no column, or its values do not fit.
    """
    specs = signature.inputs
    only = next(iter(specs.values())) if len(specs) == 1 else None
    if isinstance(frame, BareTensor):
        if only is None:
            names = ", ".join(map(repr, specs))
            raise RequestError(f"the model has the inputs {names}, and values come without a name")
        return {only.name: _fit_rank(only, to_tensor(only, frame.values))}
    missing = [name for name, spec in specs.items() if name not in frame.columns and not spec.is_optional]
    if missing and only is not None and frame.columns:
        return {only.name: _side_by_side(only, frame)}
    if missing:
        given = ", ".join(map(repr, list(frame.columns)[:20])) or "none"
        raise RequestError(f"Model is missing inputs {missing}. Columns given: {given}.")
    return {
        name: _fit_rank(spec, to_tensor(spec, frame.columns[name]))
        for name, spec in specs.items()
        if name in frame.columns
    }


def _side_by_side(spec: TensorSpec, frame: Frame) -> NDArray[Any]:
    """All columns as one tensor [rows, columns]."""
    tensors = [to_tensor(spec, column, name) for name, column in frame.columns.items()]
    if len({tensor.shape for tensor in tensors}) != 1:
        raise RequestError(f"the columns have different shapes, so that they cannot be the input '{spec.name}'")
    stacked = np.stack(tensors, axis=1)
    if spec.shape is not None and len(spec.shape) == 1 and stacked.ndim == 2 and stacked.shape[1] == 1:
        return stacked[:, 0]
    return stacked


def _fit_rank(spec: TensorSpec, tensor: NDArray[Any]) -> NDArray[Any]:
    """A column [rows] for an input [rows, 1]."""
    if spec.shape is not None and len(spec.shape) == tensor.ndim + 1 and spec.shape[-1] in (1, None):
        return tensor[..., np.newaxis]
    return tensor


def to_tensor(spec: TensorSpec, values: Any, name: str = "") -> NDArray[Any]:
    """Values as a tensor of an input's dtype.

    Args:
        spec: of the input.
        values: nested lists of JSON values, one JSON value, or a NumPy array.
        name: of the column, for errors; that of the input if empty.

    Raises:
        RequestError: the lists are ragged, or a value does not fit the dtype.
    """
    place = f"column '{name or spec.name}'"
    if isinstance(values, np.ndarray):
        flat, shape = values, values.shape
        if flat.dtype.kind == "O":
            return _from_values(spec, flat.ravel().tolist(), place).reshape(shape)
        return _from_array(spec, flat, place)
    flat_list, shape = _flatten(values, place)
    return _from_values(spec, flat_list, place).reshape(shape)


def are_integers(values: Any) -> bool:
    """Whether there are values, and all of them are integers, as `to_tensor` takes them; truths are none.

    Raises:
        RequestError: the lists are ragged.
    """
    if isinstance(values, np.ndarray):
        return values.dtype.kind in "iu" and bool(values.size)
    return set(map(type, _flatten(values, "a column")[0])) == {int}


def _flatten(values: Any, place: str) -> tuple[list[Any], tuple[int, ...]]:
    """The scalars of nested lists, level by level so that C loops do the work, and their shape."""
    if not isinstance(values, list):
        return [values], ()
    shape = [len(values)]
    while values:
        kinds = set(map(type, values))
        if list not in kinds:
            break
        lengths = set(map(len, values)) if kinds == {list} else set()
        if len(lengths) != 1 or len(shape) >= _MAX_RANK:
            raise RequestError(f"{place} holds lists of different lengths, or is nested too deep")
        shape.append(lengths.pop())
        values = list(chain.from_iterable(values))
    return values, tuple(shape)


_MAX_RANK = 32


def _from_values(spec: TensorSpec, flat: list[Any], place: str) -> NDArray[Any]:
    """float64 (or the like) first where numbers are missing, then the input's dtype."""
    kinds = set(map(type, flat))
    if spec.dtype == "string":
        return _from_text(flat, kinds, place)
    if odd := kinds - {int, float, bool, type(None)}:
        name = sorted(kind.__name__ for kind in odd)[0]
        raise RequestError(f"{place} holds a value of type {name}, the model takes {spec.dtype}")
    if float in kinds and numpy_dtype(spec.dtype).kind in "iu":
        flat = _whole_numbers(flat)
        kinds = {int} if float not in set(map(type, flat)) else kinds
    has_floats = bool(kinds & {float, type(None)})
    try:
        numbers = np.array(flat, np.float64 if has_floats or not flat else None)
    except OverflowError:
        raise RequestError(f"{place} holds a number that is too large for {spec.dtype}") from None
    if numbers.dtype.kind == "O":
        raise RequestError(f"{place} holds a number that is too large for {spec.dtype}")
    return _from_array(spec, numbers, place)


def _whole_numbers(flat: list[Any]) -> list[Any]:
    """Integers, if each number is whole: on the way through float64, large ones would change. Else the list itself."""
    try:
        whole = list(map(int, flat))
    except (TypeError, ValueError, OverflowError):  # null, NaN, infinity
        return flat
    return whole if whole == flat else flat


def _from_text(flat: list[Any], kinds: set[type], place: str) -> NDArray[Any]:
    if kinds - {str, bytes}:
        raise RequestError(f"{place} holds something else than text, the model takes string")
    tensor = np.empty(len(flat), object)
    try:
        tensor[:] = flat if kinds <= {bytes} else list(map(str.encode, flat))
    except (UnicodeEncodeError, TypeError):
        raise RequestError(f"{place} holds text that is not valid Unicode") from None
    return tensor


def _from_array(spec: TensorSpec, numbers: NDArray[Any], place: str) -> NDArray[Any]:
    """Numbers in the input's dtype, if each of them fits."""
    if spec.dtype == "string" or numbers.dtype.kind not in "biuf":
        raise RequestError(f"{place} holds {numbers.dtype}, the model takes {spec.dtype}")
    dtype = numpy_dtype(spec.dtype)
    if dtype.kind in "fcV" or dtype == numbers.dtype:
        with np.errstate(over="ignore"):
            return numbers.astype(dtype)
    with np.errstate(invalid="ignore"):
        cast = numbers.astype(dtype)
        fits = _within(numbers, dtype) & (cast == numbers)
    if not fits.all():
        raise RequestError(f"{place} holds {numbers[~fits].flat[0]}, which is no {spec.dtype}")
    return cast


def _within(numbers: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[np.bool_]:
    """Where a number lies in an integer dtype's range; for float64 near 2⁶³, casts would wrap."""
    if "b" in (dtype.kind, numbers.dtype.kind):
        return np.ones(numbers.shape, bool)
    limits = np.iinfo(dtype)
    if numbers.dtype.kind == "f":
        return (numbers >= float(limits.min)) & (numbers < float(limits.max) + 1)
    return np.asarray((numbers >= limits.min) & (numbers <= limits.max))
