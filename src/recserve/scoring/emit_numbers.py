"""Instructions of the ops on numbers and on states."""

from __future__ import annotations

from recserve.scoring.cells import FAILED, MISSING_STATE, VALID
from recserve.scoring.codegen import Context, Fields, bits, emits
from recserve.scoring.graph import Node
from recserve.scoring.kernels import layout as at
from recserve.scoring.kernels.elementwise import FOLDS, ONE, TWO
from recserve.scoring.kernels.states import CELL_OPS, PATCH_OPS


@emits(*ONE)
def _unary(node: Node, context: Context) -> tuple[str, Fields]:  # noqa: ARG001
    return "unary", {at.P0: ONE.index(node.op)}


@emits(*TWO)
def _binary(node: Node, context: Context) -> tuple[str, Fields] | None:
    if "object" in context.dtypes:  # equal lists have codes of their own
        return None
    return "binary", {at.P0: TWO.index(node.op)}


@emits(*FOLDS)
def _fold(node: Node, context: Context) -> tuple[str, Fields]:  # noqa: ARG001
    return "fold", {at.P0: FOLDS.index(node.op), at.P1: int(node.params["skip_missing"])}


@emits("constant")
def _constant(node: Node, context: Context) -> tuple[str, Fields]:
    value = node.params["value"]
    return "constant", {at.P0: bits(context.encode(value)), at.P1: MISSING_STATE if value is None else VALID}


@emits("failure")
def _failure(node: Node, context: Context) -> tuple[str, Fields]:
    return "constant", {at.P0: bits(float(context.messages.code(node.params["message"]))), at.P1: FAILED}


@emits(*CELL_OPS)
def _cell_state(node: Node, context: Context) -> tuple[str, Fields]:  # noqa: ARG001
    return "cell_state", {at.P0: CELL_OPS.index(node.op)}


@emits(*PATCH_OPS)
def _patch(node: Node, context: Context) -> tuple[str, Fields]:
    message = context.messages.code(node.params["message"]) if node.op == "fail" else 0
    return "patch", {at.P0: PATCH_OPS.index(node.op), at.P1: message}


@emits("select", "select_or")
def _select(node: Node, context: Context) -> tuple[str, Fields]:  # noqa: ARG001
    return "select", {}


@emits("coalesce", "choose")
def _by_name(node: Node, context: Context) -> tuple[str, Fields]:  # noqa: ARG001
    return node.op, {}


@emits("and", "or")
def _kleene(node: Node, context: Context) -> tuple[str, Fields]:  # noqa: ARG001
    return "kleene", {at.P0: int(node.op == "or")}


@emits("first_true", "nth_true")
def _first_true(node: Node, context: Context) -> tuple[str, Fields]:  # noqa: ARG001
    return "first_true", {at.P0: node.params.get("nth", 1)}
