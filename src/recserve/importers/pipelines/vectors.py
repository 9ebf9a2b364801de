"""Vectors of a pipeline as symbols: pieces that know their elements and their products with constant weights.

A piece stands for a stretch of a vector. Nothing is computed for a piece but what somebody asks of it: an element that
a tree tests, the sum that a linear model needs. Elementwise functions act on the constants of one-hot codes when the
model is read, and on values where there are values.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from recserve.errors import ConfigError
from recserve.importers.pipelines.pieces import (
    Array,
    Constants,
    Linear,
    OneHot,
    Piece,
    Placed,
    Scalars,
    Scaled,
    Summed,
    Terms,
)
from recserve.scoring.graph import Graph, Value

Apply = Callable[[Value, int], Value]  # of an element and its position in the vector
Numeric = Callable[[Array, Array], Array]  # of elements and their positions

_ELEMENT_LIMIT = 1 << 16
# Where a scaled column is folded into a linear sum, x·a + b costs at most this much of the 16 digits.
_FOLD_LIMIT = 1e5


class Vector:
    """A vector of a pipeline.

    Attributes:
        graph: that its values belong to.
        pieces: that it is made of, in order.
        size: number of elements.
    """

    def __init__(self, graph: Graph, pieces: Sequence[Piece]) -> None:
        self.graph = graph
        self.pieces = tuple(piece for piece in pieces if piece.size)
        self.starts = np.cumsum([0, *(piece.size for piece in self.pieces)]).tolist()
        self.size: int = self.starts[-1]
        self._known: dict[int, Value] = {}

    @classmethod
    def of(cls, graph: Graph, values: Sequence[Value]) -> Vector:
        """A vector of values."""
        return cls(graph, [Scalars(tuple(values))])

    def element(self, i: int) -> Value:
        """One element, computed once however often it is asked for."""
        if i not in self._known:
            if not 0 <= i < self.size:
                raise ConfigError(f"a vector of {self.size} elements has no element {i}", code="invalid_model")
            place = int(np.searchsorted(self.starts, i, side="right")) - 1
            self._known[i] = self._piece_element(self.pieces[place], i - self.starts[place])
        return self._known[i]

    def code_at(self, i: int) -> tuple[OneHot, int] | None:
        """The one-hot code that an element belongs to, and its place there; None for other elements."""
        if not 0 <= i < self.size:
            return None
        place = int(np.searchsorted(self.starts, i, side="right")) - 1
        piece = self.pieces[place]
        return (piece, i - self.starts[place]) if isinstance(piece, OneHot) else None

    def squared(self) -> Vector:
        """Each element squared; texts stay sparse."""
        pieces: list[Piece] = []
        for piece in self.pieces:
            if isinstance(piece, Terms):
                spec = json.dumps({**json.loads(piece.spec), "square": True})
                scales = None if piece.scales is None else np.square(piece.scales)
                pieces.append(Terms(piece.texts, spec, piece.width, scales))
            else:
                own = Vector(self.graph, [piece])
                pieces += own.map(lambda x, _: self.graph.apply("square", x), lambda x, _: np.square(x)).pieces
        return Vector(self.graph, pieces)

    def elements(self) -> list[Value]:
        """All elements.

        Raises:
            ConfigError: "unsupported_element" where the vector is too wide to be spelt out.
        """
        if self.size > _ELEMENT_LIMIT:
            raise ConfigError(
                f"a stage needs each of the {self.size} elements of a vector; at most {_ELEMENT_LIMIT} are supported",
                code="unsupported_element",
            )
        return [self.element(i) for i in range(self.size)]

    def _piece_element(self, piece: Piece, i: int) -> Value:
        graph = self.graph
        if isinstance(piece, Scalars):
            return piece.values[i]
        if isinstance(piece, Constants):
            return graph.constant(float(piece.values[i]))
        if isinstance(piece, OneHot):
            return look_up(
                graph,
                piece.key,
                [(piece.keys[i], float(piece.on[i]))],
                default=float(piece.off[i]),
                missing=None if piece.missing is None else float((piece.on if piece.missing == i else piece.off)[i]),
            )
        if isinstance(piece, Terms):
            (count,) = graph.apply_many("terms_at", piece.texts, spec=piece.spec, positions=[i])
            if piece.scales is None:
                return count
            return graph.apply("multiply", count, graph.constant(float(piece.scales[i])))
        if isinstance(piece, Placed):
            found = [value for position, value in piece.entries if position == i]
            return add_all(graph, found)
        if isinstance(piece, Summed):
            return add_all(graph, [vector.element(i) for vector in piece.vectors])
        return graph.apply("multiply", piece.vector.element(i), piece.factor)

    def slice(self, positions: Sequence[int]) -> Vector:
        """The vector of the elements at these positions."""
        pieces: list[Piece] = []
        run: list[tuple[int, int]] = []  # (place, position within the piece) of neighbours in one piece
        for position in positions:
            if not 0 <= position < self.size:
                raise ConfigError(f"a vector of {self.size} elements has no element {position}", code="invalid_model")
            place = int(np.searchsorted(self.starts, position, side="right")) - 1
            if run and run[-1][0] != place:
                pieces.append(self._cut(run))
                run = []
            run.append((place, position - self.starts[place]))
        if run:
            pieces.append(self._cut(run))
        return Vector(self.graph, pieces)

    def _cut(self, run: Sequence[tuple[int, int]]) -> Piece:
        """Some elements of one piece as a piece."""
        place = run[0][0]
        piece, inner = self.pieces[place], [i for _, i in run]
        if inner == list(range(piece.size)):
            return piece
        if isinstance(piece, Scalars):
            parts = tuple(piece.parts[i] for i in inner) if piece.parts else ()
            return Scalars(tuple(piece.values[i] for i in inner), parts)
        if isinstance(piece, Constants):
            return Constants(piece.values[inner])
        if isinstance(piece, OneHot) and len(set(inner)) == len(inner):
            missing = piece.missing
            if missing is not None:
                missing = inner.index(missing) if missing in inner else -1
            return OneHot(piece.key, tuple(piece.keys[i] for i in inner), piece.on[inner], piece.off[inner], missing)
        if isinstance(piece, Scaled):
            return Scaled(piece.vector.slice(inner), piece.factor)
        return Scalars(tuple(self.element(self.starts[place] + i) for i in inner))

    def scale(self, factors: Array) -> Vector:
        """Each element times a constant; zeros stay zero, so that sparse pieces stay sparse."""
        pieces: list[Piece] = []
        for piece, start in zip(self.pieces, self.starts, strict=False):
            own = np.asarray(factors[start : start + piece.size], dtype=np.float64)
            if isinstance(piece, Terms):
                scales = own if piece.scales is None else piece.scales * own
                pieces.append(Terms(piece.texts, piece.spec, piece.width, scales))
            elif isinstance(piece, Placed):
                pieces.append(Placed(piece.width, tuple((i, self._times(v, own[i])) for i, v in piece.entries)))
            elif isinstance(piece, Summed):
                pieces.append(Summed(tuple(vector.scale(own) for vector in piece.vectors)))
            elif isinstance(piece, Scaled):
                pieces.append(Scaled(piece.vector.scale(own), piece.factor))
            else:
                pieces.append(self._affine(piece, own, np.zeros(piece.size)))
        return Vector(self.graph, pieces)

    def affine(self, slopes: Array, shifts: Array) -> Vector:
        """Each element as (x - shift) · slope, in that order as Spark and scikit-learn compute it."""
        if not np.any(shifts):
            return self.scale(slopes)
        pieces: list[Piece] = []
        for piece, start in zip(self._dense().pieces, self._dense().starts, strict=False):
            own = slice(start, start + piece.size)
            pieces.append(self._affine(piece, np.asarray(slopes[own]), np.asarray(shifts[own])))
        return Vector(self.graph, pieces)

    def _times(self, value: Value, factor: float) -> Value:
        return value if factor == 1.0 else self.graph.apply("multiply", value, self.graph.constant(float(factor)))

    def _affine(self, piece: Piece, slopes: Array, shifts: Array) -> Piece:
        if isinstance(piece, Constants):
            return Constants((piece.values - shifts) * slopes)
        if isinstance(piece, OneHot):
            return OneHot(
                piece.key, piece.keys, (piece.on - shifts) * slopes, (piece.off - shifts) * slopes, piece.missing
            )
        assert isinstance(piece, Scalars)
        values, parts = [], []
        for i, value in enumerate(piece.values):
            slope, shift = float(slopes[i]), float(shifts[i])
            moved = value if shift == 0.0 else self.graph.apply("subtract", value, self.graph.constant(shift))
            values.append(self._times(moved, slope))
            parts.append(self._folded(piece, i, slope, -shift * slope))
        return Scalars(tuple(values), tuple(parts))

    @staticmethod
    def _folded(piece: Scalars, i: int, slope: float, shift: float) -> Linear | None:
        """Slope · x + shift with x taken apart, where that loses no digits that matter."""
        part = piece.parts[i] if piece.parts else None
        part = part or Linear(piece.values[i], 1.0, 0.0)
        slope, shift = part.slope * slope, part.shift * slope + shift
        return Linear(part.base, slope, shift) if abs(shift) < _FOLD_LIMIT and np.isfinite(slope) else None

    def map(self, symbolic: Apply, numeric: Numeric) -> Vector:
        """Any function of each element: on values as ops, on constants when the model is read."""
        source = self._dense()
        pieces: list[Piece] = []
        for piece, start in zip(source.pieces, source.starts, strict=False):
            places = np.arange(start, start + piece.size)
            if isinstance(piece, Constants):
                pieces.append(Constants(numeric(piece.values, places)))
            elif isinstance(piece, OneHot):
                on, off = numeric(piece.on, places), numeric(piece.off, places)
                pieces.append(OneHot(piece.key, piece.keys, on, off, piece.missing))
            else:
                assert isinstance(piece, Scalars)
                pieces.append(Scalars(tuple(symbolic(v, start + i) for i, v in enumerate(piece.values))))
        return Vector(self.graph, pieces)

    def _dense(self) -> Vector:
        """The same vector without sparse pieces."""
        if all(isinstance(piece, Scalars | Constants | OneHot) for piece in self.pieces):
            return self
        pieces: list[Piece] = []
        for piece in self.pieces:
            if isinstance(piece, Scalars | Constants | OneHot):
                pieces.append(piece)
            else:
                pieces.append(Scalars(tuple(Vector(self.graph, [piece]).elements())))
        return Vector(self.graph, pieces)

    def times(self, factor: Value) -> Vector:
        """The vector times one value of the row."""
        return Vector(self.graph, [Scaled(self, factor)])

    def _terms_sum(self, piece: Terms, weights: Array, of: str) -> Value:
        params = {"spec": piece.spec, "weights": np.reshape(weights, (-1, 1)), "of": of}
        return self.graph.apply("terms_dots", *piece.texts, **params)

    def norm_sum(self, kind: str) -> Value:
        """Σ x² (`square`) or Σ |x| (`absolute`); texts are summed without being spelt out."""
        total, values = 0.0, []
        numeric = np.square if kind == "square" else np.abs
        for piece in self.pieces:
            if isinstance(piece, Constants):
                total += float(np.sum(numeric(piece.values)))
            elif isinstance(piece, OneHot):
                off = numeric(piece.off)
                values.append(self._look_up_sum(piece, numeric(piece.on) - off))
                total += float(np.sum(off))
            elif isinstance(piece, Terms):
                scales = np.ones(piece.width) if piece.scales is None else piece.scales
                values.append(self._terms_sum(piece, numeric(scales), kind))
            else:
                elements = Vector(self.graph, [piece]).elements()
                values += [self.graph.apply("square" if kind == "square" else "abs", value) for value in elements]
        return self.graph.apply("linear", *values, weights=[1.0] * len(values), bias=total)

    def _look_up_sum(self, piece: OneHot, gains: Array) -> Value:
        pairs = [(key, float(gain)) for key, gain in zip(piece.keys, gains, strict=True) if gain != 0.0]
        missing = None
        if piece.missing is not None:
            missing = 0.0 if piece.missing < 0 else float(gains[piece.missing])
        return look_up(self.graph, piece.key, pairs, default=0.0, missing=missing)

    def dot(self, weights: Array, bias: float = 0.0) -> Value:
        """Σ weight · element + bias."""
        values: list[Value] = []
        factors: list[float] = []
        total = bias
        for piece, start in zip(self.pieces, self.starts, strict=False):
            own = np.asarray(weights[start : start + piece.size], dtype=np.float64)
            total += self._collect(piece, own, values, factors)
        if not values:
            return self.graph.constant(total)
        return self.graph.apply("linear", *values, weights=factors, bias=total)

    def _collect(self, piece: Piece, weights: Array, values: list[Value], factors: list[float]) -> float:
        """Append what a piece adds to a sum, and give its constant part."""
        if isinstance(piece, Constants):
            return float(np.sum(piece.values * weights))
        if isinstance(piece, OneHot):
            values.append(self._look_up_sum(piece, (piece.on - piece.off) * weights))
            factors.append(1.0)
            return float(np.sum(piece.off * weights))
        if isinstance(piece, Scalars):
            return _collect_scalars(piece, weights, values, factors)
        before = len(values)
        if isinstance(piece, Terms):
            own = weights if piece.scales is None else weights * piece.scales
            values.append(self._terms_sum(piece, own, "count"))
        elif isinstance(piece, Placed):
            for position, value in piece.entries:
                values.append(value)
                factors.append(float(weights[position]))
            return 0.0
        elif isinstance(piece, Summed):
            values += [vector.dot(weights) for vector in piece.vectors]
        else:
            values.append(self.graph.apply("multiply", piece.vector.dot(weights), piece.factor))
        factors += [1.0] * (len(values) - before)
        return 0.0

    def dots(self, weights: Array, biases: Sequence[float]) -> list[Value]:
        """`dot` with each row of a matrix [outputs, size]."""
        weights = np.asarray(weights, dtype=np.float64)
        if len(weights) > 1 and all(isinstance(piece, Scalars) for piece in self.pieces):
            return self.graph.apply_many("dense", self.elements(), weights=weights.T, bias=list(biases))
        return [self.dot(row, float(bias)) for row, bias in zip(weights, biases, strict=True)]


def _collect_scalars(piece: Scalars, weights: Array, values: list[Value], factors: list[float]) -> float:
    """What values add to a sum: bases of scaled columns rather than the scaled columns."""
    total = 0.0
    for i, weight in enumerate(weights.tolist()):
        part = piece.parts[i] if piece.parts else None
        if part is None:
            values.append(piece.values[i])
            factors.append(weight)
        else:
            values.append(part.base)
            factors.append(weight * part.slope)
            total += weight * part.shift
    return total


def concatenate(graph: Graph, vectors: Sequence[Vector]) -> Vector:
    """One vector after the other."""
    pieces: list[Piece] = []
    for piece in (piece for vector in vectors for piece in vector.pieces):
        last = pieces[-1] if pieces else None
        if isinstance(piece, Scalars) and isinstance(last, Scalars):
            blank: tuple[Linear | None, ...] = ()
            if piece.parts or last.parts:
                blank = (last.parts or (None,) * last.size) + (piece.parts or (None,) * piece.size)
            pieces[-1] = Scalars(last.values + piece.values, blank)
        else:
            pieces.append(piece)
    return Vector(graph, pieces)


def look_up(
    graph: Graph,
    key: Value,
    pairs: Sequence[tuple[Any, float]],
    *,
    default: float | None,
    missing: float | None = None,
) -> Value:
    """The number that belongs to a key, `default` for no key, `missing` for a missing one."""
    return graph.apply(
        "lookup",
        key,
        keys=[(one,) for one, _ in pairs],
        values=[value for _, value in pairs],
        default=default,
        missing=missing,
    )


def add_all(graph: Graph, values: Sequence[Value]) -> Value:
    """The sum of values; 0 for none."""
    if not values:
        return graph.constant(0.0)
    return values[0] if len(values) == 1 else graph.apply("sum", *values)
