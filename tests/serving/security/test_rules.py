"""The rules of an access file."""

from __future__ import annotations

from typing import Any

import pytest

from recserve.errors import ConfigError
from recserve.serving.security.rules import Rule, read_rules


def test_a_rule_without_conditions_fits_everything() -> None:
    rule = Rule(tokens=("a",))
    assert rule.fits("tfs", "infer")
    assert rule.fits_model("any")
    assert rule.admits("a")
    assert not rule.admits("b")
    assert not rule.admits(None)


def test_a_rule_fits_what_it_names() -> None:
    rule = Rule(("grpc",), ("admin",), ("rank*", "ctr"), ("*",))
    assert rule.fits("grpc", "admin")
    assert not rule.fits("tfs", "admin")
    assert not rule.fits("grpc", "infer")
    assert [rule.fits_model(model) for model in ("rank", "ranker", "ctr", "ctr2", "")] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert rule.admits(None)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({}, "f: rules: expected a list of tables, got {}"),
        ([1], "f: rules[0]: expected a table, got 1"),
        ([{"model": [], "tokens": []}], "f: rules[0]: unknown field 'model'. Did you mean 'models'?"),
        ([{"tokens": "a"}], "f: rules[0].tokens: expected a list of texts, got 'a'"),
        ([{"tokens": ["b"]}], "f: rules[0].tokens: there is no token 'b'. Known: a, *."),
        ([{"tokens": [], "kinds": ["infr"]}], "f: rules[0].kinds: there is no kind 'infr'. Did you mean 'infer'?"),
        ([{"tokens": [], "protocols": ["x"]}], "f: rules[0].protocols: there is no protocol 'x'. Known: tfs."),
        ([{}], "f: rules[0]: no 'tokens'. Name them, [\"*\"] for anybody, [] for nobody."),
    ],
)
def test_a_wrong_rule_is_told(rows: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_rules(rows, ["a"], ["tfs"], "f")
    assert str(caught.value) == message
