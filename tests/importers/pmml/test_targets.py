# ruff: noqa: E501  (documents are easier to read in one line)
from __future__ import annotations

from typing import Any

import pytest

from recserve.errors import ConfigError

Build = Any
FIELDS = '<DataField name="x" optype="continuous" dataType="double"/><DataField name="y" optype="continuous" dataType="double"/>'


def model_of(target: str) -> str:
    return (
        '<RegressionModel functionName="regression"><MiningSchema><MiningField name="y" usageType="target"/>'
        f'<MiningField name="x"/></MiningSchema><Targets>{target}</Targets><RegressionTable intercept="0">'
        '<NumericPredictor name="x" coefficient="1"/></RegressionTable></RegressionModel>'
    )


@pytest.mark.parametrize(
    ("target", "x", "expected"),
    [
        ('<Target field="y" rescaleFactor="2" rescaleConstant="1"/>', 3, 7),
        ('<Target field="y" min="0" max="2" rescaleFactor="2"/>', 3, 4),
        ('<Target field="y" castInteger="round"/>', 2.5, 3),
        ('<Target field="y" castInteger="floor"/>', 2.7, 2),
        ('<Target field="y" castInteger="ceiling"/>', 2.1, 3),
        ('<Target field="y"><TargetValue defaultValue="8"/></Target>', None, 8),
    ],
)
def test_predictions_are_bounded_rescaled_and_rounded(document: Build, target: str, x: Any, expected: float) -> None:
    model = document(model_of(target), fields=FIELDS)
    for reference in (False, True):
        assert model.score({"x": [x]}, reference=reference).outputs["y"].tolist() == [expected]


def test_two_defaults_contradict_each_other(document: Build) -> None:
    values = '<TargetValue defaultValue="8"/><TargetValue defaultValue="9"/>'
    with pytest.raises(ConfigError, match="there are two default values"):
        document(model_of(f'<Target field="y">{values}</Target>'), fields=FIELDS)


def test_prior_probabilities_stand_for_a_missing_class(document: Build) -> None:
    values = '<TargetValue value="a" priorProbability="1"/><TargetValue value="b" priorProbability="3"/>'
    text = (
        '<TreeModel functionName="classification"><MiningSchema><MiningField name="y" usageType="target"/>'
        f'<MiningField name="x"/></MiningSchema><Output><OutputField name="p" feature="probability" value="b"/></Output>'
        f'<Targets><Target field="y">{values}</Target></Targets><Node><True/>'
        '<Node score="a"><SimplePredicate field="x" operator="greaterThan" value="0"/></Node></Node></TreeModel>'
    )
    fields = FIELDS.replace(
        'name="y" optype="continuous" dataType="double"', 'name="y" optype="categorical" dataType="string"'
    )
    found = document(text, fields=fields).score({"x": [1, None]}).outputs
    assert list(found["y"]) == ["a", "b"]
    assert found["p"].tolist()[1] == 0.75
