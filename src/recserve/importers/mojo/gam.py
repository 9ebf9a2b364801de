"""Generalised additive models: splines of some columns beside a linear model of the others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from recserve.importers.mojo import glm, splines
from recserve.importers.mojo.archive import damaged
from recserve.importers.mojo.ini import MAX_COLUMNS, Info, unsupported
from recserve.importers.mojo.prediction import Prediction, label_binomial
from recserve.importers.mojo.rows import Row
from recserve.scoring.graph import Graph, Value

CUBIC, THIN_PLATE, I_SPLINE, M_SPLINE = range(4)
_TWO_CLASSES = ("bernoulli", "fractionalbinomial", "quasibinomial")
_LINKS = {
    **dict.fromkeys(("bernoulli", "fractionalbinomial", "quasibinomial", "ordinal"), "logit"),
    **dict.fromkeys(("poisson", "gamma", "tweedie"), "log"),
}


@dataclass(frozen=True)
class Smooth:
    """One spline term.

    Attributes:
        names: of the raw columns that it reads.
        start: its first place in the model's row.
        width: how many places it takes.
        lower: (graph, values of the columns, weights [width]) → Σ weight · basis function.
    """

    names: tuple[str, ...]
    start: int
    width: int
    lower: Callable[[Graph, list[Value], np.ndarray], Value]


def expanded_columns(info: Info) -> frozenset[str]:
    """Names of the columns that hold basis functions: they are computed, never read."""
    count = info.count("num_expanded_gam_columns_center", len(info.features), 0)
    return frozenset(info.features[len(info.features) - count :])


def lower_gam(graph: Graph, info: Info, row: list[Value], read: Row) -> Prediction:
    """The answer of an additive model; `read` reads the raw columns of its splines."""
    design = glm.read_design(info)
    smooths = _read_smooths(info)
    if info.flag("mean_imputation", False):
        modes, means = info.integers("catNAFills", ()), info.numbers("numNAFillsCenter", ())
        fills = np.concatenate([np.array(modes[: design.categories], np.float64), means])
        row = glm.impute(graph, row, modes[: design.categories], means, info.where("numNAFillsCenter"))
    else:
        fills = np.full(len(row), np.nan)
    family = info.text("family")
    if family in ("multinomial", "ordinal"):
        size = info.count("beta center length per class", MAX_COLUMNS)
        table = info.big_endian("beta_multinomial_centering", info.classes * size).reshape(info.classes, size)
    else:
        table = info.numbers("beta_center")[None]
    scores = [_score(graph, info, design, row, smooths, read, beta, fills) for beta in table]
    return _finish(graph, info, family, scores)


def _finish(graph: Graph, info: Info, family: str, scores: list[Value]) -> Prediction:
    if family == "multinomial":
        probabilities = graph.apply_many("softmax", scores)
        return Prediction(graph.apply("argmax", *probabilities), tuple(probabilities))
    if family == "ordinal":
        probabilities = glm.ordinal_probabilities(graph, scores[:-1])
        positive = [graph.apply("greater", score, 0.0) for score in scores[:-1]]
        return Prediction(graph.apply("first_true", *positive, True), tuple(probabilities))
    link = info.text("link", _LINKS.get(family, "identity"))
    mean = glm.inverse_link(graph, link, scores[0], info.number("tweedie_link_power", 0.0), info.where("link"))
    if family not in _TWO_CLASSES:
        return Prediction(mean)
    return Prediction(label_binomial(graph, mean, info.threshold), (graph.apply("subtract", 1.0, mean), mean))


def _score(  # noqa: PLR0917  (what a row needs)
    graph: Graph,
    info: Info,
    design: glm.Design,
    row: list[Value],
    smooths: list[Smooth],
    read: Row,
    beta: np.ndarray,
    fills: np.ndarray,
) -> Value:
    """The linear part over the columns that are read, plus each spline's weighted sum."""
    shift = design.offsets[design.categories] - design.categories
    plain = len(info.features) - len(expanded_columns(info))
    if len(beta) != shift + len(info.features) + 1:
        raise damaged(f"has {len(beta)} coefficients for {len(info.features)} columns", info.where("beta_center"))
    linear = np.concatenate([beta[: shift + plain], beta[-1:]])
    levels = [len(domain) if domain else 0 for domain in info.domains]
    parts = [glm.linear_score(graph, design, row, linear, levels, info.where("beta_center"))]
    weights = beta[shift:-1]
    if any(a.start + a.width > b.start for a, b in itertools.pairwise(smooths)):
        parts += _overlapping(graph, smooths, read, weights, fills)
    else:
        for smooth in smooths:
            places = np.arange(smooth.start, smooth.start + smooth.width)
            values = [read.number(name) for name in smooth.names]
            value = smooth.lower(graph, values, weights[places])
            filled = float(weights[places] @ fills[places]) if places[-1] < len(fills) else math.nan
            parts.append(value if math.isnan(filled) else graph.apply("replace_missing", value, filled))
    return graph.apply("sum", *parts)


