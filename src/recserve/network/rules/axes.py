"""Ops that work along axes of their first input: rows must not be among those axes."""

from __future__ import annotations

from recserve.network.facts import Layout, Step, rule
from recserve.network.sizes import ONE, Dims, Size


def normal(axis: int, rank: int) -> int:
    """A non-negative axis."""
    return axis + rank if axis < 0 else axis


def full_range(start: Size | None, end: Size | None, size: Size) -> bool:
    """A slice of step 1 takes a whole axis."""
    if start != Size(0) or end is None:
        return False
    return end == size or (end.is_static and end.factor >= 2**31 - 1)


@rule("Concat")
def _concat(step: Step) -> list[Layout] | None:
    facts = step.known()
    rank = len(step.dims(0))
    axis = normal(step.int_of("axis", 0), rank)
    rows = {f.row for f in facts}
    if len(rows) != 1 or axis in rows or any(f.dims is None or len(f.dims) != rank for f in facts):
        return None
    shapes = [f.dims for f in facts if f.dims is not None]
    dims: list[Size] = []
    for k in range(rank):
        sizes = {s[k] for s in shapes}
        if k == axis:
            dims.append(step.total([s[k] for s in shapes], k))
        elif k in rows and len(sizes) > 1:
            return None
        else:
            dims.append(min(sizes, key=lambda s: (len(s.names), s.names)))
    return [Layout(tuple(dims), rows.pop())]


