"""Data dictionary and mining schema: which raw columns a model reads, and what becomes of missing and invalid values.

The order is the standard's: missing? then valid? then the treatment of invalid values; outliers are for valid values
only; the replacement of missing values comes last, also for what a treatment made missing. Where a value is invalid and
nothing says what to do, the cell fails, and with it the rows that use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from recserve.importers.pmml import datatypes, transformations
from recserve.importers.pmml.dictionary import OPTYPES, DataField
from recserve.importers.pmml.document import Element
from recserve.importers.pmml.scope import Field, Scope, Target
from recserve.scoring.graph import Value

INPUT_USAGES: Final = ("active", "group", "order", "supplementary", "frequencyWeight", "analysisWeight")
TARGET_USAGES: Final = ("predicted", "target")


def declare(model: Element, scope: Scope, function: str) -> None:
    """Name the fields of a model's `MiningSchema` in its scope, and set the scope's target."""
    mining = model.need_child("MiningSchema")
    top = scope.parent is not None and scope.parent.parent is None
    dictionary = scope.dictionary
    named: set[str] = set()
    target: Element | None = None
    changed = False
    for element in mining.all("MiningField"):
        name = element.need("name")
        if name in named:
            raise element.invalid(f"the field {name!r} is named twice")
        named.add(name)
        usage = element.choice("usageType", (*INPUT_USAGES, *TARGET_USAGES), "active")
        if usage in TARGET_USAGES:
            target = target or element
        if top or not scope.sees(name):
            if name in dictionary:
                _declare_raw(scope, dictionary[name], element, usage)
            elif usage in INPUT_USAGES:
                _check_known(scope, element, name)
        elif usage in INPUT_USAGES and not _is_default(element):
            changed = True
            _declare_again(scope, element, name)
    if changed:
        transformations.declare_global(scope)
    scope.target = _target(model, scope, target, dictionary, function)


def _check_known(scope: Scope, element: Element, name: str) -> None:
    if not scope.sees(name):
        raise element.invalid(f"the field {name!r} is not in the data dictionary")


def _target(
    model: Element, scope: Scope, mining: Element | None, dictionary: Mapping[str, DataField], function: str
) -> Target:
    """What the model predicts: the target of its schema, else the parent's, else one without a name."""
    name = mining.need("name") if mining else ""
    targets = model.first("Targets")
    element = None
    for child in targets.all("Target") if targets else []:
        if not name or child.get("field", name) == name:
            element = child
            break
    if name in dictionary:
        data = dictionary[name]
        optype = mining.choice("optype", OPTYPES, data.optype) if mining else data.optype
        return Target(name, data.data_type, optype, data.categories, data.display, element)
    around = scope.parent.target if scope.parent else None
    data_type = "double" if function == "regression" else "string"
    if not name and around and function == "classification" and around.optype != "continuous":
        return Target("", around.data_type, around.optype, around.categories, around.display, element)
    return Target(name, data_type, "continuous" if function == "regression" else "categorical", (), {}, element)


# ---- raw columns


def _declare_raw(scope: Scope, data: DataField, mining: Element, usage: str) -> None:
    """A raw column, prepared as the schema says. A target is read only where an output asks for it."""
    optype = mining.choice("optype", OPTYPES, data.optype)

    def make() -> Field:
        value = _prepare(scope, data, mining)
        return Field(value, data.data_type, name=data.name, optype=optype, categories=data.categories)

    scope.declare(data.name, make)
    if usage in INPUT_USAGES and usage != "supplementary":
        scope.report.fields[data.name] = data.data_type


def _prepare(scope: Scope, data: DataField, mining: Element) -> Value:
    graph = scope.graph
    raw, unparsed = _read_column(scope, data)
    if data.marks:
        raw, unparsed = _mark_missing(scope, data, raw, unparsed)
    invalid = _invalid(scope, data, raw, unparsed)
    value = _treat_outliers(scope, data, mining, raw)
    treatment = mining.choice(
        "invalidValueTreatment", ("returnInvalid", "asIs", "asMissing", "asValue"), "returnInvalid"
    )
    replacement = mining.get("invalidValueReplacement")
    if invalid is not None and treatment == "asMissing":
        value = graph.apply("mark_missing", value, invalid)
    elif invalid is not None and replacement is not None and treatment in ("asValue", "asIs"):
        value = graph.apply("select", invalid, scope.literal(replacement, data.data_type, mining).value, value)
        # A value that is missing is not invalid: `select` gives missing where the test is missing.
    elif treatment == "asValue" and replacement is None:
        raise mining.invalid("invalidValueTreatment is asValue, and there is no invalidValueReplacement")
    elif invalid is not None and treatment == "returnInvalid":
        message = f"the value of {data.name!r} is invalid"
        value = graph.apply("fail", value, invalid, message=message)
    elif invalid is not None:
        kept = raw if value is raw else graph.apply("select", invalid, raw, value)
        value = graph.apply("fail", kept, unparsed, message=f"the value of {data.name!r} is no {data.data_type}") \
            if unparsed is not None else kept  # fmt: skip
    return _replace_missing(scope, mining, value, data.data_type)