def _overlapping(graph: Graph, smooths: list[Smooth], read: Row, weights: np.ndarray, fills: np.ndarray) -> list[Value]:
    """Weighted basis functions where a spline's last ones lie under the next spline's first, as genmodel writes them.

    In a place that two splines fill, the later one counts unless its column is missing.
    """
    slots: dict[int, list[Value]] = {}
    for smooth in smooths:
        values = [read.number(name) for name in smooth.names]
        for i, unit in enumerate(np.eye(smooth.width)):
            slots.setdefault(smooth.start + i, []).insert(0, smooth.lower(graph, values, unit))
    terms = []
    for place, found in slots.items():
        fill = [graph.constant(float(fills[place]))] if not math.isnan(fills[place]) else []
        terms.append(graph.apply("coalesce", *found, *fill))
    return [graph.apply("linear", *terms, weights=[float(weights[place]) for place in slots])]


# ---- the splines of a model


def _read_smooths(info: Info) -> list[Smooth]:
    """The model's spline terms, in the order of its row.

    Raises:
        ConfigError: "unsupported_element" where genmodel itself mixes the terms up or fails.
    """
    kinds, knots = info.integers("bs_sorted"), info.integers("num_knots_sorted")
    dims = info.integers("gam_column_dim_sorted")
    sizes = info.integers("_d")
    if not len(kinds) == len(knots) == len(dims) == len(sizes) or any(count < 2 for count in knots):
        raise damaged(
            f"bs_sorted, num_knots_sorted and _d have {len(kinds)}, {len(knots)}, {len(sizes)} entries",
            info.where("_d"),
        )
    names = _names(info, dims)
    orders = info.integers("spline_orders_sorted", tuple([0] * len(kinds)))
    widths = [_width(kind, count, order) for kind, count, order in zip(kinds, knots, orders, strict=True)]
    tables = _Tables(info, kinds, knots, sizes, widths)
    start = len(info.features) - info.count("num_expanded_gam_columns_center", len(info.features), 0)
    smooths = []
    for number, kind in enumerate(kinds):
        lower = tables.lower(number, kind, orders[number])
        smooths.append(Smooth(names[number], start, widths[number], lower))
        start += knots[number] - 1
    if smooths and smooths[-1].start + smooths[-1].width > len(info.features):
        raise damaged("the splines have more functions than columns", info.where("num_expanded_gam_columns_center"))
    return smooths


def _names(info: Info, dims: list[int]) -> list[tuple[str, ...]]:
    lines = [line.strip() for line in info.archive.lines("gam_columns_sorted")]
    if len(lines) != sum(dims) or any(dim < 1 for dim in dims):
        raise damaged(f"has {len(lines)} names for {sum(dims)} columns", info.archive.where("gam_columns_sorted"))
    found, at = [], 0
    for dim in dims:
        found.append(tuple(lines[at : at + dim]))
        at += dim
    return found


def _width(kind: int, knots: int, order: int) -> int:
    return {I_SPLINE: knots + order - 2, M_SPLINE: knots + order - 3}.get(kind, knots - 1)


