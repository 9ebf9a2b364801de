"""What a value can be on a block of its positions, where sizes are known at run time only.

Masks over a sequence are made of sizes: `Range(L + 1)`, compared with itself, or `Trilu` of ones. Rows 0..L-1 of a
causal mask never see column L, whatever L is. Interval arithmetic shows it: each position of a block, and each element
of a value there, lies between two *bounds*, which are sums of integers and sizes.

For i in [0, L-1] and j in [L, L] the bounds of `i - j` are [-L, -1], so `i >= j` is false on the whole block. A sum of
sizes is no less than 0 for certain if none of its terms is negative. Letters: L steps, i and j positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from math import isfinite, isnan
from typing import Final

import numpy as np
import onnx_ir as ir

from recserve.network.draft import Array, Draft
from recserve.network.facts import Facts
from recserve.network.rewrites.concats import step_of
from recserve.network.rules.axes import normal
from recserve.network.sizes import ONE, Dims, Size

_MAX_DEPTH: Final = 64
_LARGEST: Final = 2**24
"""Every integer below has a float32."""
_WIDE: Final = frozenset({ir.DataType.DOUBLE, ir.DataType.INT32, ir.DataType.INT64})


@dataclass(frozen=True)
class Bound:
    """A number plus a sum of products of sizes, each times an integer.

    Attributes:
        whole: the number; it may be infinite.
        terms: the factor of each product of named sizes, by the names of the product; none is 0.
    """

    whole: float
    terms: tuple[tuple[tuple[str, ...], float], ...] = ()

    def __add__(self, other: Bound) -> Bound:
        merged = dict(self.terms)
        for names, factor in other.terms:
            merged[names] = merged.get(names, 0) + factor
        return Bound(self.whole + other.whole, tuple(sorted((n, f) for n, f in merged.items() if f)))

    def __mul__(self, factor: float) -> Bound:
        return Bound(self.whole * factor, tuple((n, f * factor) for n, f in self.terms if factor))

    def __sub__(self, other: Bound) -> Bound:
        return self + other * -1

    def is_no_less(self, other: Bound) -> bool:
        """It is `other` or more for certain."""
        if not self.terms and not other.terms:
            return self.whole >= other.whole
        rest = self - other
        return rest.whole >= 0 and all(factor > 0 for _, factor in rest.terms)

    def is_more(self, other: Bound) -> bool:
        """It is more than `other` for certain."""
        if not self.terms and not other.terms:
            return self.whole > other.whole
        rest = self - other
        return rest.whole > 0 and all(factor > 0 for _, factor in rest.terms)

    def exact(self) -> Bound | None:
        """The bound, if floats of 32 bits and integers agree on it."""
        if self.terms and not all(_is_small(x) for x in (self.whole, *(f for _, f in self.terms))):
            return None
        with np.errstate(over="ignore"):
            return self if float(np.float32(self.whole)) == self.whole else None


@dataclass(frozen=True)
class Span:
    """All elements of a block lie between two bounds; None where none is known."""

    low: Bound | None
    high: Bound | None

    @classmethod
    def of(cls, value: float) -> Span:
        """Each element is this number."""
        return cls(Bound(value), Bound(value))

    @property
    def value(self) -> float | None:
        """The number that each element is; None where they may differ or depend on a size."""
        if self.low is None or self.low != self.high or self.low.terms:
            return None
        return self.low.whole

    def join(self, other: Span) -> Span:
        """The elements of both blocks."""
        low = high = None
        if self.low is not None and other.low is not None:
            low = next((a for a, b in _ways(self.low, other.low) if b.is_no_less(a)), None)
        if self.high is not None and other.high is not None:
            high = next((a for a, b in _ways(self.high, other.high) if a.is_no_less(b)), None)
        return Span(low, high)

    def shift(self, by: Bound) -> Span:
        """Each element plus a bound."""
        return Span(None if self.low is None else self.low + by, None if self.high is None else self.high + by)


def _is_small(number: float) -> bool:
    """An integer, and a float32 too."""
    return isfinite(number) and number == int(number) and abs(number) < _LARGEST


def _ways(a: Bound, b: Bound) -> Iterable[tuple[Bound, Bound]]:
    return (a, b), (b, a)


ANY: Final = Span(None, None)
YES: Final = Span.of(1)
NO: Final = Span.of(0)
EITHER: Final = Span(Bound(0), Bound(1))

Box = tuple[Span, ...]
"""A block: the first and last position along each axis."""


def bound_of(size: Size, facts: Facts) -> Bound:
    """A size as a bound; sums of sizes are spelled out."""
    result: dict[tuple[str, ...], float] = {(): size.factor}
    for name in size.names:
        origin = facts.origins.get(name)
        terms = () if origin is None else origin.terms
        factors = [bound_of(t, facts) for t in terms] if terms else [Bound(0, (((name,), 1),))]
        total = sum(factors[1:], factors[0])
        product: dict[tuple[str, ...], float] = {}
        for names, factor in result.items():
            for others, times in [((), total.whole), *total.terms]:
                key = tuple(sorted((*names, *others)))
                product[key] = product.get(key, 0) + factor * times
        result = product
    whole = result.pop((), 0)
    return Bound(whole, tuple(sorted((n, f) for n, f in result.items() if f)))


class Spans:
    """The spans of the values of a draft, as it is now."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self._known: dict[tuple[int, Box], Span] = {}
        self._depth = 0

    def uniform(self, value: ir.Value | None) -> float | None:
        """The number that every element of a value is (1 and 0 for booleans); None where that is not known."""
        if value is None or self.draft.fact(value).dims is None:
            return None
        return self.span(value, tuple(self.axis(size) for size in self.draft.dims(value))).value

    def axis(self, size: Size) -> Span:
        """All positions of an axis."""
        return Span(Bound(0), bound_of(size, self.draft.facts) - Bound(1))

    def span(self, value: ir.Value | None, box: Box) -> Span:
        """What the elements of a block of a value are between; the block lies in the value."""
        if value is None or self.draft.fact(value).dims is None or self._depth > _MAX_DEPTH:
            return ANY
        key = (id(value), box)
        if key not in self._known:
            self._depth += 1
            self._known[key] = self._find(value, box)
            self._depth -= 1
        return self._known[key]

    def _find(self, value: ir.Value, box: Box) -> Span:
        array, fact, node = self.draft.array(value), self.draft.fact(value), value.producer()
        if array is not None:
            return _of_array(array, box)
        if fact.content is not None and len(fact.content) == 1 and fact.content[0] is not None:
            bound = bound_of(fact.content[0], self.draft.facts).exact()
            return Span(bound, bound)
        rule = None if node is None or node.domain not in ("", "ai.onnx") else _RULES.get(node.op_type)
        return ANY if rule is None or node is None else rule(self, node, box)

    def dims(self, value: ir.Value | None) -> Dims:
        """The axes of a value that is there."""
        return () if value is None else self.draft.dims(value)

    def aligned(self, node: ir.Node, box: Box) -> list[Span]:
        """The spans of the inputs of an op that broadcasts."""
        out = self.dims(node.outputs[0])
        spans = []
        for value in node.inputs:
            dims = self.dims(value)
            pairs = zip(dims, out[len(out) - len(dims) :], box[len(out) - len(dims) :], strict=True)
            own = tuple(positions if size == wanted else self.axis(size) for size, wanted, positions in pairs)
            spans.append(self.span(value, own))
        return spans


