"""Ops that change the shape: rows are followed through, also where they are merged with other axes into `N·f`."""

from __future__ import annotations

from recserve.network.facts import Content, Layout, Step, rule
from recserve.network.rules.axes import normal
from recserve.network.sizes import ONE, Dims, Size, product


def reshaped(dims: Dims, row: int | None, result: Dims) -> Layout | None:
    """Follow the rows through a row-major reshape.

    The rows are the axis of size f·N after a prefix of size p. They remain whole blocks exactly if the result has an
    axis of size g·N after a prefix of the same size p.
    """
    if row is None:
        return Layout(result, None)
    prefix = product(dims[:row])
    for axis, size in enumerate(result):
        if size.has_rows:
            return Layout(result, axis) if product(result[:axis]) == prefix else None
    return None


def target_dims(dims: Dims, target: Content, allow_zero: bool) -> Dims | None:
    """The axes after Reshape to `target`, in which 0 copies an axis and one -1 takes the rest."""
    result: list[Size | None] = []
    for axis, size in enumerate(target):
        if size == Size(0) and not allow_zero:
            if axis >= len(dims):
                return None
            result.append(dims[axis])
        else:
            result.append(size)
    inferred = [i for i, s in enumerate(result) if s is None or s == Size(-1)]
    if len(inferred) > 1:
        return None
    if inferred:
        rest = product(s for i, s in enumerate(result) if s is not None and i != inferred[0])
        result[inferred[0]] = product(dims).divide(rest)
    return None if any(s is None for s in result) else tuple(s for s in result if s is not None)


@rule("Reshape")
def _reshape(step: Step) -> list[Layout] | None:
    target = step.content(1)
    if target is None:
        return None
    dims = target_dims(step.dims(0), target, bool(step.int_of("allowzero", 0)))
    if dims is None:
        return None
    layout = reshaped(step.dims(0), step.row(0), dims)
    return None if layout is None else [layout]


@rule("Flatten")
def _flatten(step: Step) -> list[Layout] | None:
    dims = step.dims(0)
    axis = normal(step.int_of("axis", 1), len(dims))
    layout = reshaped(dims, step.row(0), (product(dims[:axis]), product(dims[axis:])))
    return None if layout is None else [layout]


@rule("Transpose")
def _transpose(step: Step) -> list[Layout]:
    dims, row = step.dims(0), step.row(0)
    order = step.ints_of("perm") or tuple(reversed(range(len(dims))))
    return [Layout(tuple(dims[a] for a in order), None if row is None else order.index(row))]


def axes_of(step: Step) -> tuple[int, ...] | None:
    """The axes of Squeeze or Unsqueeze, from the attribute or the input."""
    return step.ints_of("axes") or step.static_content(1)


@rule("Unsqueeze")
def _unsqueeze(step: Step) -> list[Layout] | None:
    dims, axes = list(step.dims(0)), axes_of(step)
    if axes is None:
        return None
    row, rank = step.row(0), len(dims) + len(axes)
    for axis in sorted(normal(a, rank) for a in axes):
        dims.insert(axis, ONE)
        if row is not None and axis <= row:
            row += 1
    return [Layout(tuple(dims), row)]


@rule("Squeeze")
def _squeeze(step: Step) -> list[Layout] | None:
    dims, axes = step.dims(0), axes_of(step)
    if axes is None:
        return None
    gone = {normal(a, len(dims)) for a in axes}
    row = step.row(0)
    if row in gone or any(dims[a] != ONE for a in gone):
        return None
    rest = tuple(d for a, d in enumerate(dims) if a not in gone)
    return [Layout(rest, None if row is None else row - sum(a < row for a in gone))]


@rule("Expand")
def _expand(step: Step) -> list[Layout] | None:
    dims, row, target = step.dims(0), step.row(0), step.content(1)
    if target is None:
        return None
    rank = max(len(dims), len(target))
    result: list[Size] = []
    for axis in range(rank):
        own = dims[axis - rank + len(dims)] if axis >= rank - len(dims) else ONE
        wanted = target[axis - rank + len(target)] if axis >= rank - len(target) else ONE
        if wanted in (own, ONE):
            result.append(own)
        elif own == ONE and wanted is not None:
            result.append(wanted)
        elif own.has_rows or (wanted is not None and wanted.has_rows):
            return None
        else:
            result.append(own if own.is_static and own != ONE else step.fresh(axis))
    own_row = None if row is None else row + rank - len(dims)
    rows = [axis for axis, size in enumerate(result) if size.has_rows]
    if len(rows) > 1 or (own_row is not None and rows != [own_row]):
        return None
    return [Layout(tuple(result), rows[0] if rows else None)]


@rule("Tile")
def _tile(step: Step) -> list[Layout] | None:
    dims, row, repeats = step.dims(0), step.row(0), step.content(1)
    if repeats is None or len(repeats) != len(dims) or (row is not None and repeats[row] != ONE):
        return None
    result = [step.fresh(a) if r is None else d * r for a, (d, r) in enumerate(zip(dims, repeats, strict=True))]
    return [Layout(tuple(result), row)]


@rule("ConstantOfShape")
def _constant_of_shape(step: Step) -> list[Layout] | None:
    target = step.content(0)
    if target is None:
        return None
    dims = tuple(step.fresh(a) if s is None else s for a, s in enumerate(target))
    rows = [axis for axis, size in enumerate(dims) if size.has_rows]
    return [Layout(dims, rows[0] if rows else None)]


@rule("Range")
def _ranges(step: Step) -> list[Layout] | None:
    bounds = [step.content(i) for i in range(3)]
    if any(b is not None and b[0] is not None and b[0].has_rows for b in bounds):
        return None
    first, last, stride = bounds
    if first == (Size(0),) and stride == (ONE,) and last is not None and last[0] is not None:
        return [Layout((last[0],), None)]
    return [Layout((step.fresh(0),), None)]