class _Tables:
    """The binary tables of a GAM: knots, and the matrices that centre and transform basis functions."""

    def __init__(self, info: Info, kinds: list[int], knots: list[int], sizes: list[int], widths: list[int]) -> None:
        self.info = info
        self.counts = knots
        self.sizes = sizes
        self.knots = self.matrices("knots", list(zip(sizes, knots, strict=True)))
        shapes = []
        for kind, count, width in zip(kinds, knots, widths, strict=True):
            centred = {I_SPLINE: (0, 0), M_SPLINE: (width, width + 1)}
            shapes.append(centred.get(kind, (count - 1, count)))
        self.centring = self.matrices("zTranspose", shapes)
        cubic = [count for kind, count in zip(kinds, knots, strict=True) if kind == CUBIC]
        self.solved = self.matrices("_binvD", [(count - 2, count) for count in cubic]) if cubic else []
        self.order_of = {kind: [i for i, k in enumerate(kinds) if k == kind] for kind in set(kinds)}
        self.plates = _Plates(info, self, kinds) if THIN_PLATE in kinds else None

    def matrices(self, name: str, shapes: list[tuple[int, int]]) -> list[np.ndarray]:
        """The matrices of one binary file, one after the other."""
        values = self.info.big_endian(name, sum(a * b for a, b in shapes))
        found, at = [], 0
        for a, b in shapes:
            found.append(values[at : at + a * b].reshape(a, b))
            at += a * b
        return found

    def lower(self, number: int, kind: int, order: int) -> Callable[[Graph, list[Value], np.ndarray], Value]:
        """How a spline's weighted sum is lowered."""
        place = self.order_of[kind].index(number)
        if kind == THIN_PLATE and self.plates is not None:
            return self.plates.lower(number, place)
        knots = self.knots[number][0]
        if np.any(np.diff(knots) <= 0):
            raise damaged(f"the knots of spline {number} do not rise", self.info.archive.where("knots"))
        if kind == CUBIC:
            basis, centre = splines.cubic_basis(knots, self.solved[place]), self.centring[number]
            return _piecewise(lambda x: centre @ basis(x), knots[1:-1] if len(knots) > 2 else knots, 3)
        if kind == I_SPLINE:
            return _piecewise(splines.i_basis(knots, order), knots, order)
        if kind == M_SPLINE:
            # genmodel takes the matrix by the number among the M-splines.
            basis, centre = splines.m_basis(knots, order), self.centring[place]
            if centre.shape[1] != len(knots) + order - 2:
                raise unsupported(f"genmodel takes the wrong matrix for spline {number}", self.info.where("bs_sorted"))
            return _piecewise(lambda x: centre @ basis(x), knots, max(order - 1, 0))
        raise unsupported(f"the spline type {kind} is unknown", self.info.where("bs_sorted"))


def _piecewise(
    basis: splines.Function, edges: np.ndarray, degree: int
) -> Callable[[Graph, list[Value], np.ndarray], Value]:
    """Lower a weighted sum of functions of one column as one polynomial an interval."""

    def lower(graph: Graph, values: list[Value], weights: np.ndarray) -> Value:
        pieces = splines.fit_pieces(lambda x: float(weights @ basis(x)), edges, degree)
        x = values[0]
        bounds = [None, *edges.tolist(), None]
        intervals = [(low, high, True, False) for low, high in itertools.pairwise(bounds)]
        interval = graph.apply("discretize", x, intervals=intervals, values=list(range(len(intervals))))
        table = np.column_stack([pieces.centres, pieces.scales, pieces.coefficients])
        centre, scale, *coefficients = graph.apply_many("gather", [interval], table=table)
        u = graph.apply("divide", graph.apply("subtract", x, centre), scale)
        total = coefficients[-1]
        for coefficient in reversed(coefficients[:-1]):
            total = graph.apply("add", graph.apply("multiply", total, u), coefficient)
        return total

    return lower


