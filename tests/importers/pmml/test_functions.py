# ruff: noqa: E501  (documents are easier to read in one line)
from __future__ import annotations

import math
from typing import Any

import pytest

from recserve.errors import ConfigError

Build = Any
NAN = math.nan
DATES = '<DataField name="x" optype="continuous" dataType="double"/><DataField name="k" optype="{o}" dataType="{t}"/>' \
    '<DataField name="y" optype="continuous" dataType="double"/>'  # fmt: skip


def refs(*names: str) -> str:
    return "".join(f'<FieldRef field="{name}"/>' for name in names)


def constant(value: Any, kind: str = "double") -> str:
    return f'<Constant dataType="{kind}">{value}</Constant>'


def derived(function: str, arguments: str, kind: str = "double", more: str = "") -> str:
    inner = f'<Apply function="{function}"{more}>{arguments}</Apply>'
    return f'<DerivedField name="d" optype="continuous" dataType="{kind}">{inner}</DerivedField>'


def run(model: Any, **columns: Any) -> list[float]:
    found = model.score(columns).outputs["y"].tolist()
    assert found == pytest.approx(model.score(columns, reference=True).outputs["y"].tolist(), nan_ok=True)
    return list(found)


@pytest.mark.parametrize(
    ("function", "arguments", "x", "expected"),
    [
        ("+", refs("x") + constant(2), 3, 5),
        ("-", refs("x") + constant(2), 3, 1),
        ("*", refs("x") + constant(2), 3, 6),
        ("/", refs("x") + constant(2), 3, 1.5),
        ("/", constant(7, "integer") + constant(2, "integer"), 0, 3),
        ("modulo", refs("x") + constant(3), -1, 2),
        ("pow", refs("x") + constant(2), 3, 9),
        ("min", refs("x") + constant(2), 3, 2),
        ("sum", refs("x") + constant(2), None, 2),
        ("avg", constant(1, "integer") + constant(2, "integer"), 0, 1.5),
        ("median", refs("x") + constant(1) + constant(9), 3, 3),
        ("abs", refs("x"), -3, 3),
        ("round", refs("x"), 2.5, 3),
        ("rint", refs("x"), 2.5, 2),
        ("ln", refs("x"), math.e, 1),
        ("stdNormalCDF", refs("x"), 0, 0.5),
        ("normalIDF", constant(0.5) + refs("x") + constant(2), 4, 4),
        ("threshold", refs("x") + constant(2), 3, 1),
        ("hypot", refs("x") + constant(4), 3, 5),
        ("if", f'<Apply function="lessThan">{refs("x")}{constant(1)}</Apply>{constant(10)}{constant(20)}', 0, 10),
        ("if", f'<Apply function="lessThan">{refs("x")}{constant(1)}</Apply>{constant(10)}', 2, NAN),
        ("equal", refs("x") + constant(2, "integer"), 2, 1),
        ("isIn", refs("x") + constant(1) + constant(2), 2, 1),
        ("isNotIn", refs("x") + constant(1), 2, 1),
        ("isMissing", refs("x"), None, 1),
        ("isNotMissing", refs("x"), None, 0),
        ("and", f'<Apply function="isMissing">{refs("x")}</Apply>{constant("true", "boolean")}', 1, 0),
        ("not", f'<Apply function="isValid">{refs("x")}</Apply>', 1, 0),
        ("stringLength", constant("four", "string"), 0, 4),
    ],
)
def test_functions_of_numbers(regression: Build, function: str, arguments: str, x: Any, expected: float) -> None:
    assert run(regression(derived(function, arguments), "d"), x=[x]) == pytest.approx([expected], nan_ok=True)


