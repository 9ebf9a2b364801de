"""Instructions of the ops with many arguments or results."""

from __future__ import annotations

from recserve.scoring.codegen import Context, Fields, bits, emits
from recserve.scoring.graph import Node
from recserve.scoring.kernels import layout as at
from recserve.scoring.kernels.blocks import ACTIVATIONS


@emits("linear")
def _linear(node: Node, context: Context) -> tuple[str, Fields]:
    params = node.params
    return "linear", {
        at.P0: context.constants.array(params["weights"]),
        at.P1: bits(params["bias"]),
        at.P2: int(params["precision"] == "float"),
        at.P3: int(params["bias_last"]),
    }


@emits("dense")
def _dense(node: Node, context: Context) -> tuple[str, Fields]:
    params = node.params
    return "dense", {
        at.P0: context.constants.array(params["weights"]),
        at.P1: context.constants.array(params["bias"]),
        at.P2: ACTIVATIONS.index(params["activation"]),
        at.P3: int(params["precision"] == "float"),
    }


@emits("softmax", "simplemax")
def _normalize(node: Node, context: Context) -> tuple[str, Fields]:  # noqa: ARG001
    return "normalize", {at.P0: int(node.op == "softmax")}


@emits("argmax", "argmin")
def _argument_of(node: Node, context: Context) -> tuple[str, Fields]:  # noqa: ARG001
    return "argument_of", {at.P0: 1 if node.op == "argmax" else -1, at.P1: int(node.params["skip_missing"])}


@emits("weighted_mean")
def _weighted_mean(node: Node, context: Context) -> tuple[str, Fields]:
    address = context.constants.array(node.params["weights"])
    return "weighted_mean", {at.P0: address, at.P1: int(node.params["skip_missing"])}


@emits("vote")
def _vote(node: Node, context: Context) -> tuple[str, Fields] | None:
    if "object" in context.dtypes:
        return None
    return "vote", {
        at.P0: context.constants.array(node.params["weights"]),
        at.P1: int(node.params["skip_missing"]),
        at.P2: context.floats(node.params["classes"]),
    }