def _read_column(scope: Scope, data: DataField) -> tuple[Value, Value | None]:
    """The column as its type, and whether a cell is there and is none (None: every text is one)."""
    graph = scope.graph
    if data.data_type == "string":
        return graph.input(data.name, "string"), None
    if datatypes.is_date(data.data_type):
        text = graph.input(data.name, "string")
        value = scope.texts.parse_or_missing(text, data.data_type)
        known, parsed = graph.apply("is_known", text), graph.apply("is_missing", value)
        return value, graph.apply("and", known, parsed)
    raw = graph.input(data.name, datatypes.dtype_of(data.data_type))
    unparsed = raw.unparsed
    if data.data_type in datatypes.NUMBERS:
        # `true` and `false` are the numbers 1 and 0.
        flag = graph.input(data.name, "boolean")
        raw = graph.apply("coalesce", raw, graph.apply("boolean_to_number", flag))
        unparsed = graph.apply("and", unparsed, flag.unparsed)
    if data.data_type == "integer":
        unparsed = graph.apply("or", unparsed, graph.apply("not", graph.apply("is_integer", raw)))
    if data.data_type == "float":
        raw = graph.apply("to_float32", raw)
    return raw, unparsed


def _mark_missing(scope: Scope, data: DataField, raw: Value, unparsed: Value | None) -> tuple[Value, Value | None]:
    """The values that stand for missing become so, those too that the type could not parse."""
    graph = scope.graph
    values, texts = [], []
    for text in data.marks:
        try:
            value = datatypes.parse(text, data.data_type)
        except ValueError:
            texts.append(text)
        else:
            values.append(float(value) if isinstance(value, bool) else value)
    if values:
        compared = graph.apply("boolean_to_number", raw) if data.data_type == "boolean" else raw
        raw = graph.apply("mark_missing", raw, graph.apply("isin", compared, values=values))
    if texts and unparsed is not None:
        marked = graph.apply("isin", graph.input(data.name, "string"), values=texts)
        unparsed = graph.apply("and", unparsed, graph.apply("not", marked))
    return raw, unparsed


def _invalid(scope: Scope, data: DataField, raw: Value, unparsed: Value | None) -> Value | None:
    """Whether a value is invalid; None where no value can be."""
    graph = scope.graph
    parts = [] if unparsed is None else [unparsed]
    as_field = Field(raw, data.data_type, name=data.name)
    if data.invalid:
        parts.append(scope.is_one_of(as_field, list(data.invalid), data.element))
    allowed = []
    if data.categories:
        allowed.append(scope.is_one_of(as_field, list(data.categories), data.element))
    if data.intervals and data.optype == "continuous":
        inside = graph.apply(
            "discretize", raw, intervals=data.intervals, values=[True] * len(data.intervals), default=False,
            dtype="boolean",
        )  # fmt: skip
        allowed.append(inside)
    if allowed:
        parts.append(graph.apply("not", graph.apply("or", *allowed)))
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else graph.apply("or", *parts)


def _treat_outliers(scope: Scope, data_type_of: DataField | Field, mining: Element, value: Value) -> Value:
    treatment = mining.choice("outliers", ("asIs", "asMissingValues", "asExtremeValues"), "asIs")
    if treatment == "asIs":
        return value
    low, high = mining.number_or_none("lowValue"), mining.number_or_none("highValue")
    if low is None and high is None:
        raise mining.invalid(f"outliers is {treatment}, and there is neither lowValue nor highValue")
    if datatypes.dtype_of(data_type_of.data_type) != "number":
        raise mining.invalid(f"outliers is {treatment}, and the field is a {data_type_of.data_type}")
    graph = scope.graph
    for bound, operator in ((low, "less"), (high, "greater")):
        if bound is not None:
            outside = graph.apply(operator, value, graph.constant(bound))
            if treatment == "asMissingValues":
                value = graph.apply("mark_missing", value, outside)
            else:
                value = graph.apply("select", outside, graph.constant(bound), value)
    return value


def _replace_missing(scope: Scope, mining: Element, value: Value, data_type: str) -> Value:
    treatments = ("asIs", "asMean", "asMode", "asMedian", "asValue", "returnInvalid")
    treatment = mining.choice("missingValueTreatment", treatments, "asIs")
    replacement = mining.get("missingValueReplacement")
    graph = scope.graph
    if treatment == "returnInvalid":
        message = f"a value of {mining.need('name')!r} is required"
        return graph.apply("fail", value, graph.apply("is_missing", value), message=message)
    if replacement is None:
        return value
    return graph.apply("replace_missing", value, scope.literal(replacement, data_type, mining).value)


# ---- fields of a model around this one


def _is_default(mining: Element) -> bool:
    """Whether a segment's schema leaves the prepared value as it is."""
    return (
        mining.get("outliers", "asIs") == "asIs"
        and mining.get("missingValueReplacement") is None
        and mining.get("missingValueTreatment") != "returnInvalid"
    )


def _declare_again(scope: Scope, mining: Element, name: str) -> None:
    """A value that the model around has prepared, treated once more: outliers and missing values only."""

    def make() -> Field:
        assert scope.parent is not None
        outer = scope.parent.field(name, mining)
        value = _treat_outliers(scope, outer, mining, outer.value)
        value = _replace_missing(scope, mining, value, outer.data_type)
        return Field(value, outer.data_type, name=name, optype=outer.optype, categories=outer.categories)

    scope.declare(name, make)
