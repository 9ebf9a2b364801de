"""Plain ops: one spelling for what exporters spell in several ways, so that other rewrites need to know only one."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from recserve.network.draft import Array, Draft
from recserve.network.sizes import ONE, static
from recserve.rates import Rate


def spell_out_gemm(draft: Draft) -> None:
    """`Gemm(x, W, b) = x @ (α·W or α·Wᵀ) + β·b` for weights W and b, or for any where α and β are 1."""
    for node in draft.nodes():
        if node.op_type != "Gemm" or _int(node, "transA"):
            continue
        weight = draft.array(node.inputs[1])
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        bias_array = draft.array(bias)
        alpha, beta = _float(node, "alpha"), _float(node, "beta")
        if weight is None and alpha == 1 and (bias is None or beta == 1):
            matrix_value = node.inputs[1]
            if _int(node, "transB"):
                matrix_value = draft.emit("Transpose", [matrix_value], node, perm=(1, 0))
            result = draft.emit("MatMul", [node.inputs[0], matrix_value], node)
            result = result if bias is None else draft.emit("Add", [result, bias], node)
            draft.replace(node.outputs[0], result, "spell_out_gemm", "Gemm as MatMul and Add")
            continue
        if weight is None or (bias is not None and bias_array is None) or node.inputs[0] is None:
            continue
        matrix = np.ascontiguousarray(weight.T if _int(node, "transB") else weight) * weight.dtype.type(alpha)
        result = draft.emit("MatMul", [node.inputs[0], draft.constant(matrix)], node)
        if bias_array is not None:
            scaled = draft.constant(bias_array * bias_array.dtype.type(beta))
            result = draft.emit("Add", [result, scaled], node)
        draft.replace(node.outputs[0], result, "spell_out_gemm", "Gemm as MatMul and Add")


def spell_out_batch_norm(draft: Draft) -> None:
    """`BatchNormalization(x) = x·s + t` with `s = γ / √(var + ε)` and `t = β - mean·s`, along axis 1."""
    for node in draft.nodes():
        fact = draft.fact(node.outputs[0])
        if node.op_type != "BatchNormalization" or fact.dims is None:
            continue
        arrays = [draft.array(v) for v in node.inputs[1:5]]
        if any(a is None for a in arrays) or node.inputs[0] is None:
            continue
        gamma, beta, mean, variance = (np.asarray(a, np.float64) for a in arrays)
        scale = gamma / np.sqrt(variance + _float(node, "epsilon", 1e-5))
        shape = (-1, *[1] * (len(fact.dims) - 2))
        dtype = arrays[0].dtype if arrays[0] is not None else np.dtype(np.float32)
        factor = draft.constant(scale.reshape(shape).astype(dtype))
        shift = draft.constant((beta - mean * scale).reshape(shape).astype(dtype))
        scaled = draft.emit("Mul", [node.inputs[0], factor], node)
        result = draft.emit("Add", [scaled, shift], node)
        draft.replace(node.outputs[0], result, "spell_out_batch_norm", "BatchNormalization as Mul and Add")


def spell_out_sum(draft: Draft) -> None:
    """`Sum(a, b, c) = (a + b) + c`."""
    for node in draft.nodes():
        values = [v for v in node.inputs if v is not None]
        if node.op_type != "Sum" or len(values) < 2 or draft.fact(node.outputs[0]).is_opaque:
            continue
        total = values[0]
        for value in values[1:]:
            total = draft.emit("Add", [total, value], node)
        draft.replace(node.outputs[0], total, "spell_out_sum", f"Sum of {len(values)} as Adds")


def spell_out_tile(draft: Draft) -> None:
    """`Tile(x, r) = Expand(x, r)` where x has size 1 on every axis that repeats."""
    for node in draft.nodes():
        if node.op_type != "Tile" or node.inputs[0] is None or node.inputs[1] is None:
            continue
        dims, repeats = draft.fact(node.inputs[0]).dims, draft.fact(node.inputs[1]).content
        if dims is None or repeats is None or len(repeats) != len(dims):
            continue
        if all(ONE in (d, r) for d, r in zip(dims, repeats, strict=True)):
            result = draft.emit("Expand", list(node.inputs), node)
            draft.replace(node.outputs[0], result, "spell_out_tile", "Tile as Expand")


def spell_out_squeeze(draft: Draft) -> None:
    """`Squeeze(x) = Squeeze(x, axes of size 1)`; the number of candidates does not count as 1."""
    for node in draft.nodes():
        value = node.inputs[0] if node.inputs else None
        if node.op_type != "Squeeze" or len(node.inputs) > 1 or value is None or "axes" in node.attributes:
            continue
        dims = draft.fact(value).dims
        if dims is not None:
            axes = draft.axis_constant([a for a, d in enumerate(dims) if d == ONE])
            result = draft.emit("Squeeze", [value, axes], node)
            draft.replace(node.outputs[0], result, "spell_out_squeeze", "Squeeze with its axes")


def write_known_sizes(draft: Draft) -> None:
    """A vector of sizes whose elements are all known integers is a weight, which constant folding can use."""
    for node in draft.nodes():
        value = node.outputs[0]
        fact = draft.fact(value)
        if fact.content is None or fact.dims is None or not value.uses() or not _is_int64(value):
            continue
        if all(s is not None and s.is_static for s in fact.content):
            array = np.asarray([s.factor for s in fact.content if s is not None], np.int64)
            known = draft.constant(array.reshape(static(fact.dims) or ()))
            draft.replace(value, known, "write_known_sizes", "sizes that are known")


def fold_scale(draft: Draft) -> None:
    """`(x @ W + b)·s = x @ (W·s) + b·s` for weights W, b and a vector s along the last axis."""
    for node in draft.nodes():
        if node.op_type != "Mul" or draft.rate(node.outputs[0]) is not Rate.CANDIDATE:
            continue
        for value, factor in (node.inputs, reversed(node.inputs)):
            scale = draft.array(factor)
            found = _affine(draft, value)
            if scale is None or found is None or not _is_last_axis_vector(scale):
                continue
            source, weight, bias = found
            vector = scale.reshape(-1)
            if vector.size not in (1, weight.shape[1]):
                continue
            result = draft.emit("MatMul", [source, draft.constant(weight * vector)], node)
            if bias is not None:
                result = draft.emit("Add", [result, draft.constant(bias * vector)], node)
            draft.replace(node.outputs[0], result, "fold_scale", "a scale folded into the weights before it")
            break


def _affine(draft: Draft, value: ir.Value | None) -> tuple[ir.Value, np.ndarray, np.ndarray | None] | None:
    """The x, W and b of a `x @ W + b` that nothing else reads."""
    node = None if value is None else value.producer()
    if node is None or len(node.outputs[0].uses()) != 1:
        return None
    if node.op_type == "MatMul" and node.inputs[0] is not None:
        weight = draft.array(node.inputs[1])
        return None if weight is None or weight.ndim != 2 else (node.inputs[0], weight, None)
    if node.op_type == "Add":
        for left, right in (node.inputs, reversed(node.inputs)):
            bias, inner = draft.array(right), _affine(draft, left)
            if bias is not None and _is_last_axis_vector(bias) and inner is not None and inner[2] is None:
                return inner[0], inner[1], bias
    return None


def _is_last_axis_vector(array: Array) -> bool:
    return array.ndim <= 2 and all(size == 1 for size in array.shape[:-1])


def _is_int64(value: ir.Value | None) -> bool:
    """The dtype of a value made by arithmetic on sizes."""
    node = None if value is None else value.producer()
    if value is None or value.const_value is not None:
        return value is not None and value.const_value is not None and value.const_value.dtype == ir.DataType.INT64
    if node is None or node.op_type in ("Shape", "Size"):
        return node is not None
    if node.op_type == "Cast":
        return _int(node, "to") == ir.DataType.INT64.value
    if node.op_type == "ConstantOfShape":
        return bool(node.attributes["value"].as_tensor().dtype == ir.DataType.INT64)
    return node.op_type != "Equal" and _is_int64(node.inputs[1 if node.op_type == "Where" else 0])


def _int(node: ir.Node, name: str, default: int = 0) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def _float(node: ir.Node, name: str, default: float = 1.0) -> float:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_float()
