# ruff: noqa: E501  (documents are easier to read in one line)
"""Predicates against three-valued logic in plain Python."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from recserve.importers.model import Report
from recserve.importers.pmml import predicates
from recserve.importers.pmml.document import Document, _convert
from recserve.importers.pmml.scope import Field, Scope
from recserve.scoring.graph import Graph

Tree = Any
NAMES = ("a", "b")


def xml(tree: Tree) -> str:
    kind = tree[0]
    if kind == "compound":
        return f'<CompoundPredicate booleanOperator="{tree[1]}">{"".join(map(xml, tree[2]))}</CompoundPredicate>'
    if kind == "simple":
        value = "" if tree[2].startswith("is") else f' value="{tree[3]}"'
        return f'<SimplePredicate field="{tree[1]}" operator="{tree[2]}"{value}/>'
    if kind == "set":
        array = " ".join(map(str, tree[3]))
        return f'<SimpleSetPredicate field="{tree[1]}" booleanOperator="{tree[2]}"><Array>{array}</Array></SimpleSetPredicate>'
    return f"<{kind}/>"


def twin(tree: Tree, row: dict[str, float | None]) -> bool | None:
    kind = tree[0]
    if kind in ("True", "False"):
        return bool(kind == "True")
    if kind == "simple":
        x, operator, value = row[tree[1]], tree[2], tree[3]
        if operator.startswith("is"):
            return (x is None) == (operator == "isMissing")
        tests = {"equal": "__eq__", "notEqual": "__ne__", "lessThan": "__lt__", "greaterOrEqual": "__ge__"}
        return None if x is None else bool(getattr(float(x), tests[operator])(float(value)))
    if kind == "set":
        x = row[tree[1]]
        return None if x is None else (x in tree[3]) == (tree[2] == "isIn")
    parts = [twin(part, row) for part in tree[2]]
    if tree[1] == "surrogate":
        return next((part for part in parts if part is not None), None)
    if tree[1] == "xor":
        return None if None in parts else sum(map(bool, parts)) % 2 == 1
    decisive = tree[1] == "or"
    return decisive if decisive in parts else None if None in parts else not decisive


leaves = st.one_of(
    st.just(("True",)),
    st.just(("False",)),
    st.tuples(
        st.just("simple"),
        st.sampled_from(NAMES),
        st.sampled_from(("equal", "notEqual", "lessThan", "greaterOrEqual", "isMissing", "isNotMissing")),
        st.integers(0, 2),
    ),
    st.tuples(
        st.just("set"),
        st.sampled_from(NAMES),
        st.sampled_from(("isIn", "isNotIn")),
        st.lists(st.integers(0, 2), min_size=1),
    ),
)
trees = st.recursive(
    leaves,
    lambda inner: st.tuples(
        st.just("compound"),
        st.sampled_from(("and", "or", "xor", "surrogate")),
        st.lists(inner, min_size=2, max_size=3),
    ),
    max_leaves=6,
)
ROWS = [{"a": a, "b": b} for a in (None, 0.0, 1.0, 2.0) for b in (None, 0.0, 1.0, 2.0)]


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(trees)
def test_predicates_follow_kleene_logic(tree: Tree) -> None:
    graph = Graph()
    root = _convert(etree.fromstring(f"<PMML>{xml(tree)}</PMML>"), "m.pmml")
    scope = Scope(graph, Document(root, "m.pmml", (4, 4)), Report("pmml"), {}, {})
    for name in NAMES:
        scope.declare(name, Field(graph.input(name, "number"), "double", name=name))
    graph.output("p", predicates.lower(predicates.find(root), scope))
    program = graph.build()
    columns = {name: [row[name] for row in ROWS] for name in NAMES}
    expected = [twin(tree, row) for row in ROWS]
    for reference in (True, False):
        assert list(program.run(columns, reference=reference, rows=len(ROWS)).outputs["p"]) == expected
