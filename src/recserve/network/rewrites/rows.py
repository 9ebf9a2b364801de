"""The first row of what all candidates of a request share: a request has one user, so the first row is every row.

Models that get the user once compute on it alone and repeat the result for the candidates. In the flat form the user
is repeated from the start; such a model then reads row 0 of it. A value made of that row alone has one row where the
flat form has N, and would be opaque.
"""

from __future__ import annotations

from typing import Final

import onnx_ir as ir

from recserve.network.draft import Draft
from recserve.network.facts import Fact
from recserve.network.rewrites.concats import step_of
from recserve.network.rules.axes import normal
from recserve.network.rules.elementwise import BROADCASTING
from recserve.network.sizes import ONE, N
from recserve.rates import Rate

_UNSPREAD: Final = frozenset({"Size", "ConstantOfShape", "Range"})
_Rows = dict[int, ir.Value]
"""By id of a value of one row: the value that has this row for every candidate."""


def spread_first_row(draft: Draft) -> None:
    """`f(x[:1], y) = f(x, y)` for x [N, ..] of the request, whose rows are all alike, and y [N, ..] of any rate.

    So are `Expand(f(x[:1]), [N, ..]) = f(x)`, and `y [N, d] @ f(x[:1])ᵀ [d, 1] = Σ_d y ∘ f(x)`. A row taken from an
    item is another matter and stays.
    """
    rows: _Rows = {}
    for node in draft.nodes():
        if _is_first_row(draft, node) and node.inputs[0] is not None:
            rows[id(node.outputs[0])] = node.inputs[0]
            continue
        if not any(v is not None and id(v) in rows for v in node.inputs) or len(node.outputs) > 1:
            continue
        if node.op_type in _UNSPREAD:
            continue
        result, is_spread = (_shape(draft, node, rows), True) if node.op_type == "Shape" else _spread(draft, node, rows)
        if result is None:
            continue
        if is_spread:
            draft.replace(node.outputs[0], result, "spread_first_row", f"{node.op_type} for every candidate")
        else:
            rows[id(node.outputs[0])] = result


def _is_first_row(draft: Draft, node: ir.Node) -> bool:
    """`x[:1]` along the rows of a request value."""
    source = node.inputs[0] if node.inputs else None
    if source is None or node.op_type not in ("Slice", "Gather"):
        return False
    fact = draft.fact(source)
    if fact.dims is None or fact.row != 0 or fact.rate is not Rate.REQUEST or fact.dims[0] != N:
        return False
    step = step_of(draft, node)
    if node.op_type == "Gather":
        index = draft.array(node.inputs[1])
        axis = normal(step.int_of("axis", 0), len(fact.dims))
        return index is not None and index.tolist() == [0] and axis == 0
    bounds = [step.static_content(k) for k in (1, 2)]
    axes = step.static_content(3) if step.fact(3) is not None else (0,)
    steps = step.static_content(4) if step.fact(4) is not None else (1,)
    return bounds == [(0,), (1,)] and axes == (0,) and steps == (1,)


def _spread(draft: Draft, node: ir.Node, rows: _Rows) -> tuple[ir.Value | None, bool]:
    """The node on all rows, and whether its result had all rows before, because another operand has."""
    others = [v for v in node.inputs if v is not None and id(v) not in rows]
    facts = [draft.fact(v) for v in others]
    if any(f.is_opaque for f in facts):
        return None, False
    inputs = [rows.get(id(v), v) for v in node.inputs]
    if node.op_type in ("Expand", "Tile"):
        return _repeated(draft, node, inputs)
    is_met = any(f.row is not None for f in facts)
    if is_met and node.op_type == "MatMul" and _meets_column(draft, node, rows):
        return _dots(draft, node, inputs), True
    if is_met and node.op_type not in BROADCASTING and node.op_type != "MatMul":
        return None, False
    result = draft.copy(node, inputs, node)
    fact = draft.fact(result)
    if fact.is_opaque or (is_met and (fact.row != 0 or not _is_aligned(facts, fact))):
        return None, False
    is_one_each = fact.dims is not None and fact.row is not None and fact.dims[fact.row] == N
    return (result if is_one_each else None), is_met


def _shape(draft: Draft, node: ir.Node, rows: _Rows) -> ir.Value | None:
    """The shape of one row, from that of all rows."""
    value = node.inputs[0]
    whole = None if value is None else rows[id(value)]
    if whole is None or draft.fact(whole).row != 0 or node.attributes:
        return None
    rest = draft.emit("Shape", [whole], node, start=1)
    return draft.emit("Concat", [draft.axis_constant([1]), rest], node, axis=0)


def _is_aligned(facts: list[Fact], out: Fact) -> bool:
    """The operands of N rows have them on axis 0 of the result."""
    ranks = [len(f.dims) for f in facts if f.dims is not None and f.row is not None]
    return out.dims is not None and all(rank == len(out.dims) for rank in ranks)


def _repeated(draft: Draft, node: ir.Node, inputs: list[ir.Value | None]) -> tuple[ir.Value | None, bool]:
    """Expand or Tile of one row to N rows, which they all have already, or along other axes."""
    source, target = inputs[0], inputs[1]
    content = None if target is None else draft.fact(target).content
    dims = None if source is None else draft.fact(source).dims
    if source is None or target is None or content is None or dims is None or draft.fact(source).row != 0:
        return None, False
    if len(content) != len(dims) or content[0] not in (N, ONE):
        return None, False
    rest = draft.emit("Slice", [target, *(draft.axis_constant([k]) for k in (1, 2**31, 0))], node)
    shape = draft.emit("Concat", [draft.axis_constant([1]), rest], node, axis=0)
    result = draft.emit(node.op_type, [source, shape], node)
    return (None if draft.fact(result).is_opaque else result), content[0] == N


def _meets_column(draft: Draft, node: ir.Node, rows: _Rows) -> bool:
    """`y [N, d] @ s [d, 1]` where s is one row, turned."""
    left, right = node.inputs
    wide = None if right is None or id(right) not in rows else draft.fact(rows[id(right)])
    fact = None if left is None else draft.fact(left)
    if wide is None or wide.dims is None or fact is None or fact.dims is None:
        return False
    return len(wide.dims) == 2 == len(fact.dims) and (wide.row, fact.row) == (1, 0) and fact.dims[0] == N


def _dots(draft: Draft, node: ir.Node, inputs: list[ir.Value | None]) -> ir.Value | None:
    turned = draft.emit("Transpose", [inputs[1]], node, perm=(1, 0))
    product = draft.emit("Mul", [inputs[0], turned], node)
    return draft.emit("ReduceSum", [product, draft.axis_constant([1])], node, keepdims=1)
