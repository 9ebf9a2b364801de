"""Expressions: constants, fields, normalisations, tables and functions, as typed values of the graph."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Final

from recserve.importers.pmml import datatypes, functions
from recserve.importers.pmml.arrays import read_table
from recserve.importers.pmml.dictionary import OPTYPES, read_interval, read_type
from recserve.importers.pmml.document import Element
from recserve.importers.pmml.scope import Field, Scope, Typed
from recserve.importers.pmml.text_index import lower_text_index


def find(parent: Element) -> Element:
    """The expression inside a derived field, a function or an output field.

    Raises:
        ConfigError: it has none.
    """
    return parent.need_child(*EXPRESSIONS, *UNREAD)


def lower_as(element: Element, scope: Scope, data_type: str) -> Typed:
    """An expression as a value of a type.

    A table that names no type gives texts; here they are read as the type at once.
    """
    if element.tag in ("Discretize", "MapValues") and element.get("dataType") is None:
        texts = _results(element)
        try:
            for text in texts:
                datatypes.parse(text, data_type)
        except ValueError:
            pass  # a text is no literal of the type: only the rows that meet it fail
        else:
            return _TABLES[element.tag](element, scope, data_type)
    return scope.convert(lower(element, scope), data_type)


def lower(element: Element, scope: Scope) -> Typed:
    """An expression as a value.

    Raises:
        ConfigError: it breaks the standard, or asks for what recserve lacks.
    """
    if element.tag in UNREAD:
        raise element.unsupported(f"<{element.tag}> {UNREAD[element.tag]}")
    if element.tag not in EXPRESSIONS:
        raise element.invalid(f"<{element.tag}> is no expression")
    return EXPRESSIONS[element.tag](element, scope)


def _constant(element: Element, scope: Scope) -> Typed:
    """A literal; without a type it is an integer, a double or a string, as it is written."""
    if element.flag("missing", False):
        return scope.nothing(read_type(element, "string"))
    text = element.text
    data_type = element.get("dataType")
    if data_type is not None:
        return scope.literal(text, read_type(element), element)
    for guess in ("integer", "double"):
        try:
            datatypes.parse(text, guess)
        except ValueError:
            continue
        if guess == "double" or not set(text) & set(".eE"):
            return scope.literal(text, guess, element)
    return scope.literal(text, "string", element)


def _field_ref(element: Element, scope: Scope) -> Typed:
    field = scope.field(element.need("field"), element)
    replacement = element.get("mapMissingTo")
    if replacement is None:
        return field
    default = scope.literal(replacement, field.data_type, element)
    return Typed(scope.graph.apply("replace_missing", field.value, default.value), field.data_type)


def _norm_continuous(element: Element, scope: Scope) -> Typed:
    """Straight lines between the points of `LinearNorm`."""
    points = [(point.need_number("orig"), point.need_number("norm")) for point in element.all("LinearNorm")]
    if len(points) < 2:
        raise element.invalid(f"has {len(points)} LinearNorm; it needs two at least")
    if any(left[0] > right[0] for left, right in pairwise(points)):
        raise element.invalid("its LinearNorm are not in ascending order of orig")
    outside = {"asIs": "extrapolate", "asMissingValues": "missing", "asExtremeValues": "clamp"}
    outliers = element.choice("outliers", tuple(outside), "asIs")
    value = scope.graph.apply(
        "piecewise",
        scope.number(element.need("field"), element),
        xs=[orig for orig, _ in points],
        ys=[norm for _, norm in points],
        outside=outside[outliers],
    )
    return _map_missing(element, scope, scope.field(element.need("field"), element), Typed(value, "double"))


def _norm_discrete(element: Element, scope: Scope) -> Typed:
    """1 where the field is the value, else 0."""
    element.choice("method", ("indicator",), "indicator")
    field = scope.field(element.need("field"), element)
    equal = scope.equals(field, element.need("value"), element)
    value = scope.graph.apply("boolean_to_number", equal)
    return _map_missing(element, scope, field, Typed(value, "double"))


def _map_missing(element: Element, scope: Scope, field: Field, result: Typed) -> Typed:
    """`mapMissingTo` where the field is missing; what else is missing stays so."""
    text = element.get("mapMissingTo")
    if text is None:
        return result
    default = scope.literal(text, result.data_type, element)
    missing = scope.graph.apply("is_missing", field.value)
    return Typed(scope.graph.apply("select", missing, default.value, result.value), result.data_type)


def _results(element: Element) -> list[str]:
    """Every text that a table without a type may give."""
    found = [element.get("defaultValue"), element.get("mapMissingTo")]
    if element.tag == "Discretize":
        found += [child.get("binValue") for child in element.all("DiscretizeBin")]
    else:
        column = _column(element.need("outputColumn"))
        found += [row.get(column) for row in read_table(element)]
    return [text for text in found if text is not None]


def _column(name: str) -> str:
    """A column's local name: a prefix names the producer."""
    return name.rpartition(":")[2]


def _discretize(element: Element, scope: Scope, default_type: str = "string") -> Typed:
    """The bin of a number."""
    data_type = read_type(element, default_type)
    field = scope.field(element.need("field"), element)
    intervals, values = [], []
    for child in element.all("DiscretizeBin"):
        intervals.append(read_interval(child.need_child("Interval")))
        values.append(scope.parse(child.need("binValue"), data_type, child))
    default = element.get("defaultValue")
    value = scope.graph.apply(
        "discretize",
        scope.number(field.name, element),
        intervals=intervals,
        values=values,
        default=None if default is None else scope.parse(default, data_type, element),
        dtype=datatypes.dtype_of(data_type),
    )
    return _map_missing(element, scope, field, Typed(value, data_type))