class _Plates:
    """Thin-plate regression splines: functions of the distance to each knot, and polynomials."""

    def __init__(self, info: Info, tables: _Tables, kinds: list[int]) -> None:
        if info.flag("standardize"):
            raise unsupported("genmodel fails on thin-plate splines of standardised columns", info.where("standardize"))
        self.tables = tables
        numbers = [i for i, kind in enumerate(kinds) if kind == THIN_PLATE]
        counts = info.integers("num_knots_TP")
        self.halves, self.terms = info.integers("_m"), info.integers("_M")
        if not len(numbers) == len(counts) == len(self.terms) == len(self.halves):
            raise damaged(f"has {len(counts)} entries for {len(numbers)} thin plates", info.where("num_knots_TP"))
        shapes = [(count - terms, count) for count, terms in zip(counts, self.terms, strict=True)]
        self.null = tables.matrices("zTransposeCS", shapes)
        self.powers = self._polynomials(info, [tables.sizes[number] for number in numbers])

    def _polynomials(self, info: Info, dims: list[int]) -> list[np.ndarray]:
        data = np.frombuffer(info.archive.data("polynomialBasisList"), ">i4")
        found, at = [], 0
        for terms, dim in zip(self.terms, dims, strict=True):
            if at + terms * dim > len(data):
                raise damaged(f"has {len(data)} exponents", info.archive.where("polynomialBasisList"))
            found.append(data[at : at + terms * dim].reshape(terms, dim).astype(np.int64))
            at += terms * dim
        return found

    def lower(self, number: int, place: int) -> Callable[[Graph, list[Value], np.ndarray], Value]:
        """The weighted sum of one spline's functions."""
        dim, half = self.tables.sizes[number], self.halves[place]
        knots, null, powers = self.tables.knots[number], self.null[place], self.powers[place]
        centre, constant = self.tables.centring[number], plate_constant(half, dim)

        def lower(graph: Graph, values: list[Value], weights: np.ndarray) -> Value:
            folded = weights @ centre  # of the functions before they were centred
            of_knots = constant * (folded[: len(null)] @ null)
            terms = [_radial(graph, values, knots[:, i], 2 * half - dim, dim % 2 == 0) for i in range(knots.shape[1])]
            terms += [_monomial(graph, values, exponents) for exponents in powers.tolist()]
            return graph.apply("linear", *terms, weights=[*of_knots.tolist(), *folded[len(null) :].tolist()])

        return lower


def plate_constant(half: int, dim: int) -> float:
    """The constant of thin-plate splines of order `half` in `dim` dimensions, with genmodel's integer divisions."""
    factorial = math.factorial
    if dim % 2 == 0:
        below = 2 ** (2 * half - 1) * math.pi ** (dim / 2) * factorial(half - 1) * factorial(max(half - dim // 2, 0))
        return float((-1.0) ** (half + 1 + dim // 2) / below)
    return float((-1.0) ** half * half / (factorial(2 * half) * math.pi ** ((dim - 1) / 2)))


def _radial(graph: Graph, values: list[Value], knot: np.ndarray, power: int, is_even: bool) -> Value:
    squares = [
        graph.apply("square", graph.apply("subtract", value, float(at))) for value, at in zip(values, knot, strict=True)
    ]
    distance = _power(graph, graph.apply("sqrt", graph.apply("sum", *squares)), power)
    if not is_even:
        return distance
    is_zero = graph.apply("equal", distance, 0.0)
    return graph.apply("select", is_zero, distance, graph.apply("multiply", distance, graph.apply("log", distance)))


def _monomial(graph: Graph, values: list[Value], exponents: list[int]) -> Value:
    factors = [_power(graph, value, exponent) for value, exponent in zip(values, exponents, strict=True)]
    return graph.apply("product", *factors)


def _power(graph: Graph, value: Value, power: int) -> Value:
    """Repeated products, as genmodel does; 1 for a power of 0, missing where the value is."""
    if power < 1:
        return graph.apply("add", graph.apply("multiply", value, 0.0), 1.0)
    return value if power == 1 else graph.apply("product", *[value] * power)
