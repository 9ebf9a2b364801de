"""Ops without arguments: constants and cells that always fail. `input` and `unparsed` are read by the program itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recserve.scoring.cells import DTYPES, Cell, DType, failed, valid
from recserve.scoring.op import define
from recserve.scoring.ops_tables import dtype_of
from recserve.scoring.params import Param

Params = Mapping[str, Any]
_DTYPE = Param("text", choices=DTYPES)


def _of_dtype(dtypes: Sequence[DType], params: Params) -> tuple[DType, ...]:  # noqa: ARG001
    dtype: DType = params["dtype"]
    return (dtype,)


def _check_constant(dtypes: Sequence[DType], params: Params) -> str | None:  # noqa: ARG001
    value, dtype = params["value"], params["dtype"]
    return None if value is None or dtype_of(value) == dtype else f"{value!r} is no {dtype}"


@define(
    "constant",
    "",
    _of_dtype,
    params={"value": Param("value", None), "dtype": _DTYPE},
    is_strict=False,
    check=_check_constant,
)
def constant(params: Params) -> Cell:
    """The same cell in each row; missing for None."""
    return valid(params["value"])


@define("failure", "", _of_dtype, params={"message": Param("text"), "dtype": _DTYPE}, is_strict=False)
def failure(params: Params) -> Cell:
    """A failure in each row."""
    return failed(params["message"])


_INPUT_DTYPE = Param("text", choices=("number", "boolean", "string"))


@define("input", "", _of_dtype, params={"column": Param("text"), "dtype": _INPUT_DTYPE}, is_strict=False)
def read_input(params: Params, cell: Cell = Cell(1, None)) -> Cell:  # noqa: B008  (an immutable cell)
    """The cell of a raw column, parsed; the program hands it in."""
    return cell


@define(
    "unparsed",
    "",
    lambda dtypes, params: ("boolean",),
    params={"column": Param("text"), "dtype": _INPUT_DTYPE},
    is_strict=False,
)
def unparsed(params: Params, cell: Cell = Cell(0, False)) -> Cell:  # noqa: B008  (an immutable cell)
    """Whether the raw cell was there and is none of its dtype; the program hands it in."""
    return cell
