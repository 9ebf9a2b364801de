# ruff: noqa: E501  (documents are easier to read in one line)
from __future__ import annotations

import math
from typing import Any

import pytest

from recserve.errors import ConfigError

Build = Any
FIELDS = '<DataField name="x" optype="continuous" dataType="double"/><DataField name="y" optype="{o}" dataType="{t}"/>'
NUMBER, LABEL = FIELDS.format(o="continuous", t="double"), FIELDS.format(o="categorical", t="string")
SCHEMA = '<MiningSchema><MiningField name="y" usageType="target"/><MiningField name="x"/></MiningSchema>'
INNER = '<MiningSchema><MiningField name="x"/></MiningSchema>'


def at_least(value: float) -> str:
    return f'<SimplePredicate field="x" operator="greaterOrEqual" value="{value}"/>'


def number(value: float, predicate: str = "<True/>", weight: float = 1.0, output: str = "") -> str:
    """A segment that gives a number; missing where x is negative."""
    nodes = f'<Node><True/><Node score="{value}">{at_least(0)}</Node></Node>'
    model = f'<TreeModel functionName="regression">{INNER}{output}{nodes}</TreeModel>'
    return f'<Segment weight="{weight}">{predicate}{model}</Segment>'


def label(value: str, p: float, weight: float = 1.0) -> str:
    """A segment that gives a label and the probability of "a"."""
    shares = f'<ScoreDistribution value="a" recordCount="{p}"/><ScoreDistribution value="b" recordCount="{1 - p}"/>'
    nodes = f'<Node><True/><Node score="{value}">{at_least(0)}{shares}</Node></Node>'
    return f'<Segment weight="{weight}"><True/><TreeModel functionName="classification">{INNER}{nodes}</TreeModel></Segment>'


def mining(method: str, segments: str, function: str = "regression", more: str = "", output: str = "") -> str:
    return (
        f'<MiningModel functionName="{function}">{SCHEMA}{output}<Segmentation multipleModelMethod="{method}"{more}>'
        f"{segments}</Segmentation></MiningModel>"
    )


def run(model: Any, xs: list[Any], name: str = "y") -> list[Any]:
    found = list(model.score({"x": xs}).outputs[name])
    twin = list(model.score({"x": xs}, reference=True).outputs[name])
    plain = [None if isinstance(value, float) and math.isnan(value) else value for value in found]
    assert plain == [None if isinstance(value, float) and math.isnan(value) else value for value in twin]
    return plain


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("average", 7 / 3),
        ("weightedAverage", (1 + 2 * 2 + 4 * 5) / 8),
        ("median", 2.0),
        ("weightedMedian", 4.0),
        ("sum", 7.0),
        ("x-weightedSum", 25.0),
        ("max", 4.0),
        ("selectFirst", 1.0),
        ("modelChain", 4.0),
    ],
)
def test_methods_make_one_number_of_many(document: Build, method: str, expected: float) -> None:
    segments = number(1, weight=1) + number(2, weight=2) + number(4, weight=5)
    assert run(document(mining(method, segments), fields=NUMBER), [1]) == [pytest.approx(expected)]


@pytest.mark.parametrize(
    ("treatment", "expected"), [("continue", None), ("skipSegment", None), ("returnMissing", None)]
)
def test_a_missing_prediction_of_all_segments_is_missing(document: Build, treatment: str, expected: Any) -> None:
    more = f' missingPredictionTreatment="{treatment}"'
    assert run(document(mining("average", number(1) + number(3), more=more), fields=NUMBER), [-1]) == [expected]


def test_skipped_segments_are_left_out(document: Build) -> None:
    always = (
        '<Segment><True/><TreeModel functionName="regression">'
        + INNER
        + '<Node score="9"><True/></Node></TreeModel></Segment>'
    )
    for treatment, expected in (("continue", None), ("skipSegment", 9.0), ("returnMissing", None)):
        more = f' missingPredictionTreatment="{treatment}"'
        model = document(mining("average", number(1) + always, more=more), fields=NUMBER)
        assert run(model, [1, -1]) == [5.0, expected]


def test_only_segments_whose_predicate_is_true_count(document: Build) -> None:
    segments = number(1) + number(3, at_least(5))
    assert run(document(mining("average", segments), fields=NUMBER), [1, 5, None]) == [1.0, 2.0, None]
    first = number(3, at_least(5)) + number(1)
    assert run(document(mining("selectFirst", first), fields=NUMBER), [1, 5]) == [1.0, 3.0]
    assert run(document(mining("selectAll", first), fields=NUMBER), [1, 5, -1]) == [[1.0], [3.0, 1.0], [None]]


@pytest.mark.parametrize(
    ("method", "winner", "p"),
    [
        ("majorityVote", "a", 2 / 3),
        ("weightedMajorityVote", "b", 2 / 5),
        ("average", "b", (0.6 + 0.6 + 0.1) / 3),
        ("weightedAverage", "b", (0.6 + 0.6 + 0.3) / 5),
    ],
)
def test_votes_and_probabilities(document: Build, method: str, winner: str, p: float) -> None:
    output = '<Output><OutputField name="p" feature="probability" value="a"/></Output>'
    segments = label("a", 0.6) + label("a", 0.6) + label("b", 0.1, weight=3)
    model = document(mining(method, segments, "classification", output=output), fields=LABEL)
    assert run(model, [1]) == [winner]
    assert run(model, [1], "p") == [pytest.approx(p)]


def test_outputs_of_a_chain_are_fields_of_later_segments(document: Build) -> None:
    output = '<Output><OutputField name="first" feature="predictedValue" isFinalResult="{}"/></Output>'
    later = (
        '<Segment><True/><RegressionModel functionName="regression"><MiningSchema><MiningField name="first"/></MiningSchema>'
        '<RegressionTable intercept="1"><NumericPredictor name="first" coefficient="2"/></RegressionTable>'
        "</RegressionModel></Segment>"
    )
    shown = document(mining("modelChain", number(4, output=output.format("true")) + later), fields=NUMBER)
    assert run(shown, [1]) == [9.0]
    assert run(shown, [1], "first") == [4.0]
    hidden = document(mining("modelChain", number(4, output=output.format("false")) + later), fields=NUMBER)
    assert list(hidden.outputs) == ["y"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (mining("majorityVote", number(1)), "multipleModelMethod 'majorityVote' does not fit a regression"),
        (mining("sum", ""), "has no Segment"),
        (mining("averge", number(1)), "Did you mean 'average'?"),
        (mining("sum", "<Segment><True/></Segment>"), "has no model"),
    ],
)
def test_contradictory_ensembles_are_refused(document: Build, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        document(text, fields=NUMBER)
    assert problem in str(caught.value)


def test_models_that_recserve_lacks_are_named_with_their_line(document: Build) -> None:
    with pytest.raises(ConfigError, match="<TimeSeriesModel> is not read") as caught:
        document('<TimeSeriesModel functionName="timeSeries"/>')
    assert caught.value.code == "unsupported_element"
    assert "model.pmml:" in str(caught.value)
