"""The built-in functions of `Apply`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from recserve.errors import ConfigError, suggest
from recserve.importers.pmml import datatypes
from recserve.importers.pmml.document import Element
from recserve.importers.pmml.scope import Scope, Typed, common_type
from recserve.scoring.graph import Value
from recserve.scoring.ops_dates import epoch_day

Body = Callable[[Scope, list[Typed], Element], Typed]


@dataclass(frozen=True)
class Function:
    """One function.

    Attributes:
        least: number of arguments at least.
        most: at most; None for any number.
        body: gives the result.
    """

    least: int
    most: int | None
    body: Body


def _numbers(scope: Scope, arguments: list[Typed]) -> list[Value]:
    return [
        (one if one.data_type not in ("string", "boolean") else scope.convert(one, "double")).value for one in arguments
    ]


def _strings(scope: Scope, arguments: list[Typed]) -> list[Value]:
    return [scope.convert(one, "string").value for one in arguments]


def _number_type(arguments: list[Typed]) -> str:
    """Type of what arithmetic gives: the least restrictive of the arguments'."""
    types = [
        one.data_type if one.data_type in datatypes.NUMBERS else "double" for one in arguments if not one.is_nothing
    ]
    return common_type(types) if types else "double"


def _arithmetic(op: str) -> Body:
    def body(scope: Scope, arguments: list[Typed], _at: Element) -> Typed:
        data_type = _number_type(arguments)
        value = scope.graph.apply(op, *_numbers(scope, arguments))
        if op == "divide" and data_type == "integer":
            value = scope.graph.apply("truncate", value)  # whole numbers divide to a whole number
        return Typed(_rounded(scope, value, data_type), data_type)

    return body


def _rounded(scope: Scope, value: Value, data_type: str) -> Value:
    return scope.graph.apply("to_float32", value) if data_type == "float" else value


def _unary(op: str, result: str | None = "double") -> Body:
    """A function of one number. `result` None keeps the argument's type."""

    def body(scope: Scope, arguments: list[Typed], _at: Element) -> Typed:
        value = scope.graph.apply(op, *_numbers(scope, arguments))
        data_type = result or _number_type(arguments)
        return Typed(_rounded(scope, value, data_type), data_type)

    return body


def _aggregate(op: str) -> Body:
    """A function of many numbers that leaves missing ones out."""

    def body(scope: Scope, arguments: list[Typed], _at: Element) -> Typed:
        data_type = _number_type(arguments)
        if op in ("mean", "median") and data_type == "integer":
            data_type = "double"
        value = scope.graph.apply(op, *_numbers(scope, arguments), skip_missing=True)
        return Typed(_rounded(scope, value, data_type), data_type)

    return body


def _compare(op: str) -> Body:
    """An order or an equality of two values of one type."""

    def body(scope: Scope, arguments: list[Typed], _at: Element) -> Typed:
        left, right = _comparable(scope, arguments)
        if op in ("equal", "not_equal"):
            return Typed(scope.graph.apply(op, left.value, right.value), "boolean")
        if left.data_type == "string":
            order = scope.texts.compare(left.value, right.value)
            return Typed(scope.graph.apply(op, order, 0.0), "boolean")
        return Typed(scope.graph.apply(op, *_numbers(scope, [left, right])), "boolean")

    return body


def _comparable(scope: Scope, arguments: list[Typed]) -> list[Typed]:
    """Two values as one type. A constant takes the other's type where its text is a literal of it."""
    left, right = arguments
    for constant, other in ((left, right), (right, left)):
        if constant.text is not None and other.text is None:
            try:
                datatypes.parse(constant.text, other.data_type)
            except ValueError:
                continue
            changed = scope.convert(constant, other.data_type)
            return [changed, other] if constant is left else [other, changed]
    return scope.unify(arguments)


def _logical(op: str) -> Body:
    def body(scope: Scope, arguments: list[Typed], _at: Element) -> Typed:
        return Typed(scope.graph.apply(op, *[scope.convert(one, "boolean").value for one in arguments]), "boolean")

    return body


def _if(scope: Scope, arguments: list[Typed], _at: Element) -> Typed:
    condition = scope.convert(arguments[0], "boolean").value
    branches = scope.unify(arguments[1:])
    data_type = branches[0].data_type
    other = branches[1] if len(branches) > 1 else scope.nothing(data_type)
    return Typed(scope.graph.apply("select", condition, branches[0].value, other.value), data_type)


def _state(op: str, negate: bool) -> Body:
    def body(scope: Scope, arguments: list[Typed], _at: Element) -> Typed:
        value = scope.graph.apply(op, arguments[0].value)
        return Typed(scope.graph.apply("not", value) if negate else value, "boolean")

    return body


