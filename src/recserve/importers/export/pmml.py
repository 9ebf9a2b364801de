"""Scoring programs as PMML 4.4.

Raw columns become DataFields, ops DerivedFields of built-in functions, sums of trees segments, and the first numeric
output the target of a RegressionModel; the other outputs are transformed values. A numeric cell that is no number is
invalid and fails its row (`returnInvalid`, the standard's default). Sums in float32 become sums in double: they may
differ by 2⁻²³ of the sum of the terms' sizes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Final

from lxml import etree

from recserve import __version__
from recserve.errors import ConfigError
from recserve.importers.export.graph import Branch, Checks, branches, live_nodes, refuse, scalars
from recserve.importers.model import ImportedModel
from recserve.scoring.graph import Node

NAMESPACE: Final = "http://www.dmg.org/PMML-4_4"
_TYPES: Final = {"number": "double", "string": "string", "boolean": "boolean"}
_OPERATORS: Final = {
    "less": ("lessThan", "greaterOrEqual"),
    "less_equal": ("lessOrEqual", "greaterThan"),
    "greater": ("greaterThan", "lessOrEqual"),
    "greater_equal": ("greaterOrEqual", "lessThan"),
}
_FUNCTIONS: Final = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "/",
    "power": "pow",
    "exp": "exp",
    "expm1": "expm1",
    "log": "ln",
    "log1p": "ln1p",
    "log10": "log10",
    "sqrt": "sqrt",
    "abs": "abs",
    "floor": "floor",
    "ceil": "ceil",
    "tanh": "tanh",
    "sin": "sin",
    "cos": "cos",
    "tan": "tan",
    "atan": "atan",
    **{test: pair[0] for test, pair in _OPERATORS.items()},
    "equal": "equal",
    "not_equal": "notEqual",
    "and": "and",
    "or": "or",
    "not": "not",
    "is_missing": "isMissing",
    "is_known": "isNotMissing",
    "select": "if",
}
Element = Any


def to_pmml(model: ImportedModel) -> bytes:
    """A model as a PMML 4.4 document.

    Raises:
        ConfigError: an op has no exact counterpart, or no output is a number ("not_exportable").
    """
    return _Writer(model).write()


def _element(tag: str, *children: Element, **attributes: Any) -> Element:
    found = etree.Element(f"{{{NAMESPACE}}}{tag}", {name: str(value) for name, value in attributes.items()})
    found.extend(children)
    return found


def _apply(function: str, *arguments: Element) -> Element:
    return _element("Apply", *arguments, function=function)


def _constant(value: float | str | bool | None) -> Element:
    if value is None:
        raise ConfigError("a table holds a missing value", code="not_exportable", hint="Serve the model with recserve")
    if isinstance(value, bool):
        found, kind = str(value).lower(), "boolean"
    else:
        found, kind = (value, "string") if isinstance(value, str) else (repr(float(value)), "double")
    element = _element("Constant", dataType=kind)
    element.text = found
    return element


def _chain(function: str, terms: Sequence[Element]) -> Element:
    """`f(f(a, b), c)`: the order of a sum is kept."""
    total = terms[0]
    for term in terms[1:]:
        total = _apply(function, total, term)
    return total


class _Writer:
    def __init__(self, model: ImportedModel) -> None:
        self.graph = model.program.graph
        self.checks = Checks(self.graph)
        self.outputs = {name: self.graph.outputs[part] for name, part in scalars(model).items()}
        self.values: dict[str, tuple[Any, ...]] = {}
        self.names: dict[int, str] = {}
        self.early: list[Element] = []
        self.late: list[Element] = []
        self.is_late: set[int] = set()
        self.segments: list[Element] = []
        self.scores: list[str] = []
        self.columns = {node.params["column"]: "" for node in live_nodes(self.graph) if node.op == "input"}
        numbers = [name for name, number in self.outputs.items() if self.graph.dtype_of(number) == "number"]
        if not numbers:
            raise ConfigError("no output is a number", code="not_exportable", hint="Serve the model with recserve")
        self.target = numbers[0]

    def write(self) -> bytes:
        """The document."""
        for node in live_nodes(self.graph):
            self._add(node)
        dictionary = _element("DataDictionary", *map(self._data_field, self.columns))
        dictionary.append(_element("DataField", name=self._free(self.target), optype="continuous", dataType="double"))
        header = _element("Header", _element("Application", name="recserve", version=__version__))
        root = etree.Element(f"{{{NAMESPACE}}}PMML", {"version": "4.4"}, nsmap={None: NAMESPACE})
        root.extend([header, dictionary])
        if self.early:
            root.append(_element("TransformationDictionary", *self.early))
        root.append(self._model())
        data: bytes = etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True)
        return data

    def _free(self, name: str) -> str:
        """A name that no column has."""
        while name in self.columns:
            name += "_"
        return name

    def _data_field(self, column: str) -> Element:
        dtype = self.checks.columns[column]
        optype = "continuous" if dtype == "number" else "categorical"
        values = [_element("Value", value=value) for value in self.values.get(column, ())]
        return _element("DataField", *values, name=column, optype=optype, dataType=_TYPES[dtype])

    # --- Values -----------------------------------------------------------------------------------------------------

    def _ref(self, number: int) -> Element:
        """A value as an expression."""
        node = self.graph.node_of(number)
        if node.op == "constant":
            if node.params["value"] is None:
                raise refuse(node, "that is missing")
            return _constant(node.params["value"])
        if number not in self.names:
            raise refuse(node, "as a value of its own")
        return _element("FieldRef", field=self.names[number])

    def _add(self, node: Node) -> None:
        if node.op in {"constant", "unparsed"} or (node.results and self.checks.is_void(node.results[0])):
            return
        if node.op == "input":
            self.names[node.results[0]] = node.params["column"]
            return
        if node.op == "trees":
            self._add_trees(node)
            return
        passed = self._passes(node)
        if passed is not None:
            self.names[node.results[0]] = self.names[passed]
            if passed in self.is_late:
                self.is_late.add(node.results[0])
            return
        if node.op in {"and"} and self.checks.is_false(node.results[0]):
            return
        if node.op in {"isin", "not"} and not self._is_needed(node):
            return
        for result, expression in zip(node.results, self._expressions(node), strict=True):
            self._derive(node, result, expression)

    def _is_needed(self, node: Node) -> bool:
        """Whether more than a check of raw cells reads a truth."""
        readers = [other for other in live_nodes(self.graph) if node.results[0] in other.args]
        if any(node.results[0] == number for number in self.outputs.values()):
            return True
        return not all(
            (r.op == "fail" and self.checks.allowed(r) is not None) or (r.op == "not" and not self._is_needed(r))
            for r in readers
        )

    def _passes(self, node: Node) -> int | None:
        """For a check of raw cells, the value that it lets through."""
        if node.op == "coalesce":
            kept = [number for number in node.args if not self.checks.is_void(number)]
            return kept[0] if len(kept) == 1 else None
        if node.op != "fail":
            return None
        allowed = self.checks.allowed(node)
        if allowed is not None:
            self.values[allowed[0]] = allowed[1]
        elif not self.checks.is_false(node.args[1]):
            raise refuse(node, f"({node.params['message']})")
        return node.args[0]

    def hold(self, node: Node, result: int, expression: Element) -> Element:
        """A field of its own for a part of an expression that is read more than once; a reference to it."""
        name = self._free(f"v{result} in")
        field = _element("DerivedField", expression, name=name, optype="continuous", dataType="double")
        (self.late if any(number in self.is_late for number in node.args) else self.early).append(field)
        return _element("FieldRef", field=name)

    def _derive(self, node: Node, result: int, expression: Element) -> None:
        dtype = self.graph.dtype_of(result)
        name = self._free(f"v{result}")
        self.names[result] = name
        kind = "float" if node.op == "to_float32" else _TYPES[dtype]
        optype = "continuous" if dtype == "number" else "categorical"
        field = _element("DerivedField", expression, name=name, optype=optype, dataType=kind)
        if any(number in self.is_late for number in node.args):
            self.is_late.add(result)
            self.late.append(field)
        else:
            self.early.append(field)

    def _expressions(self, node: Node) -> list[Element]:
        args = [self._ref(number) for number in node.args]
        if node.op in _FUNCTIONS:
            return [_apply(_FUNCTIONS[node.op], *args)]
        writer = _WRITERS.get(node.op)
        if writer is None:
            raise refuse(node)
        return writer(self, node)

    # --- Models -----------------------------------------------------------------------------------------------------

    def _schema(self, *extra: str, target: str | None = None) -> Element:
        fields = [_element("MiningField", name=name) for name in (*self.columns, *extra)]
        if target is not None:
            fields.append(_element("MiningField", name=target, usageType="target"))
        return _element("MiningSchema", *fields)

    def _add_trees(self, node: Node) -> None:
        if any(number in self.is_late for number in node.args):
            raise refuse(node, "over scores of other trees")
        found = branches(node)
        for place, result in enumerate(node.results):
            name = self._free(f"v{result}")
            self.names[result] = name
            self.is_late.add(result)
            self.scores.append(name)
            trees = [
                _element(
                    "Segment",
                    _element("True"),
                    self._tree(node, found, root, place),
                    id=str(i + 1),
                )
                for i, root in enumerate(node.params["roots"].tolist())
            ]
            base = 0.0 if node.params["base"] is None else float(node.params["base"][place])
            output = _element(
                "OutputField",
                _apply("+", _element("FieldRef", field=f"{name} sum"), _constant(base)),
                name=name,
                optype="continuous",
                dataType="double",
                feature="transformedValue",
                isFinalResult="false",
            )
            total = _element(
                "OutputField",
                name=f"{name} sum",
                optype="continuous",
                dataType="double",
                feature="predictedValue",
                isFinalResult="false",
            )
            segmentation = _element("Segmentation", *trees, multipleModelMethod="sum")
            self.segments.append(
                _element(
                    "MiningModel",
                    self._schema(),
                    _element("Output", total, output),
                    segmentation,
                    functionName="regression",
                )
            )

    def _tree(self, node: Node, found: Sequence[Branch], root: int, place: int) -> Element:
        names = [self.names.get(number) for number in node.args]
        values = node.params["values"]

        def grow(number: int, predicate: Element) -> Element:
            branch = found[number]
            if branch.feature < 0:
                return _element("Node", predicate, id=str(number), score=repr(float(values[branch.row][place])))
            if names[branch.feature] is None:
                raise refuse(node, "over a constant")
            return _element(
                "Node",
                predicate,
                *(
                    grow(
                        child,
                        _element(
                            "SimplePredicate",
                            field=names[branch.feature],
                            operator=operator,
                            value=repr(branch.threshold),
                        ),
                    )
                    for child, operator in zip((branch.yes, branch.no), _OPERATORS[branch.test], strict=True)
                ),
                id=str(number),
                defaultChild=str(branch.default),
            )

        return _element(
            "TreeModel",
            self._schema(),
            grow(root, _element("True")),
            functionName="regression",
            missingValueStrategy="defaultChild",
            splitCharacteristic="binarySplit",
        )

    def _model(self) -> Element:
        target = self._free(self.target)
        final = self._regression(target)
        if not self.segments:
            return final
        parts = [
            _element("Segment", _element("True"), part, id=str(i + 1)) for i, part in enumerate([*self.segments, final])
        ]
        return _element(
            "MiningModel",
            self._schema(target=target),
            _element("Segmentation", *parts, multipleModelMethod="modelChain"),
            functionName="regression",
        )

    def _regression(self, target: str) -> Element:
        number = self.outputs[self.target]
        method, inner = _link(self, number)
        table = self._table(inner)
        parts = [self._schema(*self.scores, target=target)]
        fields = [self._output_field(name, value) for name, value in self.outputs.items() if name != self.target]
        if fields:
            parts.append(_element("Output", *fields))
        if self.late:
            parts.append(_element("LocalTransformations", *self.late))
        return _element("RegressionModel", *parts, table, functionName="regression", normalizationMethod=method)

    def _table(self, number: int) -> Element:
        node = self.graph.node_of(number)
        pairs, bias = [(number, 1.0)], 0.0
        if node.op == "linear" and all(self._ref(arg).get("field") for arg in node.args):
            pairs = list(zip(node.args, node.params["weights"].tolist(), strict=True))
            bias = float(node.params["bias"])
        if node.op == "constant":
            return _element("RegressionTable", intercept=repr(float(node.params["value"])))
        predictors = [
            _element("NumericPredictor", name=self.names[arg], coefficient=repr(float(weight))) for arg, weight in pairs
        ]
        return _element("RegressionTable", *predictors, intercept=repr(bias))

    def _output_field(self, name: str, number: int) -> Element:
        dtype = self.graph.dtype_of(number)
        optype = "continuous" if dtype == "number" else "categorical"
        attributes = {"name": self._free(name), "optype": optype, "dataType": _TYPES[dtype]}
        return _element("OutputField", self._ref(number), feature="transformedValue", **attributes)


def _link(writer: _Writer, number: int) -> tuple[str, int]:
    """PMML's normalization of a value, and what it is of."""
    node = writer.graph.node_of(number)
    method = {"sigmoid": "logit", "exp": "exp"}.get(node.op, "none")
    return method, (number if method == "none" else node.args[0])


