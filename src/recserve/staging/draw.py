"""Drawn raw columns: what the proof feeds to both pipelines.

A drawn cell is something that the ops reading its column can take. Most of it comes from one small pool of decimal
numbers, which are tokens, ids and numbers at once, so that keys of maps are hit, vocabularies are known in part, and
combinations repeat. About one cell in eight is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from recserve.features import ops
from recserve.features.graph import PlanGraph
from recserve.features.op import Op

_POOL: Final = 40
_MISSING_SHARE: Final = 0.12
Cell = Any
_Draw = Callable[[np.random.Generator], Cell]


def column_sides(graph: PlanGraph) -> dict[str, str]:
    """{column: side} of all raw columns that the graph reads, in the order of first use."""
    sides: dict[str, str] = {}
    for op in graph.ops:
        column, side = getattr(op, "column", None), getattr(op, "side", None)
        if isinstance(column, str) and isinstance(side, str):
            sides.setdefault(column, side)
    return sides


def draw_columns(graph: PlanGraph, rows: Mapping[str, int], rng: np.random.Generator) -> dict[str, list[Cell]]:
    """Columns for every raw column of the graph.

    Args:
        graph: the feature plan.
        rows: number of rows by side: "user", "context", "item", "candidate".
        rng: source of randomness.
    """
    columns: dict[str, list[Cell]] = {}
    steps: dict[str, list[int]] = {}
    for column, side in column_sides(graph).items():
        draw = _cell_of(graph, column)
        count = rows.get(side, 1)
        splits = [op for op in graph.ops if isinstance(op, ops.SplitSteps) and op.column == column]
        if splits:
            group, _, rest = column.partition("__")
            shared = steps.setdefault(f"{side} {group}" if rest else column, _draw_lengths(count, rng))
            columns[column] = [splits[0].delimiter.join(_as_text(draw(rng)) for _ in range(n)) for n in shared]
        else:
            columns[column] = [None if rng.random() < _MISSING_SHARE else draw(rng) for _ in range(count)]
    return columns


def sample_columns(
    graph: PlanGraph, samples: Mapping[str, Any], rows: Mapping[str, int], rng: np.random.Generator
) -> dict[str, list[Cell]]:
    """Like `draw_columns`, from rows of `samples` (columns of equal length): one row of them for the user and context.

    A column that the samples lack is drawn.
    """
    drawn = draw_columns(graph, rows, rng)
    sizes = {len(samples[name]) for name in drawn if name in samples}
    if not sizes:
        return drawn
    size = min(sizes)
    user_row = rng.integers(size, size=1)
    for column, side in column_sides(graph).items():
        if column in samples:
            picked = user_row if side in ("user", "context") else rng.integers(size, size=rows.get(side, 1))
            drawn[column] = _take(samples[column], picked)
    return drawn


def _take(column: Any, rows: np.ndarray[Any, np.dtype[np.int64]]) -> list[Cell]:
    if hasattr(column, "take"):
        taken = column.take(rows)
        return list(taken.to_pylist() if hasattr(taken, "to_pylist") else taken.tolist())
    return [column[int(row)] for row in rows]


def _draw_lengths(rows: int, rng: np.random.Generator) -> list[int]:
    return [int(n) for n in rng.integers(1, 9, size=rows)]


def _cell_of(graph: PlanGraph, column: str) -> _Draw:
    """How to draw a cell (or a step) of a column."""
    readers = [
        (i, op)
        for i, op in enumerate(graph.ops)
        if getattr(op, "column", None) == column and not isinstance(op, ops.SplitSteps)
    ]
    below = [op for i, _ in readers for op in _ops_below(graph, i)]
    words = _vocabulary(below)
    # The variables of an expression are numbers, or vectors of one length: numbers always do.
    is_variable = any(isinstance(op, ops.Evaluate) for op in below)
    pairs = next((op for _, op in readers if isinstance(op, ops.PairKeys | ops.PairTokens | ops.PairNumbers)), None)
    if pairs is not None:
        return lambda rng: _draw_pairs(pairs.separators[0], pairs.delimiter, rng)
    if any(isinstance(op, ops.ParseNumbers) for _, op in readers):
        separator = next(op.separators[0] for _, op in readers if isinstance(op, ops.ParseNumbers))
        if not words:
            return lambda rng: separator.join(
                _draw_number(rng) for _ in range(1 if is_variable else rng.integers(1, 4))
            )
    separators = next((op.separators for _, op in readers if isinstance(op, ops.ParseTokens)), ("\x1d",))
    separator = separators[0] if separators else ""
    most = 2 if is_variable or not separator else 4
    return lambda rng: separator.join(_draw_word(words, rng) for _ in range(rng.integers(1, most)))


def _ops_below(graph: PlanGraph, value: int) -> list[Op]:
    """The ops that a value reaches."""
    reached = {value}
    for i, op in enumerate(graph.ops):
        if reached & set(op.inputs):
            reached.add(i)
    return [graph.ops[i] for i in sorted(reached - {value})]


def _vocabulary(below: Sequence[Op]) -> Sequence[str]:
    """Words that the vocabularies among these ops know; none where one of them wants numbers."""
    if any(isinstance(op, ops.ParseInts | ops.TokensToNumbers | ops.Evaluate) for op in below):
        return ()
    return [word for op in below if isinstance(op, ops.VocabIds) for word, _ in op.vocabulary[:_POOL] if word]


def _draw_word(words: Sequence[str], rng: np.random.Generator) -> str:
    if words and rng.random() < 0.7:
        return words[int(rng.integers(len(words)))]
    return str(rng.integers(_POOL))


def _draw_number(rng: np.random.Generator) -> str:
    return str(rng.integers(_POOL)) if rng.random() < 0.3 else f"{rng.gamma(2.0, 2.0):.4g}"


def _draw_pairs(separator: str, delimiter: str, rng: np.random.Generator) -> str:
    keys = rng.permutation(_POOL)[: rng.integers(1, 12)]
    return separator.join(f"{key}{delimiter}{rng.integers(_POOL)}" for key in keys)


def _as_text(cell: Cell) -> str:
    return "" if cell is None else str(cell)
