"""Steps of a long history that each candidate retrieves: what is computed of each step is computed before.

A candidate picks the few steps that are most like it (the search unit of SIM and ETA) and attends to those. Axis
letters: N candidates, L steps, K of them retrieved, d and h widths.
"""

from __future__ import annotations

import onnx_ir as ir

from recserve.network.draft import Draft
from recserve.network.rewrites.concats import step_of
from recserve.network.rules.axes import normal
from recserve.network.sizes import ONE
from recserve.rates import Rate


def project_before_retrieval(draft: Draft) -> None:
    """`x[i] @ W = (x @ W)[i]` for x [N, L, d] of the request and the steps i [N, K] that a candidate retrieves.

    The product of all steps runs once per request; the candidates retrieve its rows instead of those of x.
    """
    for node in draft.nodes():
        weight = draft.array(node.inputs[1]) if node.op_type == "MatMul" else None
        taken = node.inputs[0].producer() if weight is not None and node.inputs[0] is not None else None
        out = draft.fact(node.outputs[0])
        if weight is None or taken is None or weight.ndim != 2 or out.rate is not Rate.CANDIDATE or out.is_opaque:
            continue
        found = _retrieved(draft, taken)
        if found is None:
            continue
        source, index = found
        product = draft.emit("MatMul", [source, node.inputs[1]], node)
        wide = draft.emit("Expand", [index, draft.axis_constant([1, 1, weight.shape[1]])], node)
        result = draft.emit("GatherElements", [product, wide], node, axis=1)
        if draft.fact(result).dims == out.dims:
            draft.replace(node.outputs[0], result, "project_before_retrieval", "a product of steps before their choice")


def _retrieved(draft: Draft, node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """The x [N, L, d] and the index [N, K, 1] of a node that takes whole steps of x."""
    if node.op_type != "GatherElements" or node.inputs[0] is None or node.inputs[1] is None:
        return None
    source, spread = node.inputs[0], node.inputs[1].producer()
    dims = draft.fact(source).dims
    if dims is None or draft.rate(source) is not Rate.REQUEST or len(dims) != 3 or draft.fact(source).row != 0:
        return None
    index = spread.inputs[0] if spread is not None and spread.op_type == "Expand" else None
    wide, narrow = draft.fact(node.inputs[1]).dims, None if index is None else draft.fact(index).dims
    if index is None or wide is None or narrow is None or len(narrow) != 3 or len(wide) != 3:
        return None
    is_whole = narrow == (*wide[:2], ONE) and wide[2] == dims[2]
    return (source, index) if is_whole and normal(step_of(draft, node).int_of("axis", 0), 3) == 1 else None
