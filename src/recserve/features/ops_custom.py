"""Ops that call registered functions; see `custom`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recserve.features.custom import Function
from recserve.features.op import Kind, Op, value_field


@dataclass(frozen=True)
class CallForNumbers(Op):
    """The numbers that `function` makes of each row of `sources`; a row where any source is empty stays empty.

    The sources are all TOKENS or all NUMBERS, as the function reads. `parameters` are JSON, its keywords.
    """

    kind: ClassVar[Kind] = Kind.NUMBERS
    function: Function
    sources: tuple[int, ...] = value_field()
    parameters: str = "{}"


@dataclass(frozen=True)
class CallForTokens(Op):
    """The tokens that `function` makes of each row of `sources`; else as CallForNumbers."""

    kind: ClassVar[Kind] = Kind.TOKENS
    function: Function
    sources: tuple[int, ...] = value_field()
    parameters: str = "{}"


@dataclass(frozen=True)
class CallCompiled(Op):
    """The number that the compiled `function` makes of the numbers of each row of `sources`.

    A row where any source is empty, or for which the result is NaN, stays empty.
    """

    kind: ClassVar[Kind] = Kind.NUMBERS
    function: Function
    sources: tuple[int, ...] = value_field()
