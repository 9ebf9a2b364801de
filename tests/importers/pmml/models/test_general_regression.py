# ruff: noqa: E501  (documents are easier to read in one line)
from __future__ import annotations

import math
from typing import Any

import pytest

from recserve.errors import ConfigError

Build = Any
FIELDS = '<DataField name="x" optype="continuous" dataType="double"/><DataField name="k" optype="categorical" dataType="string"/>'
NUMBER = FIELDS + '<DataField name="y" optype="continuous" dataType="double"/>'
LABEL = (
    FIELDS
    + '<DataField name="y" optype="{}" dataType="string"><Value value="a"/><Value value="b"/><Value value="c"/></DataField>'
)
SCHEMA = '<MiningSchema><MiningField name="y" usageType="target"/><MiningField name="x"/><MiningField name="k"/></MiningSchema>'
DESIGN = (
    '<ParameterList><Parameter name="i"/><Parameter name="p"/><Parameter name="q"/></ParameterList>'
    '<FactorList><Predictor name="k"/></FactorList><CovariateList><Predictor name="x"/></CovariateList>'
    '<PPMatrix><PPCell parameterName="p" predictorName="x" value="2"/>'
    '<PPCell parameterName="q" predictorName="k" value="v"/><PPCell parameterName="q" predictorName="x" value="1"/></PPMatrix>'
)


def model_of(  # noqa: PLR0917 (parts of one document)
    kind: str,
    cells: str,
    more: str = "",
    function: str = "regression",
    output: str = "",
    inner: str = "",
) -> str:
    return (
        f'<GeneralRegressionModel functionName="{function}" modelType="{kind}" {more}>{SCHEMA}<Output>{output}</Output>'
        f"{DESIGN}<ParamMatrix>{cells}</ParamMatrix>{inner}</GeneralRegressionModel>"
    )


CELLS = '<PCell parameterName="i" beta="0.5"/><PCell parameterName="p" beta="0.25"/><PCell parameterName="q" beta="-0.125"/>'
ETA = 0.5 + 0.25 * 4 - 0.125 * 2


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('linkFunction="identity"', ETA),
        ('linkFunction="log" offsetValue="1"', math.exp(ETA + 1)),
        ('linkFunction="logc"', 1 - math.exp(ETA)),
        ('linkFunction="logit" trialsValue="10"', 10 / (1 + math.exp(-ETA))),
        ('linkFunction="probit"', 0.5 * math.erfc(-ETA / math.sqrt(2))),
        ('linkFunction="cloglog"', 1 - math.exp(-math.exp(ETA))),
        ('linkFunction="loglog"', math.exp(-math.exp(-ETA))),
        ('linkFunction="cauchit"', 0.5 + math.atan(ETA) / math.pi),
        ('linkFunction="power" linkParameter="2"', ETA**0.5),
        ('linkFunction="power" linkParameter="0"', math.exp(ETA)),
        ('linkFunction="oddspower" linkParameter="2"', 1 / (1 + (1 + 2 * ETA) ** -0.5)),
        ('linkFunction="oddspower" linkParameter="0"', 1 / (1 + math.exp(-ETA))),
        ('linkFunction="negbin" distParameter="2"', 1 / (2 * (math.exp(-ETA) - 1))),
    ],
)
def test_each_link_is_inverted(document: Build, more: str, expected: float) -> None:
    model = document(model_of("generalizedLinear", CELLS, more), fields=NUMBER)
    for reference in (False, True):
        found = model.score({"x": [2, 2], "k": ["v", None]}, reference=reference).outputs["y"].tolist()
        assert found[0] == pytest.approx(expected)
        assert math.isnan(found[1])


def test_ordinal_probabilities_are_differences(document: Build) -> None:
    cells = (
        '<PCell targetCategory="a" parameterName="i" beta="-1"/><PCell targetCategory="b" parameterName="i" beta="1"/>'
        '<PCell parameterName="p" beta="0.25"/>'
    )
    output = "".join(f'<OutputField name="{c}" feature="probability" value="{c}"/>' for c in "abc")
    text = model_of("ordinalMultinomial", cells, 'cumulativeLink="logit"', "classification", output)
    found = document(text, fields=LABEL.format("ordinal")).score({"x": [1], "k": ["v"]}).outputs
    low, high = 1 / (1 + math.exp(1 - 0.25)), 1 / (1 + math.exp(-1 - 0.25))
    assert [found[c][0] for c in "abc"] == pytest.approx([low, high - low, 1 - high])


def test_multinomial_probabilities_have_a_reference_category(document: Build) -> None:
    cells = (
        '<PCell targetCategory="a" parameterName="i" beta="1"/><PCell targetCategory="c" parameterName="i" beta="2"/>'
    )
    output = "".join(f'<OutputField name="{c}" feature="probability" value="{c}"/>' for c in "abc")
    text = model_of("multinomialLogistic", cells, "", "classification", output)
    found = document(text, fields=LABEL.format("categorical")).score({"x": [1], "k": ["v"]}).outputs
    total = math.exp(1) + math.exp(2) + 1
    assert [found[c][0] for c in "abc"] == pytest.approx([math.exp(1) / total, 1 / total, math.exp(2) / total])
    assert list(found["y"]) == ["c"]


def test_the_hazard_of_a_cox_model_is_that_of_the_last_time_before(document: Build) -> None:
    table = '<BaseCumHazardTables maxTime="20"><BaselineCell time="5" cumHazard="0.5"/><BaselineCell time="10" cumHazard="2"/>'
    cells = '<PCell parameterName="q" beta="0"/>'
    text = model_of("CoxRegression", cells, 'endTimeVariable="x"', inner=f"{table}</BaseCumHazardTables>")
    found = document(text, fields=NUMBER).score({"x": [1, 5, 12, 20, 21], "k": ["v"] * 5}).outputs["y"].tolist()
    assert found[:4] == [0.0, 0.5, 2.0, 2.0]
    assert math.isnan(found[4])


def test_models_that_do_not_fit_their_function_are_refused(document: Build) -> None:
    with pytest.raises(ConfigError, match="modelType 'multinomialLogistic' does not fit a regression"):
        document(model_of("multinomialLogistic", CELLS), fields=NUMBER)
    with pytest.raises(ConfigError, match="modelType 'regression' does not fit a classification"):
        document(model_of("regression", CELLS, function="classification"), fields=LABEL.format("categorical"))