def _linear(w: _Writer, node: Node) -> list[Element]:
    terms = [
        _apply("*", w._ref(arg), _constant(float(weight)))
        for arg, weight in zip(node.args, node.params["weights"].tolist(), strict=True)
    ]
    bias = [_constant(float(node.params["bias"]))]
    return [_chain("+", [*terms, *bias] if node.params["bias_last"] else [*bias, *terms])]


def _dense(w: _Writer, node: Node) -> list[Element]:
    found = []
    for unit in range(node.params["weights"].shape[1]):
        weights = node.params["weights"][:, unit].tolist()
        terms = [_apply("*", w._ref(arg), _constant(x)) for arg, x in zip(node.args, weights, strict=True)]
        total = _chain("+", [*terms, _constant(float(node.params["bias"][unit]))])
        activated = _activate(node.params["activation"], w.hold(node, node.results[unit], total))
        if activated is None:
            raise refuse(node, f"with the activation {node.params['activation']!r}")
        found.append(activated)
    return found


def _activate(activation: str, x: Element) -> Element | None:
    """An activation of an expression; None for one that has no short form."""
    if activation == "identity":
        return x
    if activation == "rectifier":
        return _apply("if", _apply("greaterThan", x, _constant(0.0)), copy.deepcopy(x), _constant(0.0))
    if activation == "logistic":
        # Of a function without a finite result the standard's evaluators fail the row: exp must not overflow.
        low = _apply("exp", copy.deepcopy(x))
        minus = _apply("*", copy.deepcopy(x), _constant(-1.0))
        return _apply(
            "if",
            _apply("lessThan", x, _constant(0.0)),
            _apply("/", low, _apply("+", _constant(1.0), copy.deepcopy(low))),
            _apply("/", _constant(1.0), _apply("+", _constant(1.0), _apply("exp", minus))),
        )
    function = {"tanh": "tanh", "exponential": "exp"}.get(activation)
    return None if function is None else _apply(function, x)