def _map_values(element: Element, scope: Scope, default_type: str = "string") -> Typed:
    """The row of a table that the fields name."""
    data_type = read_type(element, default_type)
    pairs = [
        (scope.field(pair.need("field"), pair), _column(pair.need("column"))) for pair in element.all("FieldColumnPair")
    ]
    if not pairs:
        raise element.invalid("needs a FieldColumnPair at least")
    column = _column(element.need("outputColumn"))
    keys, values = [], []
    for row in read_table(element):
        if column not in row:
            continue  # a row without a value decides nothing
        parts = [_key(field, row.get(name)) for field, name in pairs]
        if None not in parts:
            keys.append(parts)
            values.append(scope.parse(row[column], data_type, element))
    default, missing = element.get("defaultValue"), element.get("mapMissingTo")
    arguments = [
        scope.graph.apply("boolean_to_number", field.value) if field.data_type == "boolean" else field.value
        for field, _ in pairs
    ]
    value = scope.graph.apply(
        "lookup",
        *arguments,
        keys=keys,
        values=values,
        default=None if default is None else scope.parse(default, data_type, element),
        missing=None if missing is None else scope.parse(missing, data_type, element),
        dtype=datatypes.dtype_of(data_type),
    )
    return Typed(value, data_type)


def _key(field: Field, text: str | None) -> float | str | None:
    """A cell as the field's type; None where the field can never equal it."""
    if text is None:
        return None
    try:
        value = datatypes.parse(text, field.data_type)
    except ValueError:
        return None
    return float(value) if isinstance(value, bool) else value


def _apply(element: Element, scope: Scope) -> Typed:
    """A function of the standard, or one that the document defines."""
    name = element.need("function")
    arguments = [lower(child, scope) for child in element]
    if name in functions.FUNCTIONS:
        result = functions.call(name, arguments, element, scope)
    elif name in scope.functions:
        result = _call_defined(scope.functions[name], arguments, element, scope)
    else:
        raise functions.unknown(name, element, scope)
    return _finish(result, arguments, name, element, scope)


def _finish(result: Typed, arguments: list[Typed], name: str, element: Element, scope: Scope) -> Typed:
    """`mapMissingTo` of the arguments, `defaultValue` of the result, and what a result that is no number becomes."""
    graph = scope.graph
    treatment = element.choice("invalidValueTreatment", ("returnInvalid", "asIs", "asMissing"), "returnInvalid")
    if name in functions.MAY_BE_INVALID and treatment != "asIs":
        wrong = graph.apply("not", graph.apply("is_finite", result.value))
        if treatment == "asMissing":
            value = graph.apply("mark_missing", result.value, wrong)
        else:
            value = graph.apply("fail", result.value, wrong, message=f"the function {name!r} has no finite result")
        result = Typed(value, result.data_type)
    default = element.get("defaultValue")
    if default is not None:
        result, other = _with_literal(result, default, scope)
        result = Typed(graph.apply("replace_missing", result.value, other.value), result.data_type)
    missing = element.get("mapMissingTo")
    if missing is not None:
        result, other = _with_literal(result, missing, scope)
        lost = functions.any_missing(name, arguments, scope)
        result = Typed(graph.apply("select", lost, other.value, result.value), result.data_type)
    return result


def _with_literal(result: Typed, text: str, scope: Scope) -> tuple[Typed, Typed]:
    """The result and a literal as one type: the result's, or string where the text is no literal of it."""
    try:
        value = datatypes.parse(text, result.data_type)
    except ValueError:
        return scope.convert(result, "string"), Typed(scope.graph.constant(text), "string")
    return result, Typed(scope.graph.constant(value), result.data_type)


def _call_defined(function: Element, arguments: list[Typed], at: Element, scope: Scope) -> Typed:
    """A `DefineFunction`: its body with the parameters as the only new fields."""
    parameters = function.all("ParameterField")
    if len(parameters) != len(arguments):
        raise at.invalid(
            f"the function {function.get('name')!r} has {len(parameters)} parameters, not {len(arguments)}"
        )
    if len(scope.calls) > 64 or function in scope.calls:
        raise at.invalid(f"the function {function.get('name')!r} calls itself")
    inner = scope.child()
    inner.calls = (*scope.calls, function)
    for parameter, argument in zip(parameters, arguments, strict=True):
        typed = scope.convert(argument, read_type(parameter)) if parameter.get("dataType") else argument
        optype = parameter.choice("optype", OPTYPES, "continuous")
        inner.declare(
            parameter.need("name"), Field(typed.value, typed.data_type, name=parameter.need("name"), optype=optype)
        )
    result = lower(find(function), inner)
    return scope.convert(result, read_type(function)) if function.get("dataType") else result


EXPRESSIONS: Final[dict[str, Callable[[Element, Scope], Typed]]] = {
    "Constant": _constant,
    "FieldRef": _field_ref,
    "NormContinuous": _norm_continuous,
    "NormDiscrete": _norm_discrete,
    "Discretize": _discretize,
    "MapValues": _map_values,
    "TextIndex": lambda element, scope: lower_text_index(element, scope, lower),
    "Apply": _apply,
}
_TABLES: Final = {"Discretize": _discretize, "MapValues": _map_values}
UNREAD: Final = {
    "Aggregate": "needs many records at once; a row here is one record",
    "Lag": "needs earlier records; a row here is one record",
}
"""Expressions of the standard that a model of single rows cannot have, and why."""
