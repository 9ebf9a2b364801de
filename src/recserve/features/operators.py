"""Custom features: the official operators and their parameters; and numbers as options spell them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from recserve.errors import ConfigError, suggest
from recserve.features import custom, expressions
from recserve.features import spec_types as types
from recserve.features.declared import Declared

PARAMETERS: Final[dict[str, dict[str, tuple[type, ...]]]] = {
    "EditDistance": {"encoding": (str,)},
    "RegexReplace": {"regex_pattern": (str, list), "replacement": (str,), "replace_all": (bool,), "icase": (bool,)},
    "SeqExpr": {"formula": (str,)},
}
"""Operators, and the types of their parameters."""
ENCODINGS: Final = ("utf-8", "latin")
SPHERICAL: Final = "spherical_distance"
"""A formula: distance in km of two points, from four inputs: longitude, latitude, longitude, latitude."""

_NUMBER: Final = re.compile(
    r"\s*[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?|nan)\s*", re.ASCII | re.IGNORECASE
)


def is_number(text: str) -> bool:
    """The text spells a number: digits with a point, sign or exponent, "inf" or "nan"."""
    return _NUMBER.fullmatch(text) is not None


def default_parts(feature: Declared) -> list[str]:
    """The values of default_value, split as a text cell is."""
    text = feature.default
    if not feature.separators:
        return [text] if text else []
    for separator in feature.separators[1:]:
        text = text.replace(separator, feature.separators[0])
    return [part for part in text.split(feature.separators[0]) if part]


def problems(spec: types.CustomFeature) -> Iterator[str]:
    """What is wrong with the operator and its parameters."""
    if spec.operator_name is None:
        yield "option 'operator_name' is missing"
        return
    if (function := custom.function_of(spec.operator_name)) is not None:
        yield from _function_problems(spec, function)
        return
    if spec.operator_name not in PARAMETERS:
        names = (*PARAMETERS, *custom.registered())
        hint = suggest(spec.operator_name, names)
        yield f"unknown operator {spec.operator_name!r}. {hint or 'There are ' + ', '.join(names)}"
        return
    known = PARAMETERS[spec.operator_name]
    for name, value in spec.operator_params.items():
        if name not in known:
            hint = suggest(name, known)
            yield f"operator {spec.operator_name} has no parameter {name!r}" + (f". {hint}" if hint else "")
        elif not isinstance(value, known[name]):
            yield f"parameter {name!r} of operator {spec.operator_name} is {value!r}, not {known[name][0].__name__}"
    yield from _parameter_problems(spec, spec.operator_params)


def _function_problems(spec: types.CustomFeature, function: custom.Function) -> Iterator[str]:
    if function.is_compiled and spec.operator_params:
        yield f"function {function.name!r} is compiled and has no parameters"
    if function.is_compiled and len(spec.expression) > custom.MAX_COMPILED_INPUTS:
        yield f"function {function.name!r} is compiled and takes at most {custom.MAX_COMPILED_INPUTS} inputs"


def _parameter_problems(spec: types.CustomFeature, parameters: dict[str, Any]) -> Iterator[str]:
    count = len(spec.expression)
    if spec.operator_name == "EditDistance":
        if count != 2:
            yield f"operator EditDistance takes 2 inputs, not {count}"
        if parameters.get("encoding", "latin") not in ENCODINGS:
            yield f"parameter 'encoding' is {parameters['encoding']!r}, not one of {', '.join(ENCODINGS)}"
    elif spec.operator_name == "RegexReplace":
        if count != 1:
            yield f"operator RegexReplace takes 1 input, not {count}"
        if not (patterns := patterns_of(spec)):
            yield "operator RegexReplace needs the parameter 'regex_pattern'"
        for pattern in patterns:
            yield from pattern_problem("regex_pattern", pattern)
    else:
        yield from _formula_problems(spec, parameters.get("formula"))


def _formula_problems(spec: types.CustomFeature, formula: object) -> Iterator[str]:
    if not isinstance(formula, str) or not formula:
        yield "operator SeqExpr needs the parameter 'formula'"
    elif formula == SPHERICAL:
        if len(spec.expression) != 4:
            yield f"formula {SPHERICAL!r} takes 4 inputs, not {len(spec.expression)}"
    else:
        try:
            expressions.parse(formula, variable_names(spec))
        except ConfigError as error:
            yield f"parameter 'formula': {error}"


def pattern_problem(option: str, pattern: str) -> Iterator[str]:
    """A problem if `pattern` is not a regular expression of RE2."""
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        yield f"option {option!r} has {pattern!r}, which is no RE2 expression: {error}"


def patterns_of(spec: types.CustomFeature) -> tuple[str, ...]:
    """The patterns of operator RegexReplace."""
    value = spec.operator_params.get("regex_pattern", ())
    return (value,) if isinstance(value, str) else tuple(value)


def variable_names(spec: types.CustomFeature) -> list[str]:
    """Names of the inputs in a formula: what stands after the colon."""
    return [text.partition(":")[2] for text in spec.expression]


def formula_of(spec: types.CustomFeature) -> str:
    """The formula of operator SeqExpr as an expression over its inputs."""
    formula = str(spec.operator_params["formula"])
    return f"haversine({', '.join(variable_names(spec))})" if formula == SPHERICAL else formula
