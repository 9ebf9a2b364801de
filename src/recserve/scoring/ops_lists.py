"""Ops that make lists, which only outputs hold. They run in Python, once for each distinct combination of arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recserve.scoring.cells import Cell, DType, valid
from recserve.scoring.op import define

Params = Mapping[str, Any]


def _check(dtypes: Sequence[DType], params: Params) -> str | None:  # noqa: ARG001
    if len(dtypes) % 2:
        return f"{len(dtypes)} arguments; they come in pairs of a condition and a value"
    wrong = [i for i, dtype in enumerate(dtypes[::2]) if dtype != "boolean"]
    return f"condition {wrong[0]} is no boolean" if wrong else None


@define("list_where", "any*", "object", is_strict=False, check=_check)
def list_where(*cells: Cell) -> Cell:
    """The values whose conditions are true, in order, as a list; a missing value is None in it.

    Arguments: condition, value, condition, value ... A failed condition fails the list, and so does a failed value
    that is taken.
    """
    taken = []
    for condition, value in zip(cells[::2], cells[1::2], strict=True):
        if condition.is_failed:
            return condition
        if condition.is_valid and condition.value:
            if value.is_failed:
                return value
            taken.append(value.value if value.is_valid else None)
    return valid(tuple(taken))