def _of_array(array: Array, box: Box) -> Span:
    """The least and the greatest element of a weight in a block.

    Positions that depend on sizes are held by what is known of them: of the last two axes, that column minus row lies
    between two integers, as in a mask of the longest sequence that a model cuts to the steps it has.
    """
    if array.dtype.kind not in "bifu" or array.ndim != len(box):
        return ANY
    for axis, positions in enumerate(box):
        first, last = _integers(positions)
        if isfinite(first) and isfinite(last):
            array = np.take(array, np.arange(max(int(first), 0), min(int(last) + 1, array.shape[axis])), axis=axis)
    if array.ndim >= 2 and not any(isfinite(x) for p in box[-2:] for x in _integers(p)[1:]):
        rows, columns = box[-2:]
        low, high = _integers(_difference(columns, rows))
        offset = np.arange(array.shape[-1]) - np.arange(array.shape[-2])[:, None]
        array = array[..., (offset >= low) & (offset <= high)]
    if not array.size:
        return ANY
    least, greatest = float(array.min()), float(array.max())
    return ANY if isnan(least) or isnan(greatest) else Span(Bound(least), Bound(greatest))


def _integers(span: Span) -> tuple[float, float]:
    """The least and the greatest number that elements can be, whatever the sizes are."""
    low = span.low.whole if span.low is not None and all(f > 0 for _, f in span.low.terms) else -np.inf
    high = span.high.whole if span.high is not None and all(f < 0 for _, f in span.high.terms) else np.inf
    return low, high


def _exact(low: Bound | None, high: Bound | None) -> Span:
    return Span(None if low is None else low.exact(), None if high is None else high.exact())


