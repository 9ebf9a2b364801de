"""Evaluation rates: how often a step of the pipeline runs.

A step has the rarest rate that is correct. Two one-sided values of different sides meet at the candidate rate.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final


class Rate(enum.Enum):
    """How often a step runs (see DESIGN: rates)."""

    CONSTANT = "constant"
    """Once per model version: depends on weights and config only."""
    ITEM = "item"
    """Once per item version: depends on item columns."""
    REQUEST = "request"
    """Once per request: depends on user and context columns."""
    CANDIDATE = "candidate"
    """Once per candidate of a request: depends on both, or on per-candidate context."""


SIDE_RATES: Final[dict[str, Rate]] = {
    "user": Rate.REQUEST,
    "context": Rate.REQUEST,
    "item": Rate.ITEM,
    "candidate": Rate.CANDIDATE,
    "const": Rate.CONSTANT,
}
"""The rate at which the raw columns of a side change."""


def join(rates: Iterable[Rate]) -> Rate:
    """The rarest rate at which something that depends on all of `rates` can run. No rates: constant."""
    distinct = set(rates) - {Rate.CONSTANT}
    if not distinct:
        return Rate.CONSTANT
    return distinct.pop() if len(distinct) == 1 else Rate.CANDIDATE