@rule("Split")
def _split(step: Step) -> list[Layout] | None:
    dims, row = step.dims(0), step.row(0)
    axis = normal(step.int_of("axis", 0), len(dims))
    if axis == row:
        return None
    widths = step.static_content(1) or step.ints_of("split")
    count = len(step.node.outputs)
    if widths is None and step.fact(1) is None and dims[axis].is_static:
        chunk = -(-dims[axis].factor // count)
        widths = tuple(min(chunk, dims[axis].factor - i * chunk) for i in range(count))
    layouts = []
    for i in range(count):
        size = Size(widths[i]) if widths is not None else step.fresh(axis, i)
        layouts.append(Layout((*dims[:axis], size, *dims[axis + 1 :]), row))
    return layouts


@rule("Slice")
def _slices(step: Step) -> list[Layout] | None:
    if step.opset < 10:
        return None
    dims, row = list(step.dims(0)), step.row(0)
    starts, ends = step.content(1), step.content(2)
    axes = step.static_content(3) if step.fact(3) is not None else tuple(range(len(starts or ())))
    steps = step.static_content(4) if step.fact(4) is not None else (1,) * len(axes or ())
    if starts is None or ends is None or axes is None or steps is None:
        return None
    for start, end, raw, stride in zip(starts, ends, axes, steps, strict=True):
        axis = normal(raw, len(dims))
        if stride == 1 and full_range(start, end, dims[axis]):
            continue
        if axis == row or any(s is not None and s.has_rows for s in (start, end)):
            return None
        if dims[axis].is_static and start is not None and start.is_static and end is not None and end.is_static:
            taken = range(dims[axis].factor)[start.factor : end.factor : stride]
            dims[axis] = Size(len(taken))
        else:
            size = _sliced(step, dims[axis], start, end, axis) if stride == 1 else None
            dims[axis] = step.fresh(axis) if size is None else size
    return [Layout(tuple(dims), row)]


def _sliced(step: Step, size: Size, start: Size | None, end: Size | None, axis: int) -> Size | None:
    """The size of a slice of step 1 of a dynamic axis: what is cut off a sum of sizes is taken from its integers."""
    if start is None or end is None or not start.is_static:
        return None
    first = start.factor
    if full_range(Size(0), end, size):
        if first >= 0:
            return step.shortened(size, first, axis)
        return Size(-first) if step.has_at_least(size, -first) else None
    if not end.is_static:
        return None
    last = end.factor
    if first >= 0 and last < 0:
        return step.shortened(size, first - last, axis)
    need, count = max(abs(first), abs(last)), last - first
    return Size(count) if (first < 0) == (last < 0) and count >= 0 and step.has_at_least(size, need) else None


@rule("Gather")
def _gather(step: Step) -> list[Layout] | None:
    dims, row = step.dims(0), step.row(0)
    ids, ids_row = step.dims(1), step.row(1)
    axis = normal(step.int_of("axis", 0), len(dims))
    result: Dims = (*dims[:axis], *ids, *dims[axis + 1 :])
    if row is None:
        return [Layout(result, None if ids_row is None else axis + ids_row)]
    if ids_row is not None or row == axis:
        return None
    return [Layout(result, row if row < axis else row + len(ids) - 1)]


@rule("GatherND")
def _gather_nd(step: Step) -> list[Layout] | None:
    """Positions that are the same for all rows, in axes before the rows'."""
    dims, row, ids = step.dims(0), step.row(0), step.dims(1)
    if step.int_of("batch_dims", 0) or step.row(1) is not None or not ids or not ids[-1].is_static:
        return None
    count = ids[-1].factor
    if row is not None and row < count:
        return None
    return [Layout((*ids[:-1], *dims[count:]), None if row is None else row - count + len(ids) - 1)]


@rule("GatherElements")
def _gather_elements(step: Step) -> list[Layout] | None:
    axis = normal(step.int_of("axis", 0), len(step.dims(0)))
    row = step.row(0)
    if row is None or row != step.row(1) or axis == row or step.dims(0)[row] != step.dims(1)[row]:
        return None
    return [Layout(step.dims(1), row)]


@rule("Softmax", "LogSoftmax", "Hardmax")
def _softmax(step: Step) -> list[Layout] | None:
    dims, row = step.dims(0), step.row(0)
    if step.opset >= 13:
        axis = normal(step.int_of("axis", -1), len(dims))
        return None if axis == row else [Layout(dims, row)]
    first = normal(step.int_of("axis", 1), len(dims))
    return None if row is not None and row >= first else [Layout(dims, row)]


@rule("LpNormalization", "CumSum", "Trilu", "TopK")
def _along_axis(step: Step) -> list[Layout] | None:
    dims, row = step.dims(0), step.row(0)
    rank = len(dims)
    if step.op == "Trilu":
        return None if row is not None and row >= rank - 2 else [Layout(dims, row)]
    if step.op == "CumSum":
        axes = step.static_content(1)
        return None if axes is None or normal(axes[0], rank) == row else [Layout(dims, row)]
    axis = normal(step.int_of("axis", -1), rank)
    if axis == row:
        return None
    if step.op == "LpNormalization":
        return [Layout(dims, row)]
    count = step.static_content(1)
    size = Size(count[0]) if count else step.fresh(axis)
    return [Layout((*dims[:axis], size, *dims[axis + 1 :]), row)] * 2


@rule("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def _layer_norm(step: Step) -> list[Layout] | None:
    dims, row = step.dims(0), step.row(0)
    axis = normal(step.int_of("axis", -1), len(dims))
    if any(f.row is not None for f in step.known()[1:]) or (row is not None and row >= axis):
        return None
    statistics = Layout((*dims[:axis], *[ONE] * (len(dims) - axis)), row)
    return [Layout(dims, row), statistics, statistics]


@rule("InstanceNormalization", "BatchNormalization", "GroupNormalization")
def _rows_first_norm(step: Step) -> list[Layout] | None:
    dims, row = step.dims(0), step.row(0)
    if row not in (0, None) or any(f.row is not None for f in step.known()[1:]):
        return None
    if step.op == "BatchNormalization" and (step.int_of("training_mode", 0) or len(step.node.outputs) > 1):
        return None
    return [Layout(dims, row)]


@rule("OneHot")
def _one_hot(step: Step) -> list[Layout] | None:
    dims, row = step.dims(0), step.row(0)
    if any(f.row is not None for f in step.known()[1:]):
        return None
    axis = normal(step.int_of("axis", -1), len(dims) + 1)
    depth = step.static_content(1)
    size = Size(depth[0]) if depth else step.fresh(axis)
    return [Layout((*dims[:axis], size, *dims[axis:]), row if row is None or row < axis else row + 1)]


@rule("Pad")
def _pad(step: Step) -> list[Layout] | None:
    dims, row = step.dims(0), step.row(0)
    amounts = step.static_content(1)
    if step.opset < 11 or amounts is None or any(f.row is not None for f in step.known()[1:]):
        return None
    axes = step.static_content(3) if step.fact(3) is not None else tuple(range(len(dims)))
    if axes is None or len(amounts) != 2 * len(axes):
        return None
    result = list(dims)
    for i, raw in enumerate(axes):
        added = amounts[i] + amounts[i + len(axes)]
        axis = normal(raw, len(dims))
        if axis == row and (amounts[i] or amounts[i + len(axes)]):
            return None
        if added:
            result[axis] = Size(result[axis].factor + added) if result[axis].is_static else step.fresh(axis)
    return [Layout(tuple(result), row)]
