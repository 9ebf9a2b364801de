# ruff: noqa: E501  (documents are easier to read in one line)
"""Trees against a walk in plain Python, for each strategy."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recserve.errors import ConfigError

Build = Any
FIELDS = "".join(f'<DataField name="{n}" optype="continuous" dataType="double"/>' for n in ("a", "b", "y"))
SCHEMA = '<MiningSchema><MiningField name="y" usageType="target"/><MiningField name="a"/><MiningField name="b"/></MiningSchema>'
STRATEGIES = ("none", "nullPrediction", "lastPrediction", "defaultChild")
ROWS = [{"a": a, "b": b} for a in (None, 0.0, 1.0, 2.0) for b in (None, 0.0, 1.0, 2.0)]


class Node:
    """A node of a drawn tree: test (field, operator, value), score and children."""

    def __init__(self, test: Any, score: int | None, children: list[Any]) -> None:
        self.test, self.score, self.children = test, score, children

    def xml(self, path: str = "0", top: bool = True) -> str:
        field, operator, value = self.test
        test = "<True/>" if top else f'<SimplePredicate field="{field}" operator="{operator}" value="{value}"/>'
        inner = "".join(child.xml(f"{path}.{i}", False) for i, child in enumerate(self.children))
        score = "" if self.score is None else f' score="{self.score}"'
        default = f' defaultChild="{path}.0"' if self.children else ""
        return f'<Node id="{path}"{score}{default}>{test}{inner}</Node>'

    def holds(self, row: dict[str, Any]) -> bool | None:
        field, operator, value = self.test
        return None if row[field] is None else (row[field] < value) == (operator == "lessThan")


def walk(node: Node, row: dict[str, Any], missing: str, no_true_child: str) -> float | None:
    while node.children:
        found = None
        for child in node.children:
            holds = child.holds(row)
            if holds is None and missing != "none":
                if missing == "nullPrediction":
                    return None
                if missing == "lastPrediction":
                    return node.score
                found = node.children[0]
                break
            if holds:
                found = child
                break
        if found is None:
            return node.score if no_true_child == "returnLastPrediction" else None
        node = found
    return node.score


tests = st.tuples(st.sampled_from("ab"), st.sampled_from(("lessThan", "greaterOrEqual")), st.integers(0, 2))
scores = st.one_of(st.none(), st.integers(0, 9))
nodes = st.recursive(
    st.builds(Node, tests, scores, st.just([])),
    lambda inner: st.builds(Node, tests, scores, st.lists(inner, min_size=1, max_size=3)),
    max_leaves=8,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(nodes, st.sampled_from(STRATEGIES), st.sampled_from(("returnNullPrediction", "returnLastPrediction")))
def test_every_strategy_gives_what_the_plain_walk_gives(document: Build, root: Node, missing: str, last: str) -> None:
    model = document(
        f'<TreeModel functionName="regression" missingValueStrategy="{missing}" noTrueChildStrategy="{last}">'
        f"{SCHEMA}{root.xml()}</TreeModel>",
        fields=FIELDS,
    )
    columns = {name: [row[name] for row in ROWS] for name in "ab"}
    expected = [walk(root, row, missing, last) for row in ROWS]
    for reference in (True, False):
        found = model.score(columns, reference=reference).outputs["y"]
        assert [None if value != value else value for value in found.tolist()] == expected  # noqa: PLR0124


LEAVES = (
    '<Node recordCount="100"><True/>'
    '<ScoreDistribution value="p" recordCount="60"/><ScoreDistribution value="q" recordCount="40"/>'
    '<Node recordCount="75" score="p"><SimplePredicate field="a" operator="lessThan" value="1"/>'
    '<ScoreDistribution value="p" recordCount="60"/><ScoreDistribution value="q" recordCount="15"/></Node>'
    '<Node recordCount="25" score="q"><SimplePredicate field="a" operator="greaterOrEqual" value="1"/>'
    '<ScoreDistribution value="p" recordCount="0"/><ScoreDistribution value="q" recordCount="25"/></Node></Node>'
)
CLASSES = FIELDS.replace(
    'name="y" optype="continuous" dataType="double"', 'name="y" optype="categorical" dataType="string"'
)
OUTPUT = (
    '<Output><OutputField name="p" feature="probability" value="p"/><OutputField name="n" feature="entityId"/></Output>'
)


@pytest.mark.parametrize("strategy", ["weightedConfidence", "aggregateNodes"])
def test_unknown_branches_share_by_their_records(document: Build, strategy: str) -> None:
    output = OUTPUT.replace('<OutputField name="n" feature="entityId"/>', "")
    model = document(
        f'<TreeModel functionName="classification" missingValueStrategy="{strategy}">{SCHEMA}{output}{LEAVES}</TreeModel>',
        fields=CLASSES,
    )
    found = model.score({"a": [0, 2, None]}).outputs
    assert found["p"].tolist() == pytest.approx([0.8, 0.0, 0.6])
    assert list(found["y"]) == ["p", "q", "p"]


def test_classes_have_probabilities_and_the_id_of_their_node(document: Build) -> None:
    model = document(f'<TreeModel functionName="classification">{SCHEMA}{OUTPUT}{LEAVES}</TreeModel>', fields=CLASSES)
    found = model.score({"a": [0, 2]}).outputs
    assert (found["p"].tolist(), list(found["n"]), list(found["y"])) == ([0.8, 0.0], ["2", "3"], ["p", "q"])


def test_a_default_child_must_be_a_child(document: Build) -> None:
    text = LEAVES.replace('<Node recordCount="100">', '<Node recordCount="100" defaultChild="zz">', 1)
    with pytest.raises(ConfigError, match="defaultChild 'zz' is no child of the node"):
        document(
            f'<TreeModel functionName="classification" missingValueStrategy="defaultChild">{SCHEMA}{text}</TreeModel>',
            fields=CLASSES,
        )
