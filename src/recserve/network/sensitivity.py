"""How much each rounded tensor of a part costs in quality and saves in time: which ones to leave in floating-point.

Each tensor is rounded alone, on requests of calibration, and the outputs are compared with the exact ones. Errors of
many small roundings are about independent, so that their squares add: a set of tensors costs the root of the sum of
squares. What a tensor saves is about the operations of the products that read it.

Axis letters: N candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recserve.network.engines import EngineChoice, open_engine
from recserve.network.quantise import Range, count_products, expose

Feeds = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Sensitivity:
    """Of one rounded tensor.

    Attributes:
        range: the tensor, and the least and the largest value that it took.
        error: root mean square of the outputs' differences, relative to max(1, |exact|), where it alone is rounded.
        work: multiply-adds of the products that read it, on the compared requests.
    """

    range: Range
    error: float
    work: int


def measure_sensitivity(model: bytes, ranges: Sequence[Range], requests: Sequence[Feeds]) -> tuple[Sensitivity, ...]:
    """Round each tensor alone.

    Args:
        model: a serialised ONNX model.
        ranges: of its tensors, as calibrated.
        requests: inputs of the part, at least one.
    """
    exact = open_engine(expose(model, [name for name, _, _ in ranges]), EngineChoice())
    expected = [feeds | exact.run(_inputs(exact, feeds)) for feeds in map(dict, requests)]
    products = count_products(model)
    found = []
    for entry in ranges:
        rounded = open_engine(model, EngineChoice(precision="int8", ranges=(entry,)))
        answers = [rounded.run(_inputs(rounded, feeds)) for feeds in requests]
        squares = np.concatenate([_squares(got, want) for got, want in zip(answers, expected, strict=True)])
        rows = sum(seen[entry[0]].size // seen[entry[0]].shape[-1] for seen in expected)
        found.append(Sensitivity(entry, float(np.sqrt(squares.mean())), rows * products[entry[0]]))
    return tuple(found)


class Relief:
    """Sets of tensors to round, each smaller and more exact than the one before.

    Args:
        found: of every tensor, at least one.
    """

    def __init__(self, found: Sequence[Sensitivity]) -> None:
        self._kept = tuple(found)

    def next_set(self, admitted: float) -> tuple[Range, ...]:
        """The tensors that save most within an admitted error; empty where none is left.

        Taken in the order of what they cost for what they save, as long as they fit, which is near the best choice.

        Args:
            admitted: the error that the gate admits, as a share of what the set before it had (at first: all tensors).
        """
        order = sorted(self._kept, key=lambda entry: entry.error**2 / entry.work)
        most = admitted**2 * sum(entry.error**2 for entry in order)
        spent = 0.0
        taken: list[Range] = []
        for entry in order:
            if spent + entry.error**2 <= most and len(taken) < len(order) - 1:
                spent += entry.error**2
                taken.append(entry.range)
        self._kept = tuple(entry for entry in self._kept if entry.range in taken)
        return tuple(entry.range for entry in self._kept)


def _inputs(engine: Any, feeds: Feeds) -> dict[str, npt.NDArray[Any]]:
    return {name: feeds[name] for name in engine.inputs}


def _squares(found: Feeds, expected: Feeds) -> npt.NDArray[np.float64]:
    """Of the differences of all outputs; what is a number in one of both only counts as 1."""
    parts = []
    for name, got in found.items():
        want = expected[name]
        with np.errstate(invalid="ignore", over="ignore"):
            difference = np.abs(np.float64(got) - want) / np.maximum(1.0, np.abs(want))
        difference = np.where((got == want) | (np.isnan(got) & np.isnan(want)), 0.0, difference)
        parts.append(np.where(np.isfinite(difference), difference**2, 1.0).ravel())
    return np.concatenate(parts)
