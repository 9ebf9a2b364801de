"""One cell of a column: a value, nothing, or a failure that travels with the row until somebody needs the cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

DType = Literal["number", "boolean", "string", "object"]
"""float64; true or false; text; a tuple that only Python ops make and that only outputs read."""

DTYPES: Final[tuple[DType, ...]] = ("number", "boolean", "string", "object")

VALID: Final = 0
MISSING_STATE: Final = 1
FAILED: Final = 2


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        state: VALID, MISSING_STATE or FAILED.
        value: float, bool, str or tuple where valid; None where missing; the message (str) where failed.
    """

    state: int
    value: Any

    @property
    def is_valid(self) -> bool:
        """Whether it has a value."""
        return self.state == VALID

    @property
    def is_missing(self) -> bool:
        """Whether it has neither a value nor a failure."""
        return self.state == MISSING_STATE

    @property
    def is_failed(self) -> bool:
        """Whether it is a failure."""
        return self.state == FAILED


MISSING: Final = Cell(MISSING_STATE, None)


def valid(value: Any) -> Cell:
    """A cell with a value; missing for None."""
    return MISSING if value is None else Cell(VALID, value)


def failed(message: str) -> Cell:
    """A cell that fails each row that needs it."""
    return Cell(FAILED, message)


class RowFailure(Exception):  # noqa: N818  (no error of the program: one row's answer)
    """Raised by the function of an op: the cell fails with this message."""


def merged(cells: tuple[Cell, ...]) -> Cell | None:
    """What a strict op gives without looking at values: the first failure, else missing; None where all are valid."""
    for cell in cells:
        if cell.is_failed:
            return cell
    return MISSING if any(cell.is_missing for cell in cells) else None
