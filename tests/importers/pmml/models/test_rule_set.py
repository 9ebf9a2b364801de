"""RuleSetModel against a plain Python reading of the rules."""

from __future__ import annotations

from typing import Any

import pytest

FIELDS = {"x": "double", "y": "double", "label": "string low mid high"}
RULES = """<CompoundRule><SimplePredicate field="x" operator="greaterThan" value="0"/>
    <SimpleRule id="A" score="low" weight="0.5" confidence="0.6">
      <SimplePredicate field="y" operator="greaterThan" value="1"/>
    </SimpleRule>
    <SimpleRule score="mid" weight="0.9" confidence="0.7"><SimplePredicate field="y" operator="greaterThan" value="2"/>
    </SimpleRule>
  </CompoundRule>
  <SimpleRule id="C" score="low" weight="0.6" confidence="0.8">
    <SimplePredicate field="y" operator="greaterThan" value="3"/>
  </SimpleRule>"""
# (weight, confidence, label, id, fires)
PLAIN = [
    (0.5, 0.6, "low", "A", lambda x, y: x > 0 and y > 1),
    (0.9, 0.7, "mid", "2", lambda x, y: x > 0 and y > 2),
    (0.6, 0.8, "low", "C", lambda _, y: y > 3),
]
ROWS = [(1.0, 1.5), (1.0, 2.5), (1.0, 3.5), (-1.0, 3.5), (-1.0, 0.0), (None, 3.5)]


def model(schema: Any, criterion: str, attributes: str = 'defaultScore="high" defaultConfidence="0.25"') -> str:
    return f"""<RuleSetModel functionName="classification">{schema("x", "y", targets=["label"])}
      <Output><OutputField name="c" feature="confidence" optype="continuous" dataType="double"/>
        <OutputField name="c(low)" feature="confidence" value="low" optype="continuous" dataType="double"/>
        <OutputField name="rule" feature="entityId" optype="categorical" dataType="string"/></Output>
      <RuleSet {attributes}><RuleSelectionMethod criterion="{criterion}"/><RuleSelectionMethod criterion="firstHit"/>
      {RULES}</RuleSet></RuleSetModel>"""


def decide(criterion: str, x: float | None, y: float) -> tuple[str, float, str | None]:
    """Label, confidence and id by the standard's words."""
    fired = [rule for rule in PLAIN if rule[4](x if x is not None else -1.0, y)]
    if not fired:
        return "high", 0.25, None
    if criterion == "firstHit":
        best = fired[0]
        return best[2], best[1], best[3]
    if criterion == "weightedMax":
        best = max(fired, key=lambda rule: rule[0])
        return best[2], best[1], best[3]
    totals: dict[str, float] = {}
    for rule in fired:
        totals[rule[2]] = totals.get(rule[2], 0.0) + rule[0]
    label = max(totals, key=lambda one: totals[one])
    heaviest = max((rule for rule in fired if rule[2] == label), key=lambda rule: rule[0])
    return label, totals[label] / len(fired), heaviest[3]


@pytest.mark.parametrize("criterion", ["firstHit", "weightedMax", "weightedSum"])
def test_rules_decide_as_their_selection_method_says(criterion: str, score: Any, schema: Any) -> None:
    found = score(model(schema, criterion), FIELDS, {"x": [x for x, _ in ROWS], "y": [y for _, y in ROWS]})
    want = [decide(criterion, x, y) for x, y in ROWS]
    assert found["label"] == [label for label, _, _ in want]
    assert found["c"] == [pytest.approx(confidence) for _, confidence, _ in want]
    assert found["rule"] == [id_ for _, _, id_ in want]


def test_each_label_has_the_confidence_of_its_own_rules(score: Any, schema: Any) -> None:
    found = score(model(schema, "firstHit"), FIELDS, {"x": [1.0, 1.0, -1.0], "y": [1.5, 3.5, 0.0]})
    assert found["c(low)"] == [0.6, 0.6, 0.0]


def test_nothing_fires_and_no_default_is_missing(score: Any, schema: Any) -> None:
    found = score(model(schema, "firstHit", ""), FIELDS, {"x": [-1.0], "y": [0.0]})
    assert found["label"] == [None]


def test_a_set_without_rules_gives_its_default(score: Any, schema: Any) -> None:
    text = model(schema, "firstHit").replace(RULES, "")
    text = text[: text.index("<Output>")] + text[text.index("</Output>") + len("</Output>") :]
    assert score(text, FIELDS, {"x": [1.0], "y": [0.0]})["label"] == ["high"]
