"""`GeneralRegressionModel`: general and generalised linear, multinomial, ordinal and Cox models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from recserve.importers.pmml import links
from recserve.importers.pmml.arrays import read_matrix
from recserve.importers.pmml.document import Element
from recserve.importers.pmml.models.survival import lower_cox
from recserve.importers.pmml.results import Result, classify
from recserve.importers.pmml.scope import Scope
from recserve.scoring.graph import Value

MODEL_TYPES: Final = (
    "regression",
    "generalLinear",
    "generalizedLinear",
    "multinomialLogistic",
    "ordinalMultinomial",
    "CoxRegression",
)


@dataclass(frozen=True)
class Design:
    """The matrices of a model.

    Attributes:
        model: the element.
        factors: field → its `Predictor`.
        covariates: names of fields.
        cells: target category or None → parameter → its `PPCell` elements.
        betas: target category or None → (parameter, beta), in the document's order.
        references: parameter → its reference point.
    """

    model: Element
    factors: Mapping[str, Element]
    covariates: frozenset[str]
    cells: Mapping[str | None, Mapping[str, list[Element]]]
    betas: Mapping[str | None, list[tuple[str, float]]]
    references: Mapping[str, float]


def lower(model: Element, scope: Scope) -> Result:
    """The predicted number, or the probabilities of the categories."""
    kind = model.choice("modelType", MODEL_TYPES)
    design = read_design(model)
    if kind == "CoxRegression":
        total = _sum(design, None, None, scope)
        return Result("regression", lower_cox(model, design.betas.get(None, []), design.references, total, scope))
    if model.need("functionName") == "classification":
        if kind in ("regression", "generalLinear"):
            raise model.invalid(f"modelType {kind!r} does not fit a classification")
        return _classify(design, kind, scope)
    if kind in ("multinomialLogistic", "ordinalMultinomial"):
        raise model.invalid(f"modelType {kind!r} does not fit a regression")
    value = _sum(design, None, None, scope)
    return Result("regression", _link(design, value, scope) if kind == "generalizedLinear" else value)


def read_design(model: Element) -> Design:
    """The parameters, predictors and matrices of a model."""
    factors, covariates = model.first("FactorList"), model.first("CovariateList")
    cells: dict[str | None, dict[str, list[Element]]] = {}
    for cell in model.need_child("PPMatrix").all("PPCell"):
        cells.setdefault(cell.get("targetCategory"), {}).setdefault(cell.need("parameterName"), []).append(cell)
    betas: dict[str | None, list[tuple[str, float]]] = {}
    for cell in model.need_child("ParamMatrix").all("PCell"):
        pair = (cell.need("parameterName"), cell.finite("beta"))
        betas.setdefault(cell.get("targetCategory"), []).append(pair)
    parameters = model.need_child("ParameterList").all("Parameter")
    return Design(
        model,
        {one.need("name"): one for one in (factors.all("Predictor") if factors else [])},
        frozenset(one.need("name") for one in (covariates.all("Predictor") if covariates else [])),
        cells,
        betas,
        {one.need("name"): one.number("referencePoint", 0.0) for one in parameters},
    )


def _sum(design: Design, category: str | None, fallback: list[tuple[str, float]] | None, scope: Scope) -> Value:
    """Σ beta · parameter for a category, in the document's order; missing where a factor or a covariate is."""
    betas = fallback if fallback is not None else design.betas.get(category)
    if betas is None:
        raise design.model.need_child("ParamMatrix").invalid(f"has no cell for the category {category!r}")
    rows = design.cells.get(category) or design.cells.get(None) or {}
    terms, weights = [], []
    for parameter, beta in betas:
        terms.append(_parameter(design, rows.get(parameter, []), scope))
        weights.append(beta)
    return scope.graph.apply("linear", *terms, weights=weights, precision=scope.math)


def _parameter(design: Design, cells: list[Element], scope: Scope) -> Value:
    """The product of a parameter's factors and covariates; 1 without any (the intercept)."""
    graph = scope.graph
    value: Value | None = None
    for cell in sorted(cells, key=lambda one: one.need("predictorName") not in design.factors):
        name = cell.need("predictorName")
        if name in design.factors:
            part = _factor(design.factors[name], name, cell, scope)
        elif name in design.covariates:
            part = scope.number(name, cell)
            exponent = cell.parse_number(cell.need("value"), "the exponent")
            part = part if exponent == 1.0 else links.rounded(scope, graph.apply("power", part, exponent))
        else:
            raise cell.invalid(f"the predictor {name!r} is neither a factor nor a covariate")
        value = part if value is None else links.rounded(scope, graph.apply("multiply", value, part))
    return graph.constant(1.0) if value is None else value