def _sum(left: Span, right: Span) -> Span:
    low = None if left.low is None or right.low is None else left.low + right.low
    high = None if left.high is None or right.high is None else left.high + right.high
    return _exact(low, high)


def _difference(left: Span, right: Span) -> Span:
    return _sum(left, _scaled(right, -1))


def _scaled(span: Span, factor: float) -> Span:
    bounds = [None if b is None else b * factor for b in (span.low, span.high)]
    low, high = bounds if factor >= 0 else reversed(bounds)
    return _exact(low, high)


def _product(left: Span, right: Span) -> Span:
    """With a number; 0 times a finite x is 0."""
    for factor, other in ((left.value, right), (right.value, left)):
        if factor == 0 and other == ANY:
            return NO
        if factor is not None:
            return _scaled(other, factor)
    return ANY


def _no_less(left: Span, right: Span) -> Span:
    """`left >= right`."""
    if left.low is not None and right.high is not None and left.low.is_no_less(right.high):
        return YES
    return NO if _is_more(right, left) else EITHER


def _is_more(left: Span, right: Span) -> bool:
    return left.low is not None and right.high is not None and left.low.is_more(right.high)


def _equal(left: Span, right: Span) -> Span:
    if left.low is not None and left.low == left.high and left == right:
        return YES
    return NO if _is_more(left, right) or _is_more(right, left) else EITHER


def _not(span: Span) -> Span:
    return NO if span == YES else YES if span == NO else EITHER


def _both(left: Span, right: Span) -> Span:
    if NO in (left, right):
        return NO
    return YES if left == right == YES else EITHER


_PAIRS: Final[dict[str, Callable[[Span, Span], Span]]] = {
    "Add": _sum,
    "Sub": _difference,
    "Mul": _product,
    "GreaterOrEqual": _no_less,
    "LessOrEqual": lambda a, b: _no_less(b, a),
    "Less": lambda a, b: _not(_no_less(a, b)),
    "Greater": lambda a, b: _not(_no_less(b, a)),
    "Equal": _equal,
    "And": _both,
    "Or": lambda a, b: _not(_both(_not(a), _not(b))),
}


def _pair(spans: Spans, node: ir.Node, box: Box) -> Span:
    left, right = spans.aligned(node, box)
    return _PAIRS[node.op_type](left, right)


def _choice(spans: Spans, node: ir.Node, box: Box) -> Span:
    condition, yes, no = spans.aligned(node, box)
    return yes if condition == YES else no if condition == NO else yes.join(no)


def _same(spans: Spans, node: ir.Node, box: Box) -> Span:
    return spans.span(node.inputs[0], box)


def _cast(spans: Spans, node: ir.Node, box: Box) -> Span:
    """What is not 0 is true. Integers keep their order in wide types, and 0 and 1 stay what they are in any."""
    span, to = spans.span(node.inputs[0], box), ir.DataType(node.attributes["to"].as_int())
    if to is ir.DataType.BOOL:
        return _not(_equal(span, NO))
    is_whole = all(b is None or _is_small(b.whole) for b in (span.low, span.high))
    is_kept = to is ir.DataType.FLOAT or (to in _WIDE and is_whole) or span in (YES, NO, EITHER)
    return span if is_kept else ANY


def _negative(spans: Spans, node: ir.Node, box: Box) -> Span:
    return _scaled(spans.span(node.inputs[0], box), -1)


def _inverse(spans: Spans, node: ir.Node, box: Box) -> Span:
    return _not(spans.span(node.inputs[0], box))


def _range(spans: Spans, node: ir.Node, box: Box) -> Span:
    start, _, step = (spans.span(v, ()) for v in node.inputs)
    return _sum(start, _scaled(box[0], step.value)) if step.value else ANY


def _fill(_spans: Spans, node: ir.Node, _box: Box) -> Span:
    attribute = node.attributes.get("value")
    return NO if attribute is None else _of_array(attribute.as_tensor().numpy().reshape(()), ())


def _triangle(spans: Spans, node: ir.Node, box: Box) -> Span:
    """`Trilu` keeps what is on or above (below) a diagonal, where column minus row is k or more (less)."""
    shift = 0.0 if len(node.inputs) < 2 or node.inputs[1] is None else spans.uniform(node.inputs[1])
    if shift is None:
        return ANY
    offset, upper = _difference(box[-1], box[-2]), node.attributes.get("upper")
    is_upper = upper is None or upper.as_int() != 0
    kept = _no_less(offset, Span.of(shift)) if is_upper else _no_less(Span.of(shift), offset)
    if kept == NO:
        return NO
    inner = spans.span(node.inputs[0], box)
    return inner if kept == YES else inner.join(NO)


