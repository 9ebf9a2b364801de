from __future__ import annotations

from typing import Any

import pytest

from recserve.errors import ConfigError

Build = Any


def field(name: str, more: str) -> str:
    return f'<OutputField name="{name}" {more}/>'


def test_outputs_build_on_earlier_ones_and_keep_their_types(regression: Build) -> None:
    output = field("p", 'feature="predictedValue" dataType="integer"') + (
        '<OutputField name="q" feature="transformedValue" dataType="string"><FieldRef field="p"/></OutputField>'
    )
    found = regression(output=output).score({"x": [2.0]}).outputs
    assert (found["p"].tolist(), list(found["q"])) == ([2.0], ["2"])


def test_a_residual_reads_the_target(regression: Build) -> None:
    model = regression(output=field("r", 'feature="residual"'))
    assert "y" in model.inputs
    assert model.score({"x": [2.0], "y": [5.0]}).outputs["r"].tolist() == [3.0]


def test_a_producers_own_feature_is_left_out_with_a_note(regression: Build) -> None:
    model = regression(output=field("r", 'feature="x-report"'))
    assert list(model.outputs) == ["y"]
    assert model.report.notes == ["The output 'r' is left out: x-report is its producer's own."]


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ('feature="probabilty"', "the feature 'probabilty' is not read. Did you mean 'probability'?"),
        ('feature="probability"', "the model has no probability"),
        ('feature="reasonCode"', "the model has no reason codes"),
        ('feature="entityId"', "the model has no entity id"),
        ('feature="ruleValue"', "the model has no association rules"),
    ],
)
def test_what_a_model_does_not_know_is_unsupported(regression: Build, more: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        regression(output=field("o", more))
    assert problem in str(caught.value)
    assert caught.value.code == "unsupported_element"