def _is_in(negate: bool) -> Body:
    def body(scope: Scope, arguments: list[Typed], _at: Element) -> Typed:
        found = []
        for one in arguments[1:]:
            left, right = _comparable(scope, [arguments[0], one])
            found.append(scope.graph.apply("equal", left.value, right.value))
        value = scope.graph.apply("or", *found)
        return Typed(scope.graph.apply("not", value) if negate else value, "boolean")

    return body


def _text(op: str, result: str = "string") -> Body:
    """A function of texts only."""

    def body(scope: Scope, arguments: list[Typed], _at: Element) -> Typed:
        return Typed(scope.graph.apply(op, *_strings(scope, arguments)), result)

    return body


def _concat(scope: Scope, arguments: list[Typed], _at: Element) -> Typed:
    """Missing texts are left out, as if empty."""
    texts = [scope.graph.apply("replace_missing", text, "") for text in _strings(scope, arguments)]
    return Typed(scope.graph.apply("concat", *texts), "string")


def _substring(scope: Scope, arguments: list[Typed], _at: Element) -> Typed:
    text = _strings(scope, arguments[:1])
    return Typed(scope.graph.apply("substring", *text, *_numbers(scope, arguments[1:])), "string")


def _format_number(scope: Scope, arguments: list[Typed], _at: Element) -> Typed:
    value = scope.graph.apply("format_number", *_numbers(scope, arguments[:1]), *_strings(scope, arguments[1:]))
    return Typed(value, "string")


def _format_datetime(scope: Scope, arguments: list[Typed], _at: Element) -> Typed:
    moment = arguments[0]
    if moment.data_type not in ("date", "time", "dateTime"):
        moment = scope.convert(moment, "dateTime")
    pattern = _strings(scope, arguments[1:])
    return Typed(scope.graph.apply("format_datetime", moment.value, *pattern, data_type=moment.data_type), "string")


def _since_year(unit: str) -> Body:
    """Days or seconds since the first of January of a year."""

    def body(scope: Scope, arguments: list[Typed], at: Element) -> Typed:
        kind = "date" if unit == "days" else "dateTime"
        moment = scope.convert(arguments[0], kind) if arguments[0].data_type != kind else arguments[0]
        year = arguments[1].text
        if year is None or not year.strip().isdigit() or not 0 <= int(year) <= 9999:
            raise at.unsupported("the year must be a constant from 0 to 9999")
        epoch = epoch_day(int(year)) * (1.0 if unit == "days" else 86_400.0)
        return Typed(scope.graph.apply("subtract", moment.value, epoch), "integer")

    return body


def _since_midnight(scope: Scope, arguments: list[Typed], _at: Element) -> Typed:
    kind = arguments[0].data_type
    moment = arguments[0] if kind == "time" else scope.convert(arguments[0], "time" if kind == "string" else "dateTime")
    return Typed(scope.graph.apply("modulo", moment.value, 86_400.0), "integer")


def _threshold(scope: Scope, arguments: list[Typed], _at: Element) -> Typed:
    above = scope.graph.apply("greater", *_numbers(scope, arguments))
    return Typed(scope.graph.apply("boolean_to_number", above), _number_type(arguments))


def _normal(op: str) -> Body:
    """The normal distribution with a mean and a standard deviation."""

    def body(scope: Scope, arguments: list[Typed], _at: Element) -> Typed:
        graph = scope.graph
        x, mean, deviation = _numbers(scope, arguments)
        if op == "normal_quantile":
            value = graph.apply("add", mean, graph.apply("multiply", deviation, graph.apply(op, x)))
        else:
            value = graph.apply(op, graph.apply("divide", graph.apply("subtract", x, mean), deviation))
            value = graph.apply("divide", value, deviation) if op == "normal_pdf" else value
        return Typed(value, "double")

    return body


_MATHS: Final = {
    "log10": "log10",
    "ln": "log",
    "ln1p": "log1p",
    "exp": "exp",
    "expm1": "expm1",
    "sqrt": "sqrt",
    "sin": "sin",
    "cos": "cos",
    "tan": "tan",
    "asin": "asin",
    "acos": "acos",
    "atan": "atan",
    "sinh": "sinh",
    "cosh": "cosh",
    "tanh": "tanh",
    "erf": "erf",
    "stdNormalCDF": "normal_cdf",
    "stdNormalPDF": "normal_pdf",
    "stdNormalIDF": "normal_quantile",
}
_COMPARISONS: Final = {
    "equal": "equal",
    "notEqual": "not_equal",
    "lessThan": "less",
    "lessOrEqual": "less_equal",
    "greaterThan": "greater",
    "greaterOrEqual": "greater_equal",
}
_AGGREGATES: Final = {"min": "min", "max": "max", "sum": "sum", "avg": "mean", "median": "median", "product": "product"}
_ARITHMETIC: Final = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "modulo": "modulo", "pow": "power"}

