from __future__ import annotations

import math
from typing import Any

import pytest

from recserve.errors import ConfigError

Build = Any


def plain(scores: Any) -> list[Any]:
    return [None if math.isnan(value) else float(value) for value in scores.outputs["y"]]


def scored(model: Any, cells: list[Any], field: str = "x") -> tuple[list[Any], dict[int, str]]:
    """Outputs with None for missing, and errors; both engines must agree."""
    found = model.score({field: cells})
    twin = model.score({field: cells}, reference=True)
    values = plain(found)
    assert values == plain(twin)
    assert found.errors == twin.errors
    return values, found.errors


def schema_of(attributes: str = "") -> str:
    return (
        f'<MiningSchema><MiningField name="y" usageType="target"/><MiningField name="x" {attributes}/></MiningSchema>'
    )


def fields_of(inside: str = "", data_type: str = "double") -> str:
    return (
        f'<DataField name="x" optype="continuous" dataType="{data_type}">{inside}</DataField>'
        '<DataField name="y" optype="continuous" dataType="double"/>'
    )


INTERVAL = '<Interval closure="closedOpen" leftMargin="0" rightMargin="10"/>'


@pytest.mark.parametrize(
    ("attributes", "expected", "failed"),
    [
        ("", [1.0, None, None, None], [2, 3]),
        ('invalidValueTreatment="asIs"', [1.0, None, 10.0, None], [3]),
        ('invalidValueTreatment="asMissing"', [1.0, None, None, None], []),
        ('invalidValueTreatment="asMissing" missingValueReplacement="7"', [1.0, 7.0, 7.0, 7.0], []),
        ('invalidValueTreatment="asValue" invalidValueReplacement="5"', [1.0, None, 5.0, 5.0], []),
        ('missingValueTreatment="returnInvalid"', [1.0, None, None, None], [1, 2, 3]),
        ('outliers="asExtremeValues" lowValue="2" highValue="8"', [2.0, None, None, None], [2, 3]),
        ('outliers="asMissingValues" lowValue="2" missingValueReplacement="4"', [4.0, 4.0, None, None], [2, 3]),
        (
            'invalidValueTreatment="asIs" outliers="asExtremeValues" lowValue="2" highValue="8"',
            [2.0, None, 10.0, None],
            [3],
        ),
    ],
)
def test_treatments_of_missing_invalid_and_extreme_values(
    regression: Build, attributes: str, expected: list[Any], failed: list[int]
) -> None:
    model = regression(schema=schema_of(attributes), fields=fields_of(INTERVAL))
    values, errors = scored(model, ["1", None, "10", "text"])
    assert (values, list(errors)) == (expected, failed)


def test_marks_stand_for_missing_also_where_they_are_no_number(regression: Build) -> None:
    marks = '<Value value="?" property="missing"/><Value value="-1" property="missing"/>'
    model = regression(schema=schema_of('missingValueReplacement="3"'), fields=fields_of(marks))
    assert scored(model, ["?", "-1", "2"]) == ([3.0, 3.0, 2.0], {})


def test_listed_values_are_the_valid_ones(regression: Build) -> None:
    values = '<Value value="1"/><Value value="2"/><Value value="3" property="invalid"/>'
    found, errors = scored(regression(schema=schema_of(), fields=fields_of(values)), ["1.0", "3", "4"])
    assert found[0] == 1.0
    assert errors == {1: "the value of 'x' is invalid", 2: "the value of 'x' is invalid"}


def test_integers_refuse_fractions_and_take_booleans(regression: Build) -> None:
    model = regression(schema=schema_of(), fields=fields_of("", "integer"))
    values, errors = scored(model, ["2.0", "2.5", "true"])
    assert (values[0], values[2], list(errors)) == (2.0, 1.0, [1])


def test_floats_are_rounded_to_float32(regression: Build) -> None:
    values, _ = scored(regression(schema=schema_of(), fields=fields_of("", "float")), ["0.1"])
    assert values == [0.10000000149011612]


def test_a_row_fails_only_where_it_needs_the_invalid_value(document: Build) -> None:
    model = document(
        '<TreeModel functionName="regression"><MiningSchema><MiningField name="y" usageType="target"/>'
        '<MiningField name="x"/><MiningField name="k"/></MiningSchema><Node><True/>'
        '<Node score="1"><SimplePredicate field="k" operator="equal" value="a"/></Node>'
        '<Node score="2"><SimplePredicate field="x" operator="greaterThan" value="0"/></Node></Node></TreeModel>'
    )
    for reference in (False, True):
        scores = model.score({"k": ["a", "b"], "x": ["text", "text"]}, reference=reference)
        assert scores.outputs["y"][0] == 1.0
        assert list(scores.errors) == [1]


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ('invalidValueTreatment="asValue"', "there is no invalidValueReplacement"),
        ('outliers="asExtremeValues"', "there is neither lowValue nor highValue"),
        ('missingValueReplacement="many"', "'many' is no double"),
    ],
)
def test_contradictory_schemas_are_refused(regression: Build, attributes: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        regression(schema=schema_of(attributes), fields=fields_of())
    assert caught.value.code == "invalid_document"


def test_fields_must_be_known_and_named_once(regression: Build) -> None:
    with pytest.raises(ConfigError, match="the field 'z' is not in the data dictionary"):
        regression(schema='<MiningSchema><MiningField name="z"/></MiningSchema>')
    with pytest.raises(ConfigError, match="the field 'x' is named twice"):
        regression(schema='<MiningSchema><MiningField name="x"/><MiningField name="x"/></MiningSchema>')
    with pytest.raises(ConfigError, match="no field 'xx' is visible here"):
        regression(field="xx")
