"""Ops that look at the state of cells: missing values, failures, branches, three-valued logic. None is strict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recserve.scoring.cells import MISSING, Cell, failed, valid
from recserve.scoring.op import define, same_as_first
from recserve.scoring.params import Param

Params = Mapping[str, Any]


@define("is_missing", "any", "boolean", is_strict=False)
def is_missing(x: Cell) -> Cell:
    """Whether a cell is missing; a failure stays one."""
    return x if x.is_failed else valid(x.is_missing)


@define("is_known", "any", "boolean", is_strict=False)
def is_known(x: Cell) -> Cell:
    """Whether a cell has a value; a failure stays one."""
    return x if x.is_failed else valid(x.is_valid)


@define("is_failed", "any", "boolean", is_strict=False)
def is_failed(x: Cell) -> Cell:
    """Whether a cell is a failure."""
    return valid(x.is_failed)


@define("replace_missing", "T T", "T", is_strict=False)
def replace_missing(x: Cell, default: Cell) -> Cell:
    """The first where it is not missing, else the second."""
    return default if x.is_missing else x


@define("replace_failed", "T T", "T", is_strict=False)
def replace_failed(x: Cell, default: Cell) -> Cell:
    """The first where it is no failure, else the second."""
    return default if x.is_failed else x


@define("mark_missing", "any boolean", same_as_first, is_strict=False)
def mark_missing(x: Cell, condition: Cell) -> Cell:
    """Missing where the condition is true, else the first. A missing condition is false; a failed one fails."""
    if condition.is_failed:
        return condition
    return MISSING if condition.is_valid and condition.value else x


@define("fail", "any boolean", same_as_first, params={"message": Param("text")}, is_strict=False)
def fail(params: Params, x: Cell, condition: Cell) -> Cell:
    """A failure where the condition is true, else the first. A missing condition is false; a failed one fails."""
    if condition.is_failed:
        return condition
    return failed(params["message"]) if condition.is_valid and condition.value else x


@define("select", "boolean T T", "T", is_strict=False)
def select(condition: Cell, yes: Cell, no: Cell) -> Cell:
    """One branch, whose state alone counts; missing or failed where the condition is."""
    if not condition.is_valid:
        return condition
    return yes if condition.value else no


@define("select_or", "boolean T T T", "T", is_strict=False)
def select_or(condition: Cell, yes: Cell, no: Cell, unknown: Cell) -> Cell:
    """`select` with a third branch for a missing condition."""
    if not condition.is_valid:
        return unknown if condition.is_missing else condition
    return yes if condition.value else no


@define("coalesce", "T T*", "T", is_strict=False)
def coalesce(*cells: Cell) -> Cell:
    """The first cell that is not missing, a failure too."""
    return next((cell for cell in cells if not cell.is_missing), MISSING)


@define("and", "boolean*", "boolean", is_strict=False)
def logical_and(*cells: Cell) -> Cell:
    """Kleene's and, from left to right: the first false or failed cell decides, then missing, else true."""
    for cell in cells:
        if cell.is_failed or (cell.is_valid and not cell.value):
            return cell
    return MISSING if any(cell.is_missing for cell in cells) else valid(True)


@define("or", "boolean*", "boolean", is_strict=False)
def logical_or(*cells: Cell) -> Cell:
    """Kleene's or, from left to right: the first true or failed cell decides, then missing, else false."""
    for cell in cells:
        if cell.is_failed or (cell.is_valid and cell.value):
            return cell
    return MISSING if any(cell.is_missing for cell in cells) else valid(False)


@define("not", "boolean", "boolean")
def logical_not(x: bool) -> bool:
    """Kleene's not."""
    return not x


@define("xor", "boolean boolean", "boolean")
def logical_xor(x: bool, y: bool) -> bool:
    """Kleene's exclusive or."""
    return x != y


@define("first_true", "boolean*", "number", is_strict=False)
def first_true(*cells: Cell) -> Cell:
    """Number (from 0) of the first true cell; missing ones are passed over, a failed one fails; missing where none."""
    for i, cell in enumerate(cells):
        if cell.is_failed:
            return cell
        if cell.is_valid and cell.value:
            return valid(float(i))
    return MISSING


@define("choose", "number T T*", "T", is_strict=False)
def choose(index: Cell, *cells: Cell) -> Cell:
    """The cell of that number (from 0); missing where the number is missing or no cell has it."""
    if not index.is_valid:
        return index
    inside = 0.0 <= index.value < len(cells)
    return cells[int(index.value)] if inside else MISSING


@define("failure_message", "any", "string", is_strict=False)
def failure_message(x: Cell) -> Cell:
    """The message of a failure; missing where the argument is none."""
    return valid(x.value) if x.is_failed else MISSING


@define("fail_with", "any string", same_as_first, is_strict=False)
def fail_with(x: Cell, message: Cell) -> Cell:
    """A failure with the second argument as its message where that is not missing, else the first."""
    if message.is_valid:
        return failed(message.value)
    return message if message.is_failed else x
