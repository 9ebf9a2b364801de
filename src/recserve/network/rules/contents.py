"""Arithmetic on sizes: the elements of short integer vectors such as `Concat(Shape(x)[0:1], [-1, 8])`.

Each function answers with the elements of the output, None for an element it cannot tell; a dim of the output is
() for a scalar, (k,) for a vector.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from recserve.network.facts import Content, Step
from recserve.network.sizes import ONE, Dims, Size, product

_Answer = tuple[Dims, Content] | None
_INT_TYPES: Final = (6, 7)


def content_of(step: Step) -> _Answer:
    """The axes and elements of the output of a step on sizes; None if it is not one."""
    if step.op == "Shape":
        return _shape(step)
    if step.op == "Size":
        return (), (product(step.dims(0)),)
    if step.op == "ConstantOfShape":
        return _constant_of_shape(step)
    handler = _HANDLERS.get(step.op)
    if handler is None or not step.facts or step.facts[0] is None or step.facts[0].content is None:
        return None
    return handler(step, step.facts[0].content)


def _shape(step: Step) -> _Answer:
    dims = step.dims(0)
    start, end = step.int_of("start", 0), step.int_of("end", len(dims))
    picked = dims[slice(start, end)]
    return (Size(len(picked)),), picked


def _constant_of_shape(step: Step) -> _Answer:
    shape = step.static_content(0)
    value = step.node.attributes.get("value")
    if shape is None or len(shape) > 1 or value is None or value.as_tensor().dtype.value not in _INT_TYPES:
        return None
    count = shape[0] if shape else 1
    if count > 64:
        return None
    fill = Size(int(value.as_tensor().numpy().flat[0]))
    return tuple(Size(s) for s in shape), (fill,) * count


def _gather(step: Step, content: Content) -> _Answer:
    index = step.static_content(1)
    if index is None or len(step.dims(0)) != 1:
        return None
    if any(not -len(content) <= i < len(content) for i in index) or len(step.dims(1)) > 1:
        return None
    return step.dims(1), tuple(content[i] for i in index)


def _slice(step: Step, content: Content) -> _Answer:
    starts, ends = step.static_content(1), step.static_content(2)
    steps = step.static_content(4) if step.fact(4) is not None else (1,)
    if starts is None or ends is None or steps is None or len(starts) != 1:
        return None
    picked = content[slice(starts[0], ends[0], steps[0])] if steps[0] > 0 else None
    return None if picked is None else ((Size(len(picked)),), picked)


def _concat(step: Step, _content: Content) -> _Answer:
    joined: list[Size | None] = []
    for fact in step.known():
        if fact.content is None and fact.dims is not None and len(fact.dims) == 1 and fact.dims[0].is_static:
            joined += [None] * fact.dims[0].factor
        elif fact.content is None:
            return None
        else:
            joined += fact.content
    return (Size(len(joined)),), tuple(joined)


def _same(step: Step, content: Content) -> _Answer:
    return step.dims(0), content


def _cast(step: Step, content: Content) -> _Answer:
    return _same(step, content) if step.int_of("to", 0) in _INT_TYPES else None


def _to_vector(step: Step, content: Content) -> _Answer:
    return ((ONE,), content) if len(step.dims(0)) == 0 else None


def _to_scalar(step: Step, content: Content) -> _Answer:
    return ((), content) if step.dims(0) == (ONE,) else None


def _reshape(step: Step, content: Content) -> _Answer:
    target = step.static_content(1)
    if target is None or len(target) > 1:
        return None
    return ((Size(len(content)),) if target else ()), content


def _reduce_prod(step: Step, content: Content) -> _Answer:
    known = [size for size in content if size is not None]
    if len(step.dims(0)) != 1 or len(known) < len(content):
        return None
    return ((ONE,) if step.int_of("keepdims", 1) else ()), (product(known),)


def _max(_step: Step, left: Size, right: Size) -> Size | None:
    if left == right:
        return left
    return max(left, right, key=lambda s: s.factor) if left.is_static and right.is_static else None


def _pairs(combine: Callable[[Step, Size, Size], Size | None]) -> Callable[[Step, Content], _Answer]:
    def handler(step: Step, left: Content) -> _Answer:
        right = step.content(1)
        if right is None or (len(left) != len(right) and 1 not in (len(left), len(right))):
            return None
        count = max(len(left), len(right))
        wide_left = left * count if len(left) == 1 else left
        wide_right = right * count if len(right) == 1 else right
        dims = max(step.dims(0), step.dims(1), key=len)
        pairs = zip(wide_left, wide_right, strict=True)
        result = tuple(None if a is None or b is None else combine(step, a, b) for a, b in pairs)
        return (dims if not dims else (Size(count),)), result

    return handler


def _add(step: Step, left: Size, right: Size) -> Size | None:
    if left.names == right.names:
        return Size(left.factor + right.factor, left.names)
    if Size(0) in (left, right):
        return right if left == Size(0) else left
    return step.known_sum(left, right) if min(left.factor, right.factor) > 0 else None


def _subtract(step: Step, left: Size, right: Size) -> Size | None:
    rest = step.rest(left, right)
    if rest is not None:
        return step.known_sum(*rest)
    return _add(step, left, Size(-right.factor, right.names))


def _equal(_step: Step, left: Size, right: Size) -> Size | None:
    """1 or 0; a symbolic size equals no negative number."""
    if left == right:
        return ONE
    if left.is_static and right.is_static:
        return Size(0)
    known = left if left.is_static else right
    return Size(0) if known.is_static and known.factor < 0 else None


def _where(step: Step, condition: Content) -> _Answer:
    yes, no = step.content(1), step.content(2)
    if yes is None or no is None:
        return None
    count = max(len(condition), len(yes), len(no))
    columns = [c * count if len(c) == 1 else c for c in (condition, yes, no)]
    if any(len(c) != count for c in columns):
        return None
    picked = tuple(
        None if c is None or not c.is_static else a if c.factor else b for c, a, b in zip(*columns, strict=True)
    )
    is_scalar = all(len(step.dims(i)) == 0 for i in range(3))
    return (() if is_scalar else (Size(count),)), picked


_HANDLERS: Final[dict[str, Callable[[Step, Content], _Answer]]] = {
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Identity": _same,
    "Cast": _cast,
    "Unsqueeze": _to_vector,
    "Squeeze": _to_scalar,
    "Reshape": _reshape,
    "Equal": _pairs(_equal),
    "Where": _where,
    "Mul": _pairs(lambda _, a, b: a * b),
    "Add": _pairs(_add),
    "Max": _pairs(_max),
    "ReduceProd": _reduce_prod,
    "Sub": _pairs(_subtract),
    "Div": _pairs(lambda _, a, b: a.divide(b)),
}