def _extreme(w: _Writer, node: Node) -> list[Element]:
    """The built-in functions pass over missing values, so that it takes comparisons."""
    if node.params["skip_missing"]:
        return [_apply(node.op, *(w._ref(arg) for arg in node.args))]
    test = "greaterThan" if node.op == "max" else "lessThan"
    total = w._ref(node.args[0])
    for arg in node.args[1:]:
        total = _apply("if", _apply(test, w._ref(arg), total), w._ref(arg), copy.deepcopy(total))
    return [total]


def _pick(w: _Writer, node: Node) -> list[Element]:
    values = list(node.params["values"])
    found = _constant(values[-1])
    for i in reversed(range(len(values) - 1)):
        found = _apply("if", _apply("equal", w._ref(node.args[0]), _constant(float(i))), _constant(values[i]), found)
    return [found]


def _arg_extreme(w: _Writer, node: Node) -> list[Element]:
    if node.params["skip_missing"]:
        raise refuse(node, "that passes over missing values")
    name, test = ("max", "greaterOrEqual") if node.op == "argmax" else ("min", "lessOrEqual")
    found = _constant(float(len(node.args) - 1))
    for i in reversed(range(len(node.args) - 1)):
        best = _apply(name, *(w._ref(arg) for arg in node.args))
        found = _apply("if", _apply(test, w._ref(node.args[i]), best), _constant(float(i)), found)
    total = _chain("+", [w._ref(arg) for arg in node.args])  # missing where any of them is
    return [_apply("if", _apply("isNotMissing", total), found)]


