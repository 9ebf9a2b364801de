"""Scorecard against a plain Python card."""

from __future__ import annotations

from typing import Any

import pytest

from recserve.errors import ConfigError

FIELDS = {"age": "double", "job": "string a b", "points": "double"}
OUTPUT = "<Output>" + "".join(
    f'<OutputField name="r{i}" feature="reasonCode" rank="{i}" optype="categorical" dataType="string"/>'
    for i in (1, 2, 3)
) + "</Output>"  # fmt: skip
CARD = """<Scorecard functionName="regression" initialScore="10" {attributes}>{schema}{output}<Characteristics>
  <Characteristic name="age" reasonCode="AGE" baselineScore="6">
    <Attribute partialScore="-2"><SimplePredicate field="age" operator="isMissing"/></Attribute>
    <Attribute partialScore="4" reasonCode="YOUNG"><SimplePredicate field="age" operator="lessThan" value="30"/>
      </Attribute>
    <Attribute partialScore="9"><SimplePredicate field="age" operator="lessThan" value="60"/></Attribute>
    <Attribute><True/><ComplexPartialScore><Apply function="*"><FieldRef field="age"/>
      <Constant dataType="double">0.1</Constant></Apply></ComplexPartialScore></Attribute>
  </Characteristic>
  <Characteristic name="job" reasonCode="JOB">
    <Attribute partialScore="1"><SimplePredicate field="job" operator="equal" value="a"/></Attribute>
    <Attribute partialScore="5"><SimplePredicate field="job" operator="equal" value="b"/></Attribute>
  </Characteristic>
</Characteristics></Scorecard>"""


def card(schema: Any, attributes: str = 'baselineScore="3"', output: str = OUTPUT) -> str:
    return CARD.format(attributes=attributes, schema=schema("age", "job", targets=["points"]), output=output)


def test_the_score_is_the_initial_one_and_the_first_true_attribute_of_each_characteristic(
    score: Any, schema: Any
) -> None:
    found = score(card(schema), FIELDS, {"age": [20, 40, 80, None], "job": ["a", "b", "a", "b"]})
    assert found["points"] == [15.0, 24.0, 19.0, 13.0]
    assert found["errors"] == []


def test_a_row_that_no_attribute_fits_fails(score: Any, schema: Any) -> None:
    found = score(card(schema), FIELDS, {"age": [20, 20], "job": ["a", None]})
    assert found["points"] == [15.0, None]
    assert found["errors"] == [1]


def test_reasons_are_the_points_below_the_baseline_most_first_and_none_above(score: Any, schema: Any) -> None:
    found = score(card(schema), FIELDS, {"age": [20, 40, 80, None], "job": ["a", "b", "a", "a"]})
    # Below the baselines 6 and 3: YOUNG 2, JOB 2 (a tie keeps the order); none; JOB 2 and AGE -2; AGE 8, JOB 2.
    assert found["r1"] == ["YOUNG", None, "JOB", "AGE"]
    assert found["r2"] == ["JOB", None, None, "JOB"]
    assert found["r3"] == [None] * 4


def test_reasons_may_be_the_points_above_the_baseline(score: Any, schema: Any) -> None:
    model = card(schema, 'baselineScore="3" reasonCodeAlgorithm="pointsAbove"')
    found = score(model, FIELDS, {"age": [40, 20], "job": ["b", "a"]})
    assert (found["r1"], found["r2"]) == (["AGE", None], ["JOB", None])


def test_points_of_one_reason_code_add_up(score: Any, schema: Any) -> None:
    model = card(schema).replace('reasonCode="JOB"', 'reasonCode="AGE"')
    found = score(model, FIELDS, {"age": [None, 20], "job": ["a", "a"]})
    assert found["r1"] == ["AGE", "YOUNG"]
    assert found["r2"] == [None, "AGE"]


def test_a_card_whose_output_asks_for_no_reasons_needs_no_baseline(score: Any, schema: Any) -> None:
    found = score(card(schema, "", ""), FIELDS, {"age": [20], "job": ["a"]})
    assert found["points"] == [15.0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('partialScore="5"', "", "needs the attribute 'partialScore'"),
        (' baselineScore="3"', "", "has no baselineScore, nor has the scorecard"),
        (' reasonCode="JOB"', "", "has no reason code, nor has its characteristic"),
        ("<True/><Complex", "<True/><Other/><Complex", None),
    ],
)
def test_a_broken_card_is_refused_with_its_place(
    old: str, new: str, message: str | None, score: Any, schema: Any
) -> None:
    model = card(schema).replace(old, new)
    if message is None:
        assert score(model, FIELDS, {"age": [20], "job": ["a"]})["points"] == [15.0]
        return
    with pytest.raises(ConfigError, match=r"model\.pmml:") as error:
        score(model, FIELDS, {"age": [20], "job": ["a"]})
    assert message in str(error.value)
