"""`RegressionModel`: sums of terms, and the normalisations that make probabilities of them."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from recserve.importers.pmml import links
from recserve.importers.pmml.document import Element
from recserve.importers.pmml.results import Result, classify
from recserve.importers.pmml.scope import Scope
from recserve.scoring.graph import Value

NORMALIZATIONS: Final = (
    "none",
    "simplemax",
    "softmax",
    "logit",
    "probit",
    "cloglog",
    "exp",
    "loglog",
    "cauchit",
)


def lower(model: Element, scope: Scope) -> Result:
    """The predicted number, or the probabilities of the categories."""
    tables = model.all("RegressionTable")
    if not tables:
        raise model.invalid("has no RegressionTable")
    method = model.choice("normalizationMethod", NORMALIZATIONS, "none")
    if model.need("functionName") == "regression":
        if len(tables) > 1:
            raise tables[1].invalid("a regression has one RegressionTable")
        value = _sum(tables[0], scope)
        return Result("regression", _normalize_one(model, method, value, scope))
    return _classify(model, tables, method, scope)


def _normalize_one(model: Element, method: str, value: Value, scope: Scope) -> Value:
    if method == "none":
        return value
    if method == "exp":
        return links.rounded(scope, scope.graph.apply("exp", value))
    if method == "simplemax":
        raise model.invalid("normalizationMethod is simplemax, which a regression cannot have")
    return links.inverse(scope, "logit" if method == "softmax" else method, value)


def _sum(table: Element, scope: Scope) -> Value:
    """Intercept + Σ coefficient · term, in the order of the document; missing where a number is."""
    terms: list[Value] = []
    weights: list[float] = []
    constant = table.finite("intercept", 0.0)
    for element in table:
        if element.tag == "NumericPredictor":
            terms.append(_power(scope, scope.number(element.need("name"), element), element.integer("exponent", 1)))
        elif element.tag == "CategoricalPredictor":
            field = scope.field(element.need("name"), element)
            equal = scope.graph.apply("boolean_to_number", scope.equals(field, element.need("value"), element))
            terms.append(scope.graph.apply("replace_missing", equal, 0.0))
        elif element.tag == "PredictorTerm":
            terms.append(_product(element, scope))
        else:
            raise element.unsupported(f"<{element.tag}> in a RegressionTable is not read")
        weights.append(element.finite("coefficient"))
    # The reference adds the intercept last.
    return scope.graph.apply(
        "linear", *terms, weights=weights, bias=constant, precision=scope.math, bias_last=scope.math == "float"
    )


def _power(scope: Scope, value: Value, exponent: int) -> Value:
    if exponent == 1:
        return value
    return links.rounded(scope, scope.graph.apply("power", value, float(exponent)))


def _product(element: Element, scope: Scope) -> Value:
    """The product of the fields of a `PredictorTerm`."""
    factors = [scope.number(ref.need("field"), ref) for ref in element.all("FieldRef")]
    if not factors:
        raise element.invalid("needs a FieldRef at least")
    value = factors[0]
    for factor in factors[1:]:
        value = links.rounded(scope, scope.graph.apply("multiply", value, factor))
    return value


def _classify(model: Element, tables: list[Element], method: str, scope: Scope) -> Result:
    labels = [table.need("targetCategory") for table in tables]
    if len(set(labels)) != len(labels):
        raise model.invalid("two RegressionTables have the same targetCategory")
    if len(tables) < 2:
        raise model.invalid("a classification needs two RegressionTables at least")
    ordinal = scope.target is not None and scope.target.optype == "ordinal"
    if ordinal and method in (*links.INVERSE, "none") and len(tables) > 2:
        values = _ordinal(tables, method, scope)
    elif method in ("softmax", "simplemax"):
        sums = [_sum(table, scope) for table in tables]
        values = links.softmax(scope, sums) if method == "softmax" else links.simplemax(scope, sums)
    elif method == "exp":
        raise model.invalid("normalizationMethod is exp, which a classification cannot have")
    elif len(tables) == 2:
        first = _sum(tables[0], scope)
        first = links.clamp(scope.graph, first) if method == "none" else links.inverse(scope, method, first)
        values = [first, links.complement(scope, first)]
    else:
        values = _one_by_one(tables, method, scope)
    probabilities = dict(zip(labels, values, strict=True))
    return Result("classification", classify(scope.graph, probabilities), probabilities)


def _one_by_one(tables: list[Element], method: str, scope: Scope) -> list[Value]:
    """Without a normalisation the last category takes what the others leave; else each is scaled to the sum 1."""
    if method != "none":
        return links.simplemax(scope, [links.inverse(scope, method, _sum(table, scope)) for table in tables])
    values = [_sum(table, scope) for table in tables[:-1]]
    total = scope.graph.apply("sum", *values)
    return [*values, links.complement(scope, total)]


def _ordinal(tables: list[Element], method: str, scope: Scope) -> list[Value]:
    """Cumulative probabilities, whose differences are those of the categories."""
    graph = scope.graph
    sums = [_sum(table, scope) for table in tables[:-1]]
    steps = [links.clamp(graph, one) if method == "none" else links.inverse(scope, method, one) for one in sums]
    values = [steps[0]]
    values += [links.rounded(scope, graph.apply("subtract", b, a)) for a, b in pairwise(steps)]
    return [*values, links.complement(scope, steps[-1])]
