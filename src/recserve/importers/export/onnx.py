"""Scoring programs as ONNX graphs in double precision.

Each raw column is an input [rows] (double, string or bool), each output an output [rows]. A missing number is NaN on
both sides; texts and truths have none. Trees become TreeEnsembleRegressor with double thresholds; the operator's sums
are float32 by its definition, so scores of trees differ from ours by 2⁻²⁴ of their size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from recserve.errors import ConfigError
from recserve.importers.export.graph import Checks, branches, live_nodes, refuse, scalars
from recserve.importers.model import ImportedModel
from recserve.scoring.graph import Node

OPSET: Final = 20
ML_OPSET: Final = 3
_TYPES: Final = {"number": TensorProto.DOUBLE, "string": TensorProto.STRING, "boolean": TensorProto.BOOL}
_PLAIN: Final = {
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "divide": "Div",
    "power": "Pow",
    "negate": "Neg",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "abs": "Abs",
    "floor": "Floor",
    "ceil": "Ceil",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "relu": "Relu",
    "reciprocal": "Reciprocal",
    "sin": "Sin",
    "cos": "Cos",
    "erf": "Erf",
    "less": "Less",
    "less_equal": "LessOrEqual",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "and": "And",
    "or": "Or",
    "not": "Not",
    "select": "Where",
    "equal": "Equal",
}
_MODES: Final = {"less": "BRANCH_LT", "less_equal": "BRANCH_LEQ", "greater": "BRANCH_GT", "greater_equal": "BRANCH_GTE"}
_ACTIVATIONS: Final = {"logistic": "Sigmoid", "tanh": "Tanh", "rectifier": "Relu", "exponential": "Exp"}
_COMPARES: Final = frozenset({"less", "less_equal", "greater", "greater_equal", "equal", "isin"})


def to_onnx(model: ImportedModel) -> bytes:
    """A model as an ONNX file.

    Raises:
        ConfigError: an op has no exact counterpart ("not_exportable").
    """
    return _Writer(model).write()


class _Writer:
    def __init__(self, model: ImportedModel) -> None:
        self.graph = model.program.graph
        self.checks = Checks(self.graph)
        self.outputs = {name: self.graph.outputs[part] for name, part in scalars(model).items()}
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.names: dict[int, str] = {}
        self.inputs: dict[str, str] = {}
        self.taken: set[str] = {*self.outputs, *self.checks.columns}

    def write(self) -> bytes:
        """The file."""
        for node in live_nodes(self.graph):
            self._add(node)
        for name, number in self.outputs.items():
            self.nodes.append(helper.make_node("Identity", [self._of(number)], [self._output_name(name)]))
        inputs = [
            helper.make_tensor_value_info(column, _TYPES[dtype], ["rows"]) for column, dtype in self.inputs.items()
        ]
        outputs = [
            helper.make_tensor_value_info(self._output_name(name), _TYPES[self.graph.dtype_of(number)], ["rows"])
            for name, number in self.outputs.items()
        ]
        graph = helper.make_graph(self.nodes, "recserve", inputs, outputs, self.constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        found = helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="recserve")
        onnx.checker.check_model(found)
        data: bytes = found.SerializeToString()
        return data

    def _output_name(self, name: str) -> str:
        return f"{name}_" if name in self.inputs else name

    def emit(self, op: str, *args: str, domain: str = "", **attributes: Any) -> str:
        """Append a node; the name of its result."""
        name = f"r{len(self.nodes)}"
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        self.nodes.append(helper.make_node(op, list(args), [name], domain=domain, **attributes))
        return name

    def constant(self, value: Any) -> str:
        """The name of an initialiser."""
        array = np.asarray(value)
        name = f"c{len(self.constants)}"
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        self.constants.append(numpy_helper.from_array(array.astype(object) if array.dtype.kind == "U" else array, name))
        return name

    def _of(self, number: int) -> str:
        node = self.graph.node_of(number)
        if node.op == "constant":
            value = node.params["value"]
            if value is None:
                if node.params["dtype"] != "number":
                    raise refuse(node, "that is missing")
                value = np.nan
            return self._spread(self.constant(value))
        return self.names[number]

    def _spread(self, constant: str) -> str:
        """A constant as a value a row, by the shape of the first input."""
        if not self.inputs:
            raise ConfigError("no output reads an input", code="not_exportable", hint="Serve the model with recserve")
        return self.emit("Expand", constant, self.emit("Shape", next(iter(self.inputs))))

    def _add(self, node: Node) -> None:
        if node.op in {"constant", "unparsed"} or (node.results and self.checks.is_void(node.results[0])):
            return
        if node.op == "input":
            self.inputs[node.params["column"]] = node.params["dtype"]
            self.names[node.results[0]] = node.params["column"]
            return
        if node.op == "coalesce":
            kept = [number for number in node.args if not self.checks.is_void(number)]
            if len(kept) == 1:
                self.names[node.results[0]] = self._of(kept[0])
                return
        if node.op == "fail" and self.checks.is_false(node.args[1]):
            self.names[node.results[0]] = self._of(node.args[0])
            return
        if node.op == "and" and self.checks.is_false(node.results[0]):
            return
        self._check_missing(node)
        for result, name in zip(node.results, self._results(node), strict=True):
            self.names[result] = name

    def _check_missing(self, node: Node) -> None:
        """Truths and texts have no missing value here: a comparison of what may be missing would be false."""
        if node.op in _COMPARES and any(self._may_lack(number) for number in node.args):
            outputs = set(self.outputs.values())
            readers = [n for n in live_nodes(self.graph) if node.results[0] in n.args]
            if outputs.intersection(node.results) or any(self._shows(n, outputs) for n in readers):
                return  # a label: missing where the score is NaN; the score beside it tells
            raise refuse(node, "of what may be missing")

    def _shows(self, node: Node, outputs: set[int]) -> bool:
        """Whether a value only becomes a label."""
        if outputs.intersection(node.results):
            return True
        readers = [n for n in live_nodes(self.graph) if set(node.results) & set(n.args)]
        return bool(readers) and all(self._shows(reader, outputs) for reader in readers)

    def _may_lack(self, number: int) -> bool:
        return self.graph.node_of(number).op not in {"constant", "is_missing", "is_known"}

    def _results(self, node: Node) -> list[str]:
        args = [self._of(number) for number in node.args]
        if node.op in _PLAIN:
            total = args[0]
            if node.op in {"and", "or"}:
                for arg in args[1:]:
                    total = self.emit(_PLAIN[node.op], total, arg)
                return [total]
            return [self.emit(_PLAIN[node.op], *args)]
        writer = _WRITERS.get(node.op)
        if writer is None:
            raise refuse(node)
        return writer(self, node, args)

    def table(self, args: Sequence[str]) -> str:
        """Columns side by side, [rows, columns]."""
        columns = [self.emit("Unsqueeze", arg, self.constant(np.array([1]))) for arg in args]
        return self.emit("Concat", *columns, axis=1)

    def column(self, table: str, place: int) -> str:
        """One column of a table, [rows]."""
        return self.emit("Gather", table, self.constant(np.int64(place)), axis=1)


def _linear(w: _Writer, node: Node, args: list[str]) -> list[str]:
    weights = w.constant(np.asarray(node.params["weights"], np.float64))
    total = w.emit("MatMul", w.table(args), weights)
    return [w.emit("Add", total, w.constant(np.float64(node.params["bias"])))]


def _dense(w: _Writer, node: Node, args: list[str]) -> list[str]:
    total = w.emit("MatMul", w.table(args), w.constant(np.asarray(node.params["weights"], np.float64)))
    total = w.emit("Add", total, w.constant(np.asarray(node.params["bias"], np.float64)))
    activation = node.params["activation"]
    if activation != "identity":
        if activation not in _ACTIVATIONS:
            raise refuse(node, f"with the activation {activation!r}")
        total = w.emit(_ACTIVATIONS[activation], total)
    return [w.column(total, i) for i in range(len(node.results))]


def _softmax(w: _Writer, node: Node, args: list[str]) -> list[str]:
    found = w.emit("Softmax", w.table(args), axis=1)
    return [w.column(found, i) for i in range(len(node.results))]


def _trees(w: _Writer, node: Node, args: list[str]) -> list[str]:
    found = branches(node)
    roots = node.params["roots"].tolist()
    values = node.params["values"]
    lists: dict[str, list[Any]] = {
        key: [] for key in ("treeids", "nodeids", "featureids", "modes", "truenodeids", "falsenodeids", "tracks")
    }
    thresholds: list[float] = []
    targets: dict[str, list[Any]] = {key: [] for key in ("treeids", "nodeids", "ids")}
    weights: list[float] = []
    for tree, root in enumerate(roots):
        order: list[int] = []
        places: dict[int, int] = {}
        waiting = [root]
        while waiting:
            number = waiting.pop(0)
            places[number] = len(order)
            order.append(number)
            if found[number].feature >= 0:
                waiting += [child for child in (found[number].yes, found[number].no) if child not in places]
        for number in order:
            branch, is_leaf = found[number], found[number].feature < 0
            lists["treeids"].append(tree)
            lists["nodeids"].append(places[number])
            lists["featureids"].append(max(branch.feature, 0))
            lists["modes"].append("LEAF" if is_leaf else _MODES[branch.test])
            lists["truenodeids"].append(0 if is_leaf else places[branch.yes])
            lists["falsenodeids"].append(0 if is_leaf else places[branch.no])
            lists["tracks"].append(int(not is_leaf and branch.default == branch.yes))
            thresholds.append(branch.threshold if not is_leaf else 0.0)
            for place in range(values.shape[1]) if is_leaf else ():
                targets["treeids"].append(tree)
                targets["nodeids"].append(places[number])
                targets["ids"].append(place)
                weights.append(float(values[branch.row][place]))
    attributes: dict[str, Any] = {f"nodes_{key}": value for key, value in lists.items() if key != "tracks"}
    attributes["nodes_missing_value_tracks_true"] = lists["tracks"]
    attributes |= {f"target_{key}": value for key, value in targets.items()}
    attributes["nodes_values_as_tensor"] = numpy_helper.from_array(np.array(thresholds), "nodes_values")
    attributes["target_weights_as_tensor"] = numpy_helper.from_array(np.array(weights), "target_weights")
    base = node.params["base"]
    total = w.emit(
        "TreeEnsembleRegressor", w.table(args), domain="ai.onnx.ml", n_targets=int(values.shape[1]), **attributes
    )
    total = w.emit("Cast", total, to=TensorProto.DOUBLE)
    if base is not None:
        total = w.emit("Add", total, w.constant(np.asarray(base, np.float64)))
    return [w.column(total, i) for i in range(len(node.results))]


def _pick(w: _Writer, node: Node, args: list[str]) -> list[str]:
    if any(value is None for value in node.params["values"]):
        raise refuse(node, "with a value that is missing")
    is_known = w.emit("Not", w.emit("IsNaN", args[0]))
    first = w.emit("Where", is_known, args[0], w.constant(np.float64(0)))
    index = w.emit("Cast", first, to=TensorProto.INT64)
    values = node.params["values"]
    array = np.array(values, object) if isinstance(values[0], str) else np.array(values)
    return [w.emit("Gather", w.constant(array), index, axis=0)]


def _extreme_place(w: _Writer, node: Node, args: list[str]) -> list[str]:
    if node.params["skip_missing"]:
        raise refuse(node, "that passes over missing values")
    op = "ArgMax" if node.op == "argmax" else "ArgMin"
    return [w.emit("Cast", w.emit(op, w.table(args), axis=1, keepdims=0), to=TensorProto.DOUBLE)]


def _float32(w: _Writer, node: Node, args: list[str]) -> list[str]:  # noqa: ARG001  (as the others)
    return [w.emit("Cast", w.emit("Cast", args[0], to=TensorProto.FLOAT), to=TensorProto.DOUBLE)]


def _replace_missing(w: _Writer, node: Node, args: list[str]) -> list[str]:
    if w.graph.dtype_of(node.args[0]) != "number":
        raise refuse(node, "of texts or truths")
    return [w.emit("Where", w.emit("IsNaN", args[0]), args[1], args[0])]


def _chain(op: str) -> Callable[[_Writer, Node, list[str]], list[str]]:
    def write(w: _Writer, node: Node, args: list[str]) -> list[str]:
        if node.params["skip_missing"]:
            raise refuse(node, "that passes over missing values")
        total = args[0]
        for arg in args[1:]:
            total = w.emit(op, total, arg)
        return [total]

    return write


_WRITERS: Final[dict[str, Callable[[_Writer, Node, list[str]], list[str]]]] = {
    "linear": _linear,
    "dense": _dense,
    "softmax": _softmax,
    "trees": _trees,
    "pick": _pick,
    "argmax": _extreme_place,
    "argmin": _extreme_place,
    "to_float32": _float32,
    "replace_missing": _replace_missing,
    "boolean_to_number": lambda w, n, a: [w.emit("Cast", a[0], to=TensorProto.DOUBLE)],  # noqa: ARG005
    "square": lambda w, n, a: [w.emit("Mul", a[0], a[0])],  # noqa: ARG005
    "is_missing": lambda w, n, a: [w.emit("IsNaN", a[0])],  # noqa: ARG005
    "sum": _chain("Add"),
    "product": _chain("Mul"),
    "max": _chain("Max"),
    "min": _chain("Min"),
}