@pytest.mark.parametrize(
    ("function", "arguments", "text"),
    [
        ("uppercase", refs("k"), "AB C"),
        ("lowercase", refs("k"), "ab c"),
        ("substring", refs("k") + constant(2, "integer") + constant(2, "integer"), "b "),
        ("concat", refs("k") + constant("-", "string") + constant(1, "integer"), "ab C-1"),
        ("replace", refs("k") + constant("[a-b]+", "string") + constant("x", "string"), "x C"),
        ("trimBlanks", constant("  t ", "string"), "t"),
        ("formatNumber", constant(2, "integer") + constant("%3d", "string"), "  2"),
    ],
)
def test_functions_of_texts(regression: Build, function: str, arguments: str, text: str) -> None:
    output = f'<OutputField name="t" dataType="string" feature="transformedValue"><Apply function="{function}">{arguments}</Apply></OutputField>'
    assert list(regression(output=output).score({"k": ["ab C"]}).outputs["t"]) == [text]


@pytest.mark.parametrize(
    ("function", "kind", "year", "text", "expected"),
    [
        ("dateDaysSinceYear", "date", 1960, "1960-01-03", 2),
        ("dateSecondsSinceYear", "dateTime", 1970, "1970-01-02T00:00:05", 86405),
        ("dateSecondsSinceMidnight", "dateTime", None, "2020-05-05T01:00:01", 3601),
    ],
)
def test_functions_of_dates(  # noqa: PLR0917
    regression: Build, function: str, kind: str, year: int | None, text: str, expected: float
) -> None:
    arguments = refs("k") + ("" if year is None else constant(year, "integer"))
    model = regression(derived(function, arguments), "d", fields=DATES.format(o="ordinal", t=kind))
    assert run(model, k=[text]) == [expected]


@pytest.mark.parametrize(
    ("more", "x", "expected", "failed"),
    [
        ("", 0, NAN, True),
        (' invalidValueTreatment="asMissing"', 0, NAN, False),
        (' invalidValueTreatment="asMissing" defaultValue="5"', 0, 5, False),
        (' mapMissingTo="7"', None, 7, False),
        (' defaultValue="5"', None, 5, False),
        (' mapMissingTo="7" defaultValue="5"', 2, 0.5, False),
    ],
)
def test_apply_treats_missing_arguments_and_results_that_are_no_number(
    regression: Build, more: str, x: Any, expected: float, failed: bool
) -> None:
    model = regression(derived("/", constant(1) + refs("x"), more=more), "d")
    scores = model.score({"x": [x]})
    assert scores.outputs["y"].tolist() == pytest.approx([expected], nan_ok=True)
    assert bool(scores.errors) == failed


def test_wrong_calls_are_refused(regression: Build) -> None:
    with pytest.raises(ConfigError, match="the function 'exp' takes 1 arguments, not 2"):
        regression(derived("exp", refs("x", "x")), "d")
    with pytest.raises(ConfigError, match="there is no function 'ex'") as caught:
        regression(derived("ex", refs("x")), "d")
    assert caught.value.code == "unsupported_element"
    with pytest.raises(ConfigError, match="the year must be a constant"):
        regression(derived("dateDaysSinceYear", refs("k", "x")), "d", fields=DATES.format(o="ordinal", t="date"))


def test_defined_functions_have_free_names_and_never_call_themselves(regression: Build) -> None:
    body = '<Apply function="*"><FieldRef field="a"/><FieldRef field="a"/></Apply>'
    define = '<TransformationDictionary><DefineFunction name="sq (a)" optype="continuous" dataType="double">'
    define += f'<ParameterField name="a"/>{body}</DefineFunction></TransformationDictionary>'
    assert run(regression(derived("sq (a)", refs("x")), "d", dictionary=define), x=[3]) == [9.0]
    with pytest.raises(ConfigError, match="has 1 parameters, not 2"):
        regression(derived("sq (a)", refs("x", "x")), "d", dictionary=define)
    with pytest.raises(ConfigError, match="the function 'sq \\(a\\)' calls itself"):
        regression(derived("sq (a)", refs("x")), "d", dictionary=define.replace('function="*"', 'function="sq (a)"').replace(
            '<FieldRef field="a"/><FieldRef field="a"/>', '<FieldRef field="a"/>'))  # fmt: skip