def _factor(predictor: Element, name: str, cell: Element, scope: Scope) -> Value:
    """1 where the field is the category, else 0; or the contrast that the predictor's matrix gives."""
    field = scope.field(name, cell)
    matrix = predictor.first("Matrix")
    if matrix is None:
        return scope.graph.apply("boolean_to_number", scope.equals(field, cell.need("value"), cell))
    categories = predictor.first("Categories")
    if categories is None:
        raise predictor.unsupported("a contrast matrix without Categories is not read")
    names = [one.need("value") for one in categories.all("Category")]
    contrasts = read_matrix(matrix)
    if cell.need("value") not in names or len(contrasts) != len(names):
        raise cell.invalid(f"the category {cell.get('value')!r} is not in the contrast matrix of {name!r}")
    column = contrasts[:, names.index(cell.need("value"))]
    return scope.lookup(field, names, column.tolist(), None, cell)


def _offset(model: Element, value: Value, scope: Scope) -> Value:
    name = model.get("offsetVariable")
    offset = scope.number(name, model) if name is not None else model.number("offsetValue", 0.0)
    return value if offset == 0.0 else links.rounded(scope, scope.graph.apply("add", value, offset))


def _link(design: Design, value: Value, scope: Scope) -> Value:
    """The inverse link of a sum and its offset, times the number of trials."""
    model = design.model
    found = links.general_inverse(model, scope.graph, _offset(model, value, scope))
    name = model.get("trialsVariable")
    trials = scope.number(name, model) if name is not None else model.number("trialsValue", 1.0)
    found = found if trials == 1.0 else scope.graph.apply("multiply", found, trials)
    return links.rounded(scope, found)


def _categories(design: Design, kind: str, scope: Scope) -> list[str]:
    """The target's categories, the reference last."""
    model = design.model
    named = [category for category in design.betas if category is not None]
    categories = list(scope.categories) or named
    reference = model.get("targetReferenceCategory")
    if reference is None and kind != "ordinalMultinomial":
        absent = [category for category in categories if category not in design.betas]
        if len(absent) != 1:
            if named or len(categories) != 2:
                raise model.invalid("targetReferenceCategory is absent, and no one category stands out", None)
            absent = categories[-1:]
        reference = absent[0]
    if reference is not None:
        categories = [category for category in categories if category != reference] + [reference]
    if len(categories) < 2:
        raise model.invalid(f"has {len(categories)} categories; a classification needs two at least")
    return categories


def _classify(design: Design, kind: str, scope: Scope) -> Result:
    categories = _categories(design, kind, scope)
    if kind == "ordinalMultinomial":
        values = _ordinal(design, categories, scope)
    elif kind == "generalizedLinear":
        if len(categories) != 2:
            raise design.model.invalid(f"a generalised linear model has two categories, not {len(categories)}")
        first = _link(design, _category_sum(design, categories[0], scope), scope)
        values = [first, links.complement(scope, first)]
    else:
        sums = [_offset(design.model, _category_sum(design, one, scope), scope) for one in categories[:-1]]
        values = links.softmax(scope, [*sums, scope.graph.constant(0.0)])
    probabilities = dict(zip(categories, values, strict=True))
    return Result("classification", classify(scope.graph, probabilities), probabilities)


def _category_sum(design: Design, category: str, scope: Scope) -> Value:
    """A category's own betas; those without a category where there are no own."""
    return _sum(design, category, design.betas.get(category) or design.betas.get(None), scope)


def _ordinal(design: Design, categories: list[str], scope: Scope) -> list[Value]:
    """Differences of the cumulative probabilities; each category but the last has an intercept of its own."""
    graph = scope.graph
    link = design.model.choice("cumulativeLink", tuple(links.INVERSE))
    shared = design.betas.get(None, [])
    steps: list[Value] = []
    for category in categories[:-1]:
        own = design.betas.get(category)
        if own is None:
            raise design.model.need_child("ParamMatrix").invalid(f"has no intercept for the category {category!r}")
        value = _offset(design.model, _sum(design, category, [*own, *shared], scope), scope)
        steps.append(links.inverse(scope, link, value))
    values = [steps[0]]
    for before, after in pairwise(steps):
        values.append(links.rounded(scope, graph.apply("subtract", after, before)))
    return [*values, links.complement(scope, steps[-1])]
