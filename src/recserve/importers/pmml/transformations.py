"""Derived fields and defined functions: `TransformationDictionary` and `LocalTransformations`."""

from __future__ import annotations

from recserve.importers.pmml import expressions
from recserve.importers.pmml.dictionary import OPTYPES, read_type
from recserve.importers.pmml.document import Element
from recserve.importers.pmml.scope import Field, Scope


def read_functions(root: Element) -> dict[str, Element]:
    """The `DefineFunction` elements of the document, by name, which is free text."""
    dictionary = root.first("TransformationDictionary")
    functions: dict[str, Element] = {}
    for element in dictionary.all("DefineFunction") if dictionary else []:
        name = element.need("name")
        if name in functions:
            raise element.invalid(f"the function {name!r} is defined twice")
        functions[name] = element
    return functions


def declare_global(scope: Scope) -> None:
    """Name the derived fields of the `TransformationDictionary` in a scope; they are computed from what it sees."""
    dictionary = scope.document.root.first("TransformationDictionary")
    for element in dictionary.all("DerivedField") if dictionary else []:
        _declare(element, scope)


def declare_local(model: Element, scope: Scope) -> None:
    """Name the derived fields of a model's `LocalTransformations` in its scope."""
    local = model.first("LocalTransformations")
    for element in local.all("DerivedField") if local else []:
        _declare(element, scope)


def _declare(element: Element, scope: Scope) -> None:
    name = element.need("name")
    data_type = read_type(element)
    optype = element.choice("optype", OPTYPES, "continuous")
    categories = tuple(value.need("value") for value in element.all("Value"))

    def make() -> Field:
        typed = expressions.lower_as(expressions.find(element), scope, data_type)
        if name not in scope.report.transformations:
            scope.report.transformations.append(name)
        return Field(typed.value, data_type, name=name, optype=optype, categories=categories)

    scope.declare(name, make)
