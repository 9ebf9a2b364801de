"""One position of an axis, read from a value: it is read from what the value is made of, and the rest is never made.

A transformer over `[history; item]` computes every row and reads the item's. Axis letters: L steps, d width.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from recserve.network.draft import Draft
from recserve.network.rewrites.concats import step_of
from recserve.network.rules.axes import normal
from recserve.network.rules.elementwise import BROADCASTING, UNARY
from recserve.network.rules.shapes import axes_of
from recserve.network.sizes import ONE, Size, static
from recserve.rates import Rate

_Key = tuple[ir.Value, int, int]
"""A value, a position (-1 is the last) and an axis."""


def pick_early(draft: Draft) -> None:
    """`f(x)[k] = f(x[k])` for one position k of an axis along which f works on each position by itself.

    Such f are elementwise ops, `x @ y` along the rows of x, a norm or softmax along other axes, transpositions,
    reshapes behind the axis, and a concatenation, slice or split along another axis.
    """
    known: dict[_Key, ir.Value] = {}
    for node in draft.nodes():
        found = _pick(draft, node)
        if found is None:
            continue
        source, position, axis = found
        result = _picked(draft, (source, position, axis), node, known)
        if result is None or draft.fact(result).is_opaque:
            continue
        if len(draft.dims(result)) > len(draft.dims(node.outputs[0])):
            result = draft.emit("Squeeze", [result, draft.axis_constant([axis])], node)
        draft.replace(node.outputs[0], result, "pick_early", f"position {position} of axis {axis} read early")


def _pick(draft: Draft, node: ir.Node) -> tuple[ir.Value, int, int] | None:
    """The value, position and axis of a node that reads one position; -1 is the last."""
    source = node.inputs[0] if node.inputs else None
    if source is None or node.op_type not in ("Gather", "Slice") or draft.fact(node.outputs[0]).is_opaque:
        return None
    if draft.rate(source) is not Rate.CANDIDATE:
        return None
    step, dims = step_of(draft, node), draft.dims(source)
    if node.op_type == "Gather":
        index = draft.array(node.inputs[1])
        if index is None or index.size != 1 or index.ndim > 1:
            return None
        position, axis = int(index.reshape(-1)[0]), normal(step.int_of("axis", 0), len(dims))
    else:
        starts, ends, axes, steps = (step.static_content(k) for k in (1, 2, 3, 4))
        if starts is None or ends is None or axes is None or len(axes) != 1 or (step.fact(4) and steps != (1,)):
            return None
        position, axis = starts[0], normal(axes[0], len(dims))
        is_last = position == -1 and ends[0] > 2**31 - 2
        if not is_last and not (ends[0] == position + 1 and position != -1):
            return None
    if position < -1 or dims[axis] == ONE or axis == draft.fact(source).row:
        return None
    if position == -1 and dims[axis].is_static:
        position = dims[axis].factor - 1
    return source, position, axis


def _picked(draft: Draft, key: _Key, before: ir.Node, known: dict[_Key, ir.Value]) -> ir.Value | None:
    """A position of a value, of size 1 along its axis, made of positions of what the value is made of."""
    value, position, axis = key
    node, fact = value.producer(), draft.fact(value)
    if node is None or fact.dims is None or fact.rate is not Rate.CANDIDATE or axis == fact.row:
        return None
    places = _places(draft, node, value, axis)
    if places is None:
        return None
    if key in known:
        return known[key]
    inputs: list[ir.Value | None] = []
    for given, place in zip(node.inputs, places, strict=True):
        if given is not None and place is not None:
            inputs.append(_deeper(draft, (given, position, place), before, known))
        else:
            inputs.append(given)
    if node.op_type == "Reshape":
        shape = draft.axis_constant([*[0] * (axis + 1), *(d.factor for d in fact.dims[axis + 1 :])])
        known[key] = draft.emit("Reshape", [inputs[0], shape], before)
    elif node.op_type == "Split":
        known[key] = _part(draft, node, value, inputs[0], before)
    else:
        known[key] = draft.copy(node, inputs, before)
    return known[key]


def _deeper(draft: Draft, key: _Key, before: ir.Node, known: dict[_Key, ir.Value]) -> ir.Value:
    """As `_picked`; a slice of the value where nothing goes further."""
    found = _picked(draft, key, before, known)
    if found is not None:
        return found
    if key not in known:
        value, position, axis = key
        array = draft.array(value)
        if array is not None:
            known[key] = draft.constant(np.take(array, [position], axis=axis))
            return known[key]
        if draft.dims(value)[axis].is_static:
            bounds = [draft.axis_constant([k]) for k in (position, position + 1, axis)]
            known[key] = draft.emit("Slice", [value, *bounds], before)
        else:
            known[key] = draft.emit("Gather", [value, draft.axis_constant([position])], before, axis=axis)
    return known[key]


def _part(draft: Draft, node: ir.Node, value: ir.Value, source: ir.Value | None, before: ir.Node) -> ir.Value:
    """The output `value` of a Split of another value, as a slice."""
    axis = _split_axis(draft, node)
    start = 0
    for output in node.outputs:
        if output is value:
            break
        start += draft.dims(output)[axis].factor
    stop = start + draft.dims(value)[axis].factor
    return draft.emit("Slice", [source, *(draft.axis_constant([k]) for k in (start, stop, axis))], before)


def _split_axis(draft: Draft, node: ir.Node) -> int:
    return normal(step_of(draft, node).int_of("axis", 0), len(draft.dims(node.outputs[0])))


def _places(draft: Draft, node: ir.Node, value: ir.Value, axis: int) -> list[int | None] | None:
    """For each input of a node the axis that goes with `axis` of its output, None where the input stays whole.

    None as a whole where the op mixes the positions of the axis, or is none that is known.
    """
    if any(v is not None and draft.fact(v).is_opaque for v in node.inputs):
        return None
    if node.op_type in BROADCASTING and node.op_type != "PRelu":
        return _broadcast_places(draft, node, value, axis)
    if node.op_type == "MatMul":
        return _matmul_places(draft, node, value, axis)
    first = _first_place(draft, node, value, axis)
    if first is None:
        return None
    if node.op_type == "Concat":
        return [first] * len(node.inputs)
    return [first, *[None] * (len(node.inputs) - 1)]


def _broadcast_places(draft: Draft, node: ir.Node, value: ir.Value, axis: int) -> list[int | None] | None:
    rank, size = len(draft.dims(value)), draft.dims(value)[axis]
    places: list[int | None] = []
    for given in node.inputs:
        dims = () if given is None else draft.dims(given)
        own = axis - rank + len(dims)
        is_whole = own < 0 or dims[own] == ONE
        if not is_whole and dims[own] != size:
            return None
        places.append(None if is_whole else own)
    return places


def _matmul_places(draft: Draft, node: ir.Node, value: ir.Value, axis: int) -> list[int | None] | None:
    """Rows of the left operand only."""
    rank, left = len(draft.dims(value)), node.inputs[0]
    right = node.inputs[1]
    if left is None or right is None or len(draft.dims(left)) != rank or len(draft.dims(right)) < 2:
        return None
    return [axis, None] if axis == rank - 2 else None


def _first_place(draft: Draft, node: ir.Node, value: ir.Value, axis: int) -> int | None:
    """The axis of the first input that goes with an axis of the output; None where the op mixes along it."""
    source = node.inputs[0]
    if source is None or (len(node.outputs) > 1 and node.op_type != "Split"):
        return None
    step, rank, op = step_of(draft, node), len(draft.dims(value)), node.op_type
    before, after = draft.dims(source), draft.dims(value)
    place: int | None = None
    if op in UNARY:
        place = axis
    elif op in ("Softmax", "LogSoftmax") and draft.facts.opset >= 13:
        place = axis if normal(step.int_of("axis", -1), rank) != axis else None
    elif op == "LayerNormalization":
        place = axis if normal(step.int_of("axis", -1), rank) > axis else None
    elif op == "Transpose":
        place = (step.ints_of("perm") or tuple(reversed(range(rank))))[axis]
    elif op == "Reshape":
        is_behind = before[: axis + 1] == after[: axis + 1] and static(after[axis + 1 :]) is not None
        place = axis if is_behind and Size(0) not in after else None
    elif op == "Concat":
        place = axis if normal(step.int_of("axis", 0), rank) != axis else None
    elif op == "Split":
        own = _split_axis(draft, node)
        place = axis if own != axis and all(draft.dims(v)[own].is_static for v in node.outputs) else None
    elif op == "Slice":
        axes = step.static_content(3)
        place = axis if axes is not None and axis not in {normal(a, rank) for a in axes} else None
    elif op in ("Squeeze", "Unsqueeze"):
        place = _view_place(op, axes_of(step), len(before), rank, axis)
    return place


def _view_place(op: str, axes: tuple[int, ...] | None, before: int, after: int, axis: int) -> int | None:
    if axes is None:
        return None
    changed = {normal(a, before if op == "Squeeze" else after) for a in axes}
    if op == "Squeeze":
        return [a for a in range(before) if a not in changed][axis]
    kept = [a for a in range(after) if a not in changed]
    return kept.index(axis) if axis in kept else None
