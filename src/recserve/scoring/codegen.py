"""A graph's ops as instructions for the kernels: slots, and the constants that instructions point to.

What is generated for a program is data. The code that runs it is compiled once for all programs (`kernels`), so that a
model of any size is ready in the time it takes to fill a table.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recserve.dtypes import I64
from recserve.scoring.cells import DType
from recserve.scoring.graph import Graph, Node
from recserve.scoring.kernels import layout as at
from recserve.scoring.pool import Codes


class Constants:
    """Arrays that instructions point to, each kept once. They live as long as this object."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, bytes], npt.NDArray[Any]] = {}

    def array(self, values: npt.NDArray[Any]) -> int:
        """Address of a copy of `values`."""
        key = (values.dtype.str, values.tobytes())
        if key not in self._arrays:
            # One element more, so that an empty constant has an address too.
            copy = np.zeros(values.size + 1, values.dtype)
            copy[: values.size] = values.ravel()
            self._arrays[key] = copy
        return int(self._arrays[key].ctypes.data)


@dataclass
class Context:
    """What an instruction is made in.

    Attributes:
        constants: of the program.
        texts, messages: codes of the program.
        dtypes: of the node's arguments.
        slots: of the node's arguments.
    """

    constants: Constants = field(default_factory=Constants)
    texts: Codes = field(default_factory=Codes)
    messages: Codes = field(default_factory=Codes)
    dtypes: tuple[DType, ...] = ()
    slots: tuple[int, ...] = ()

    def encode(self, value: Any) -> float:
        """What a slot holds for a value of a parameter; NaN for None."""
        if value is None:
            return float("nan")
        return float(self.texts.code(value) if isinstance(value, str) else value)

    def floats(self, values: Sequence[Any]) -> int:
        """Address of the encoded values, float64."""
        return self.constants.array(np.array([self.encode(value) for value in values], np.float64))


Fields = dict[int, int]
Emitter = Callable[[Node, Context], tuple[str, Fields] | None]

EMITTERS: Final[dict[str, Emitter]] = {}
"""{op: what makes its instruction}: (kernel, fields), or None where Python runs it. `emit_*` modules fill it."""


def bits(x: float) -> int:
    """The bits of a float64 as int64."""
    return int(struct.unpack("<q", struct.pack("<d", x))[0])


def emits(*ops: str) -> Callable[[Emitter], Emitter]:
    """Decorator that registers how ops are encoded."""

    def register(emitter: Emitter) -> Emitter:
        for op in ops:
            EMITTERS[op] = emitter
        return emitter

    return register


def instruction(fields: Fields, args: Sequence[int], outs: Sequence[int], constants: Constants) -> I64:
    """int64[INSTRUCTION] of a kernel on these slots; the kernel's address is filled in later."""
    row = np.zeros(at.INSTRUCTION, np.int64)
    row[at.ARGS], row[at.COUNT] = constants.array(np.array(args, np.int64)), len(args)
    row[at.OUTS], row[at.RESULTS] = constants.array(np.array(outs, np.int64)), len(outs)
    for place, slot in zip((at.A, at.B, at.C), args, strict=False):
        row[place] = slot
    row[at.OUT] = outs[0] if outs else 0
    for place, value in fields.items():
        row[place] = value
    return row


@dataclass(frozen=True)
class Slots:
    """Where values stand while a program runs: {value: slot}; a slot is used again once nothing reads its value."""

    of: dict[int, int]
    count: int


def assign_slots(graph: Graph, inputs: Sequence[int]) -> Slots:
    """Slots of all values; the inputs have the first ones.

    Args:
        graph: its nodes are in order.
        inputs: values of raw columns.
    """
    last = {number: len(graph.nodes) for number in (*graph.outputs.values(), *graph.guards)}
    for i, node in enumerate(graph.nodes):
        for number in node.args:
            last.setdefault(number, 0)
            last[number] = max(last[number], i)
    of = {number: slot for slot, number in enumerate(inputs)}
    free: list[int] = []
    count = len(of)
    for i, node in enumerate(graph.nodes):
        for number in node.results:
            if number not in of:
                if not free:
                    free.append(count)
                    count += 1
                of[number] = free.pop()
        # What is freed here is given out from the next op on: no result is written over an argument.
        done = [number for number in {*node.args, *node.results} if last.get(number, 0) <= i]
        free += [of[number] for number in done]
    return Slots(of, count)
