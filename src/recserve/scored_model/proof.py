"""That a model in stages answers as the whole does, on rows drawn from what its program compares with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from recserve.dtypes import F64
from recserve.errors import ConfigError
from recserve.rates import Rate
from recserve.scoring.program import Program

ROWS: Final = 256
TOLERANCE: Final = 1e-6
"""Largest difference, relative to the larger of 1 and the whole's answer: sums in float32 are grouped by side."""
_MOST_CONSTANTS: Final = 4096


def draw_rows(program: Program, rng: np.random.Generator, rows: int = ROWS) -> dict[str, list[Any]]:
    """Raw cells for each column: constants of the program and numbers around them, its texts, new ones, and nothing."""
    numbers, texts = _constants(program)
    columns: dict[str, list[Any]] = {}
    for name, dtypes in program.inputs.items():
        known = [*texts, "no such text"] if "string" in dtypes else []
        drawn = rng.choice(numbers, rows) + rng.choice([-1.0, -1e-9, 0.0, 0.0, 1e-9, 1.0], rows)
        cells: list[Any] = drawn.tolist()
        is_text = rng.random(rows) < (0.9 if set(dtypes) == {"string"} else 0.5)
        for row in np.flatnonzero(is_text).tolist() if known else []:
            cells[row] = known[int(rng.integers(len(known)))]
        for row in np.flatnonzero(rng.random(rows) < 0.1).tolist():
            cells[row] = None
        columns[name] = cells
    return columns


def _constants(program: Program) -> tuple[F64, list[str]]:
    """Numbers and texts that the program names."""
    found: list[F64] = [np.array([0.0, 1.0, 2.0, 10.0])]
    for node in program.graph.nodes:
        for value in node.params.values():
            array = np.asarray(value) if isinstance(value, float | np.ndarray) else np.empty(0)
            if array.dtype == np.float64:
                found.append(array.ravel()[:_MOST_CONSTANTS])
    numbers = np.concatenate(found)
    numbers = numbers[np.isfinite(numbers) & (np.abs(numbers) < 1e12)]
    return np.unique(numbers), list(program.compiled.texts.known)


def prove(program: Program, sides: Mapping[str, Rate], seed: int = 0) -> float:
    """The largest difference between stages and whole.

    Args:
        program: of the model.
        sides: rate by column, as `Program.split` takes them.
        seed: of the drawn rows.

    Raises:
        ConfigError: they differ by more than `TOLERANCE`, or in a label, or in which rows fail.
    """
    columns = draw_rows(program, np.random.default_rng(seed))
    whole = program.run(columns, rows=ROWS)
    stages = program.split(sides, exact=False)
    early: dict[str, Any] = {}
    for stage in (stages.item, stages.request):
        if stage is not None:
            early |= stage.run(columns, rows=ROWS).outputs
    staged = stages.candidate.run({**columns, **early}, rows=ROWS)
    if staged.errors.keys() != whole.errors.keys():  # of a row with several reasons another may come first
        raise _differs("the rows that fail")
    worst = 0.0
    for name, wanted in whole.outputs.items():
        got = staged.outputs[name]
        if program.outputs[name] != "number":
            if got.tolist() != wanted.tolist():
                raise _differs(f"output {name!r}")
            continue
        with np.errstate(invalid="ignore"):
            distance = np.abs(got - wanted) / np.maximum(1.0, np.abs(wanted))
        distance[(got == wanted) | (np.isnan(got) & np.isnan(wanted))] = 0.0
        worst = max(worst, float(distance.max(initial=0.0)))
        if not (distance <= TOLERANCE).all():
            raise _differs(f"output {name!r}", worst)
    return worst


def _differs(what: str, distance: float | None = None) -> ConfigError:
    size = "" if distance is None else f" by {distance:.3g}"
    return ConfigError(
        f"in stages, {what} differ{'s' if what.startswith('output') else ''}{size} from those of the whole model",
        code="stages_differ",
        where="sides",
        hint="Declare all inputs as candidate to rank without stages",
    )
