"""Ops with many arguments or results: linear sums, dense layers, normalisations, votes, weighted aggregates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from recserve.scoring.cells import MISSING, Cell, DType, merged, valid
from recserve.scoring.op import define, numbers
from recserve.scoring.params import Param

Params = Mapping[str, Any]
PRECISION: Final = Param("text", "double", ("double", "float"))
"""`float`: products and sums are rounded to float32 one after the other."""


def _check_weights(dtypes: Sequence[DType], params: Params) -> str | None:
    got = len(params["weights"])
    return None if got == len(dtypes) else f"{got} weights for {len(dtypes)} arguments"


def ordered_sum(start: float, terms: Sequence[tuple[float, float]], precision: str) -> float:
    """`start` plus the products, added one after the other in one precision."""
    if precision == "float":
        total = np.float32(start)
        for weight, x in terms:
            total = total + np.float32(weight) * np.float32(x)
        return float(total)
    result = start
    for weight, x in terms:
        result = result + weight * x
    return result


@define(
    "linear",
    "number*",
    "number",
    params={
        "weights": Param("numbers"),
        "bias": Param("number", 0.0),
        "precision": PRECISION,
        "bias_last": Param("flag", False),
    },
    check=_check_weights,
)
def linear(params: Params, *xs: float) -> float:
    """`bias` + Σ weight · x in the order of the arguments; the bias comes first, or last where `bias_last`."""
    start = -0.0 if params["bias_last"] else params["bias"]
    terms = list(zip(params["weights"].tolist(), xs, strict=True))
    if params["bias_last"]:
        terms.append((1.0, params["bias"]))
    return ordered_sum(start, terms, params["precision"])


def _elliott(x: float) -> Any:
    return x / (1.0 + abs(x))


ACTIVATIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "identity": lambda x: x,
    "logistic": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "tanh": np.tanh,
    "exponential": np.exp,
    "rectifier": lambda x: np.maximum(x, 0.0),
    "reciprocal": lambda x: 1.0 / x,
    "square": lambda x: x * x,
    "gauss": lambda x: np.exp(-(x * x)),
    "sine": np.sin,
    "cosine": np.cos,
    "elliott": _elliott,
    "arctan": lambda x: 2.0 * np.arctan(x) / math.pi,
    "elu": lambda x: x if x >= 0.0 else np.exp(x) - 1.0,
    "softplus": lambda x: np.log1p(np.exp(x)),
}
"""What a dense layer applies to each unit. `arctan` is PMML's 2·arctan(x)/π."""


def _check_dense(dtypes: Sequence[DType], params: Params) -> str | None:
    inputs, units = params["weights"].shape
    if inputs != len(dtypes):
        return f"weights of {inputs} inputs for {len(dtypes)} arguments"
    return None if len(params["bias"]) == units else f"{len(params['bias'])} biases for {units} units"


@define(
    "dense",
    "number*",
    numbers(lambda params: params["weights"].shape[1]),
    params={
        "weights": Param("matrix"),
        "bias": Param("numbers"),
        "activation": Param("text", "identity", tuple(ACTIVATIONS)),
        "precision": PRECISION,
    },
    has_many=True,
    check=_check_dense,
)
def dense(params: Params, *xs: float) -> tuple[float, ...]:
    """activation(bias + x · weights) with `weights` [inputs, units]: one result a unit, each a sum in order."""
    activation = ACTIVATIONS[params["activation"]]
    results = []
    for unit, bias in enumerate(params["bias"].tolist()):
        terms = list(zip(params["weights"][:, unit].tolist(), xs, strict=True))
        results.append(float(activation(np.float64(ordered_sum(bias, terms, params["precision"])))))
    return tuple(results)


def _as_many(dtypes: Sequence[DType], params: Params) -> tuple[DType, ...]:  # noqa: ARG001
    one: tuple[DType, ...] = ("number",)
    return one * len(dtypes)