def _expand(spans: Spans, node: ir.Node, box: Box) -> Span:
    out, dims = spans.dims(node.outputs[0]), spans.dims(node.inputs[0])
    pairs = zip(dims, out[len(out) - len(dims) :], box[len(out) - len(dims) :], strict=True)
    return spans.span(node.inputs[0], tuple(p if a == b else spans.axis(a) for a, b, p in pairs))


def _view(spans: Spans, node: ir.Node, box: Box) -> Span:
    """Axes of size 1 come and go; where others change, all elements of the input are looked at."""
    before, after = spans.dims(node.inputs[0]), spans.dims(node.outputs[0])
    kept = [(size, p) for size, p in zip(after, box, strict=True) if size != ONE]
    if [size for size, _ in kept] != [size for size in before if size != ONE]:
        return spans.span(node.inputs[0], tuple(spans.axis(size) for size in before))
    positions = iter([p for _, p in kept])
    return spans.span(node.inputs[0], tuple(NO if size == ONE else next(positions) for size in before))


def _transpose(spans: Spans, node: ir.Node, box: Box) -> Span:
    order = step_of(spans.draft, node).ints_of("perm") or tuple(reversed(range(len(box))))
    return spans.span(node.inputs[0], tuple(box[order.index(axis)] for axis in range(len(box))))


def _slice(spans: Spans, node: ir.Node, box: Box) -> Span:
    step, dims = step_of(spans.draft, node), spans.dims(node.inputs[0])
    starts, axes = step.content(1), step.static_content(3)
    if axes is None and step.fact(3) is None:
        axes = tuple(range(len(starts or ())))
    strides = step.static_content(4) if step.fact(4) is not None else (1,) * len(axes or ())
    if starts is None or axes is None or strides is None:
        return ANY
    own = list(box)
    for start, raw, stride in zip(starts, axes, strides, strict=True):
        axis = normal(raw, len(dims))
        begin = None if start is None or stride != 1 else bound_of(start, spans.draft.facts)
        if begin is not None and start is not None and start.factor < 0:
            is_inside = start.is_static and step.has_at_least(dims[axis], -start.factor)
            begin = begin + bound_of(dims[axis], spans.draft.facts) if is_inside else None
        own[axis] = spans.axis(dims[axis]) if begin is None else own[axis].shift(begin)
    return spans.span(node.inputs[0], tuple(own))


def _gather(spans: Spans, node: ir.Node, box: Box) -> Span:
    """One position of an axis."""
    step, dims, index = step_of(spans.draft, node), spans.dims(node.inputs[0]), spans.draft.array(node.inputs[1])
    if index is None or index.size != 1:
        return ANY
    axis, place = normal(step.int_of("axis", 0), len(dims)), int(index.reshape(-1)[0])
    at = Span.of(place) if place >= 0 else Span.of(place).shift(bound_of(dims[axis], spans.draft.facts))
    return spans.span(node.inputs[0], (*box[:axis], at, *box[axis + index.ndim :]))


def _concat(spans: Spans, node: ir.Node, box: Box) -> Span:
    """The pieces that a block may meet."""
    axis = normal(node.attributes["axis"].as_int(), len(box))
    offset, found = Bound(0), []
    for value in node.inputs:
        size = spans.dims(value)[axis]
        end = offset + bound_of(size, spans.draft.facts)
        piece = Span(offset, end - Bound(1))
        if not _is_more(piece, box[axis]) and not _is_more(box[axis], piece):
            inner = box[axis].shift(offset * -1)
            is_inside = _no_less(box[axis], Span(None, offset)) == YES == _no_less(Span(piece.high, None), box[axis])
            own = inner if is_inside else spans.axis(size)
            found.append(spans.span(value, (*box[:axis], own, *box[axis + 1 :])))
        offset = end
    return reduce(Span.join, found) if found else ANY


_RULES: Final[dict[str, Callable[[Spans, ir.Node, Box], Span]]] = {
    **dict.fromkeys(_PAIRS, _pair),
    "Where": _choice,
    "Identity": _same,
    "Cast": _cast,
    "Neg": _negative,
    "Not": _inverse,
    "Range": _range,
    "ConstantOfShape": _fill,
    "Trilu": _triangle,
    "Expand": _expand,
    "Unsqueeze": _view,
    "Squeeze": _view,
    "Reshape": _view,
    "Transpose": _transpose,
    "Slice": _slice,
    "Gather": _gather,
    "Concat": _concat,
}
