"""Ops without arguments: constants, cells that always fail, and raw columns, which the program reads itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recserve.scoring.cells import DTYPES, MISSING, Cell, DType, failed, valid
from recserve.scoring.op import define, of_dtype
from recserve.scoring.ops_tables import dtype_of
from recserve.scoring.params import Param

Params = Mapping[str, Any]
_DTYPE = Param("text", choices=DTYPES)


def _check_constant(dtypes: Sequence[DType], params: Params) -> str | None:  # noqa: ARG001
    value, dtype = params["value"], params["dtype"]
    return None if value is None or dtype_of(value) == dtype else f"{value!r} is no {dtype}"


@define(
    "constant",
    "",
    of_dtype,
    params={"value": Param("value", None), "dtype": _DTYPE},
    is_strict=False,
    check=_check_constant,
)
def constant(params: Params) -> Cell:
    """The same cell in each row; missing for None."""
    return valid(params["value"])


@define("failure", "", of_dtype, params={"message": Param("text"), "dtype": _DTYPE}, is_strict=False)
def failure(params: Params) -> Cell:
    """A failure in each row."""
    return failed(params["message"])


def _define_sources() -> None:
    source = {"column": Param("text"), "dtype": Param("text", choices=("number", "boolean", "string"))}
    define("input", "", of_dtype, params=source, is_strict=False)(lambda params: MISSING)  # noqa: ARG005
    define("unparsed", "", "boolean", params=source, is_strict=False)(lambda params: valid(False))  # noqa: ARG005


_define_sources()