def _total(values: Sequence[float]) -> Any:
    total = np.float64(0.0)
    for value in values:
        total = total + value
    return total


@define("softmax", "number*", _as_many, has_many=True)
def softmax(*xs: float) -> tuple[float, ...]:
    """exp(x - max) / Σ exp(x - max): as many results as arguments."""
    top = max(xs, default=0.0)
    powers = [np.exp(np.float64(x) - top) for x in xs]
    total = _total(powers)
    return tuple(float(power / total) for power in powers)


@define("simplemax", "number*", _as_many, has_many=True)
def simplemax(*xs: float) -> tuple[float, ...]:
    """Each x / Σ x: as many results as arguments."""
    total = _total(xs)
    return tuple(float(np.float64(x) / total) for x in xs)


def _define_argument_of() -> None:
    for name, sign in (("argmax", 1.0), ("argmin", -1.0)):

        def argument_of(params: Params, *cells: Cell, sign: float = sign) -> Cell:
            problem = merged(cells)
            if problem is not None and (problem.is_failed or not params["skip_missing"]):
                return problem
            best = -1
            for i, cell in enumerate(cells):
                if cell.is_valid and not math.isnan(cell.value):
                    best = i if best < 0 or sign * cell.value > sign * cells[best].value else best
            return MISSING if best < 0 else valid(float(best))

        skip = {"skip_missing": Param("flag", False)}
        define(name, "number*", "number", params=skip, is_strict=False)(argument_of)


_define_argument_of()


def _known(cells: tuple[Cell, ...], weights: Sequence[float], skips: bool) -> Cell | list[tuple[float, Any]]:
    """(weight, value) of the valid cells, or what the op gives at once."""
    problem = merged(cells)
    if problem is not None and (problem.is_failed or not skips):
        return problem
    return [(weight, cell.value) for weight, cell in zip(weights, cells, strict=True) if cell.is_valid]


def _define_weighted() -> None:
    weighted = {"weights": Param("numbers"), "skip_missing": Param("flag", False)}

    @define("weighted_mean", "number*", "number", params=weighted, is_strict=False, check=_check_weights)
    def weighted_mean(params: Params, *cells: Cell) -> Cell:
        """Σ weight · x / Σ weight, over the arguments that are not missing where `skip_missing`."""
        known = _known(cells, params["weights"].tolist(), params["skip_missing"])
        if isinstance(known, Cell) or not known:
            return known if isinstance(known, Cell) else MISSING
        total = ordered_sum(0.0, known, "double")
        return valid(float(np.float64(total) / _total([weight for weight, _ in known])))

    @define("weighted_median", "number*", "number", params=weighted, is_strict=False, check=_check_weights)
    def weighted_median(params: Params, *cells: Cell) -> Cell:
        """The value, in ascending order, at which half of the weights is reached; missing as in `weighted_mean`."""
        known = _known(cells, params["weights"].tolist(), params["skip_missing"])
        if isinstance(known, Cell) or not known:
            return known if isinstance(known, Cell) else MISSING
        ordered = sorted(known, key=lambda pair: pair[1])
        half, reached = float(_total([weight for weight, _ in ordered])) / 2.0, 0.0
        for weight, value in ordered:
            reached += weight
            if reached >= half:
                return valid(value)
        return valid(ordered[-1][1])

    @define(
        "vote",
        "T*",
        numbers(lambda params: len(params["classes"])),
        params={**weighted, "classes": Param("values")},
        is_strict=False,
        has_many=True,
        check=_check_weights,
    )
    def vote(params: Params, *cells: Cell) -> tuple[Cell, ...]:
        """Σ weight of the arguments equal to each class: one result a class. Other labels count for none."""
        count = len(params["classes"])
        known = _known(cells, params["weights"].tolist(), params["skip_missing"])
        if isinstance(known, Cell):
            return (known,) * count
        sums = [_total([weight for weight, label in known if label == one]) for one in params["classes"]]
        return tuple(valid(float(total)) for total in sums)


_define_weighted()