def _softmax(w: _Writer, node: Node) -> list[Element]:
    def part(i: int) -> Element:
        largest = _apply("max", *(w._ref(arg) for arg in node.args))
        return _apply("exp", _apply("-", w._ref(node.args[i]), largest))

    count = len(node.args)
    return [_apply("/", part(i), _chain("+", [part(k) for k in range(count)])) for i in range(count)]


def _isin(w: _Writer, node: Node) -> list[Element]:
    return [_apply("isIn", w._ref(node.args[0]), *map(_constant, node.params["values"]))]


def _sigmoid(w: _Writer, node: Node) -> list[Element]:
    return [_activate("logistic", w._ref(node.args[0]))]


def _replace_missing(w: _Writer, node: Node) -> list[Element]:
    x, default = node.args
    return [_apply("if", _apply("isMissing", w._ref(x)), w._ref(default), w._ref(x))]


_WRITERS: Final[dict[str, Callable[[_Writer, Node], list[Element]]]] = {
    "linear": _linear,
    "pick": _pick,
    "argmax": _arg_extreme,
    "argmin": _arg_extreme,
    "softmax": _softmax,
    "isin": _isin,
    "sigmoid": _sigmoid,
    "replace_missing": _replace_missing,
    "negate": lambda w, n: [_apply("*", w._ref(n.args[0]), _constant(-1.0))],
    "square": lambda w, n: [_apply("*", w._ref(n.args[0]), w._ref(n.args[0]))],
    "reciprocal": lambda w, n: [_apply("/", _constant(1.0), w._ref(n.args[0]))],
    "relu": lambda w, n: [_activate("rectifier", w._ref(n.args[0]))],
    "dense": _dense,
    "min": _extreme,
    "max": _extreme,
    "to_float32": lambda w, n: [w._ref(n.args[0])],
    "boolean_to_number": lambda w, n: [_apply("if", w._ref(n.args[0]), _constant(1.0), _constant(0.0))],
    "sum": lambda w, n: [_chain("+", [w._ref(a) for a in n.args])],
    "product": lambda w, n: [_chain("*", [w._ref(a) for a in n.args])],
}
