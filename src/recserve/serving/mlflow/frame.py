"""What a scoring body holds: named columns, or one bare tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Frame:
    """Named columns.

    Attributes:
        columns: by name; values as JSON decodes them, or a NumPy array (object for strings, None where one is missing).
        is_table: whether it was sent as a table, whose columns have one value a row; else its tensors are independent.
    """

    columns: Mapping[str, Any]
    is_table: bool


@dataclass(frozen=True)
class BareTensor:
    """Values without a name, for a model with one input.

    Attributes:
        values: nested lists, as JSON decodes them.
    """

    values: Any
