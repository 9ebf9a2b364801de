"""One form for graphs of all exporters: no functions, weights as initialisers, unique names, explicit outputs.

Generic clean-up (constant folding, dead nodes, common sub-expressions, identities) is that of onnx_ir and onnxscript.
Shapes written in the file are dropped first: an exporter that traced one batch size may have left it there.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as generic
from onnx import version_converter

from recserve.errors import ConfigError
from recserve.network.model import DOMAINS, FOREIGN_OP_HINT, Network

_OLDEST_OPSET = 13
_CONVERTED_OPSET = 18


def canonical(network: Network) -> ir.Model:
    """The network as a model to analyse: nodes sorted, names unique, each graph output made by an Identity node.

    Raises:
        ConfigError: the graph uses an opset older than 13 and cannot be converted; or has an op of a domain that no
            engine knows and that the graph does not define (code "unsupported_element", with node and domain).
    """
    proto = onnx.load_model_from_string(network.to_bytes())
    opset = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), _CONVERTED_OPSET)
    if opset < _OLDEST_OPSET:
        try:
            proto = version_converter.convert_version(proto, _CONVERTED_OPSET)
        except (RuntimeError, ValueError) as error:
            raise ConfigError(
                f"opset {opset} cannot be converted to {_CONVERTED_OPSET}: {error}",
                where=network.where,
                hint="Export the model with opset 13 or newer",
            ) from error
    model: ir.Model = ir.from_proto(proto)
    for tidy in (
        generic.RemoveInitializersFromInputsPass(),
        generic.InlinePass(),
        generic.TopologicalSortPass(),
        generic.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        generic.NameFixPass(),
    ):
        tidy(model)
    _check_domains(model, network.where)
    _forget_shapes(model)
    _name_outputs(model)
    return model


def _check_domains(model: ir.Model, where: str) -> None:
    for node in model.graph.all_nodes():
        if node.domain not in DOMAINS:
            name = str(node.name or node.outputs[0].name)
            raise ConfigError(
                f"node {name!r} is the op {node.op_type!r} of the domain {node.domain!r}, "
                "which no engine implements and the graph does not define",
                code="unsupported_element",
                where=where,
                hint=FOREIGN_OP_HINT,
            )


def optimise(model: ir.Model) -> None:
    """Fold constants and clean up, in place. Symbolic sizes stay symbolic: their values are nowhere in the graph."""
    from onnxscript import optimizer

    names = [str(v.name) for v in model.graph.outputs]
    optimizer.optimize_ir(model, onnx_shape_inference=True, inline=False)
    generic.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    _list_weights(model)
    _forget_shapes(model)
    _name_outputs(model, names)
    clean(model)
    generic.TopologicalSortPass()(model)


def clean(model: ir.Model) -> None:
    """Drop dead nodes and merge common sub-expressions, in place."""
    generic.RemoveUnusedNodesPass()(model)
    generic.CommonSubexpressionEliminationPass()(model)
    for output in model.graph.outputs:
        producer = output.producer()
        assert producer is not None
        source = producer.inputs[0]
        for node, index in list(output.uses()):  # merging may let one output read another
            node.replace_input_with(index, source)
    generic.RemoveUnusedNodesPass()(model)


def _list_weights(model: ir.Model) -> None:
    """List weights that the optimiser made but lost: its rule for Flatten names those of one input alike (0.7.2)."""
    for node in model.graph.all_nodes():
        for value in node.inputs:
            is_weight = value is not None and value.const_value is not None and value.producer() is None
            if value is not None and is_weight and not value.is_initializer():
                model.graph.register_initializer(value)


def _forget_shapes(model: ir.Model) -> None:
    for node in model.graph.all_nodes():
        for value in node.outputs:
            value.shape = None


def _name_outputs(model: ir.Model, names: list[str] | None = None) -> None:
    """Make each output by an Identity node of its own, so that a rewrite may replace any other value."""
    graph = model.graph
    wanted = names or [str(v.name) for v in graph.outputs]
    for i, (value, name) in enumerate(zip(list(graph.outputs), wanted, strict=True)):
        producer = value.producer()
        if producer is not None and producer.op_type == "Identity" and value.name == name and not value.uses():
            continue
        if value.name == name and not value.is_graph_input() and not value.is_initializer():
            value.name = f"{name}.inner"
        node = ir.node("Identity", [value])
        node.outputs[0].name, node.outputs[0].type = name, value.type
        graph.append(node)
        graph.outputs[i] = node.outputs[0]