FUNCTIONS: Final[dict[str, Function]] = {
    **{name: Function(2, 2, _arithmetic(op)) for name, op in _ARITHMETIC.items()},
    **{name: Function(1, None, _aggregate(op)) for name, op in _AGGREGATES.items()},
    **{name: Function(1, 1, _unary(op)) for name, op in _MATHS.items()},
    **{name: Function(2, 2, _compare(op)) for name, op in _COMPARISONS.items()},
    "abs": Function(1, 1, _unary("abs", None)),
    "floor": Function(1, 1, _unary("floor", "integer")),
    "ceil": Function(1, 1, _unary("ceil", "integer")),
    "round": Function(1, 1, _unary("round_half_up", "integer")),
    "rint": Function(1, 1, _unary("rint", None)),
    "hypot": Function(2, 2, _arithmetic("hypot")),
    "atan2": Function(2, 2, _arithmetic("atan2")),
    "threshold": Function(2, 2, _threshold),
    "normalCDF": Function(3, 3, _normal("normal_cdf")),
    "normalPDF": Function(3, 3, _normal("normal_pdf")),
    "normalIDF": Function(3, 3, _normal("normal_quantile")),
    "isMissing": Function(1, 1, _state("is_missing", negate=False)),
    "isNotMissing": Function(1, 1, _state("is_missing", negate=True)),
    # What reaches a function has passed the schema's treatment: it is valid, missing or failed.
    "isValid": Function(1, 1, _state("is_known", negate=False)),
    "isNotValid": Function(1, 1, _state("is_known", negate=True)),
    "isIn": Function(2, None, _is_in(negate=False)),
    "isNotIn": Function(2, None, _is_in(negate=True)),
    "and": Function(2, None, _logical("and")),
    "or": Function(2, None, _logical("or")),
    "not": Function(1, 1, _logical("not")),
    "if": Function(2, 3, _if),
    "uppercase": Function(1, 1, _text("uppercase")),
    "lowercase": Function(1, 1, _text("lowercase")),
    "trimBlanks": Function(1, 1, _text("trim")),
    "stringLength": Function(1, 1, _text("text_length", "integer")),
    "substring": Function(3, 3, _substring),
    "concat": Function(1, None, _concat),
    "replace": Function(3, 3, _text("replace_pattern")),
    "matches": Function(2, 2, _text("find_pattern", "boolean")),
    "formatNumber": Function(2, 2, _format_number),
    "formatDatetime": Function(2, 2, _format_datetime),
    "dateDaysSinceYear": Function(2, 2, _since_year("days")),
    "dateSecondsSinceYear": Function(2, 2, _since_year("seconds")),
    "dateSecondsSinceMidnight": Function(1, 1, _since_midnight),
}

MAY_BE_INVALID: Final = frozenset({*_ARITHMETIC, *_AGGREGATES, *_MATHS, "hypot", "atan2", "abs", "rint", "normalIDF"})
"""Functions whose result may be no finite number."""


def call(name: str, arguments: list[Typed], element: Element, scope: Scope) -> Typed:
    """A built-in function on its arguments.

    Raises:
        ConfigError: it takes another number of arguments.
    """
    function = FUNCTIONS[name]
    count = len(arguments)
    if name == "-" and count == 1:
        return Typed(scope.graph.apply("negate", *_numbers(scope, arguments)), _number_type(arguments))
    if count < function.least or (function.most is not None and count > function.most):
        most = (
            "" if function.most == function.least else " at least" if function.most is None else f" to {function.most}"
        )
        raise element.invalid(f"the function {name!r} takes {function.least}{most} arguments, not {count}")
    return function.body(scope, arguments, element)


def any_missing(name: str, arguments: list[Typed], scope: Scope) -> Value:
    """Boolean: whether an argument that the function looks at is missing."""
    graph = scope.graph
    missing = [graph.apply("is_missing", one.value) for one in arguments]
    if name != "if":
        return graph.apply("or", *missing)
    condition = scope.convert(arguments[0], "boolean").value
    otherwise = missing[2] if len(missing) > 2 else graph.constant(False)
    return graph.apply("select_or", condition, missing[1], otherwise, True)


def unknown(name: str, element: Element, scope: Scope) -> ConfigError:
    """The error of a function that neither PMML nor the document has."""
    known = [*FUNCTIONS, *scope.functions]
    return element.unsupported(f"there is no function {name!r}", suggest(name, known))
