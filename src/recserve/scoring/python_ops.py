"""Ops without a kernel, over a block of rows: with NumPy where the op says how, else once a distinct row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recserve.dtypes import F64, I64, U8
from recserve.scoring.cells import FAILED, MISSING, MISSING_STATE, VALID, Cell, DType
from recserve.scoring.graph import Node
from recserve.scoring.op import OPS, Block
from recserve.scoring.pool import Codes
from recserve.scoring.reference import apply_op

Row = tuple[tuple[float, ...], tuple[int, ...]]
"""Results of one row: data and states."""


@dataclass(frozen=True)
class Call:
    """What Python ops keep through one call.

    Attributes:
        texts, messages: codes of the call.
        memo: results of the ops (by first value) for the distinct rows of arguments so far.
    """

    texts: Codes
    messages: Codes
    memo: dict[tuple[int, bytes], Row] = field(default_factory=dict)


class PythonOp:
    """A node that Python runs.

    Args:
        node: of the graph.
        dtypes: of its arguments.
    """

    def __init__(self, node: Node, dtypes: Sequence[DType]) -> None:
        self.node = node
        self.spec = OPS[node.op]
        self.dtypes = tuple(dtypes)
        # Ops on texts alone do no arithmetic that NumPy could warn of; to be quiet costs microseconds.
        self.may_warn = any(dtype in {"number", "boolean"} for dtype in self.dtypes)

    def run(self, xs: F64, states: U8, call: Call) -> tuple[F64, U8]:
        """Results for a block of rows.

        Args:
            xs: float64[arguments, rows].
            states: uint8[arguments, rows].
            call: at hand.

        Returns:
            float64[results, rows] and uint8[results, rows].
        """
        if self.spec.block is not None:
            return self._run_block(self.spec.block, xs, states)
        first, where = _distinct(xs, states)
        results, found = (
            np.empty((len(self.node.dtypes), len(first))),
            np.empty((len(self.node.dtypes), len(first)), np.uint8),
        )
        for i, row in enumerate(first.tolist()):
            key = self.node.first, xs[:, row].tobytes() + states[:, row].tobytes()
            if key not in call.memo:
                call.memo[key] = self.run_row(xs[:, row].tolist(), states[:, row].tolist(), call)
            results[:, i], found[:, i] = call.memo[key]
        return results[:, where], found[:, where]

    def _run_block(self, block: Block, xs: F64, states: U8) -> tuple[F64, U8]:
        count, rows = len(self.node.dtypes), xs.shape[1] if len(xs) else 1
        results, found = np.full((count, rows), np.nan), np.full((count, rows), MISSING_STATE, np.uint8)
        has_failed = (states == FAILED).any(axis=0)
        for row in np.flatnonzero(has_failed):
            results[:, row] = xs[np.argmax(states[:, row] == FAILED), row]
            found[:, row] = FAILED
        chosen = ~has_failed
        if self.spec.is_strict:
            chosen &= (states == VALID).all(axis=0)
        if chosen.any():
            with np.errstate(all="ignore"):
                results[:, chosen], found[:, chosen] = block(self.node.params, xs[:, chosen], states[:, chosen])
        results[found == MISSING_STATE] = np.nan
        return results, found

    def run_row(self, row: Sequence[float], states: Sequence[int], call: Call) -> Row:
        """Results of one row of arguments."""
        given = zip(row, states, self.dtypes, strict=True)
        cells = [decode(x, state, dtype, call) for x, state, dtype in given]
        if self.may_warn:
            with np.errstate(all="ignore"):
                results = apply_op(self.spec, self.node.params, cells, len(self.node.dtypes))
        else:
            results = apply_op(self.spec, self.node.params, cells, len(self.node.dtypes))
        values = tuple(encode(cell, dtype, call) for cell, dtype in zip(results, self.node.dtypes, strict=True))
        return values, tuple(cell.state for cell in results)


def decode(x: float, state: int, dtype: DType, call: Call) -> Cell:
    """A cell of a slot."""
    if state == MISSING_STATE:
        return MISSING
    value: Any = x
    if state == FAILED:
        value = call.messages.text(int(x))
    elif dtype == "boolean":
        value = x != 0.0
    elif dtype != "number":
        value = call.texts.text(int(x))
    return Cell(state, value)


def encode(cell: Cell, dtype: DType, call: Call) -> float:
    """What a slot holds for a cell."""
    if cell.state == MISSING_STATE:
        return float("nan")
    if cell.state == FAILED:
        return float(call.messages.code(cell.value))
    return float(call.texts.code(cell.value) if dtype in {"string", "object"} else cell.value)


def _distinct(xs: F64, states: U8) -> tuple[I64, I64]:
    """First row of each distinct row of arguments, and which of them each row is."""
    count = xs.shape[1]
    if count == 1 or not len(xs):
        return np.zeros(1, np.int64), np.zeros(count, np.int64)
    bits = xs.view(np.int64)
    if len(xs) == 1 and not states.any():
        _, first, where = np.unique(bits[0], return_index=True, return_inverse=True)
    else:
        rows = np.ascontiguousarray(np.concatenate([bits, states.astype(np.int64)]).T)
        keys = rows.view(np.dtype((np.void, rows.shape[1] * 8))).ravel()
        _, first, where = np.unique(keys, return_index=True, return_inverse=True)
    return first, where.ravel()
