"""Who may call what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import ConfigError, RecserveError
from recserve.serving.refusals import ForbiddenError, UnauthenticatedError
from recserve.serving.security.guard import Guard, read_guard
from recserve.serving.security.rules import Rule
from recserve.serving.security.targets import Target
from recserve.serving.security.tokens import Tokens, read_tokens

READER, ADMIN = "reader-0123456789abcdef", "admin-0123456789abcdef"
KNOWN = {"READER": READER, "ADMIN": ADMIN}
ACCESS = {
    "tokens": {"reader": {"env": "READER"}, "admin": {"env": "ADMIN"}},
    "rules": [
        {"kinds": ["health"], "tokens": ["*"]},
        {"kinds": ["admin"], "tokens": ["admin"]},
        {"models": ["open"], "tokens": ["*"]},
        {"models": ["rank*"], "tokens": ["reader", "admin"]},
    ],
}


def read(tmp_path: Path, document: Any = ACCESS) -> Guard:
    file = tmp_path / "access.json"
    file.write_text(json.dumps(document))
    return read_guard(file, ["tfs"], KNOWN)[0]


def bearer(token: str) -> str:
    return f"Bearer {token}"


def test_the_first_rule_that_fits_decides(tmp_path: Path) -> None:
    guard = read(tmp_path)
    guard.admit("tfs", Target("health"), "")
    guard.admit("tfs", Target("infer", "open"), "")
    guard.admit("tfs", Target("infer", "rank"), bearer(READER))
    guard.admit("tfs", Target("admin"), f"bearer  {ADMIN}")
    with pytest.raises(UnauthenticatedError, match="infer calls of model 'rank' need a token"):
        guard.admit("tfs", Target("infer", "rank"), "")
    with pytest.raises(ForbiddenError, match="token 'reader' does not allow admin calls"):
        guard.admit("tfs", Target("admin"), bearer(READER))
    with pytest.raises(ForbiddenError, match="token 'admin' does not allow infer calls of model 'other'"):
        guard.admit("tfs", Target("infer", "other"), bearer(ADMIN))


@pytest.mark.parametrize("header", ["Bearer wrong", "Basic abc", READER, "Bearer"])
def test_an_unknown_token_is_refused_even_where_none_is_needed(tmp_path: Path, header: str) -> None:
    with pytest.raises(UnauthenticatedError, match="the token is not known"):
        read(tmp_path).admit("tfs", Target("health"), header)


def test_a_model_that_is_named_later_is_checked_then(tmp_path: Path) -> None:
    check = read(tmp_path).admit("tfs", Target("infer", names_later=True), bearer(READER))
    check("rank2")
    check("open")
    with pytest.raises(ForbiddenError, match="model 'other'"):
        check("other")


def test_a_caller_whom_no_rule_admits_is_refused_before_the_model_is_known(tmp_path: Path) -> None:
    rules = {**ACCESS, "rules": [{"models": ["rank"], "tokens": ["reader"]}]}
    with pytest.raises(UnauthenticatedError):
        read(tmp_path, rules).admit("tfs", Target("infer", names_later=True), "")
    with pytest.raises(ForbiddenError):
        read(tmp_path, rules).admit("tfs", Target("infer", names_later=True), bearer(ADMIN))


NAMES = st.sampled_from(["a", "b"])
RULES = st.builds(
    Rule,
    protocols=st.lists(st.sampled_from(["tfs", "oip"]), max_size=1).map(tuple),
    kinds=st.lists(st.sampled_from(["infer", "read"]), max_size=1).map(tuple),
    models=st.lists(st.sampled_from(["m", "n", "*"]), max_size=2).map(tuple),
    tokens=st.lists(st.sampled_from(["*", "a", "b"]), max_size=2).map(tuple),
)
TOKENS: Tokens = read_tokens({"a": {"env": "READER"}, "b": {"env": "ADMIN"}}, KNOWN, "")


@settings(max_examples=100)
@given(
    st.lists(RULES, max_size=4),
    st.sampled_from(["tfs", "oip"]),
    st.sampled_from(["infer", "read"]),
    st.sampled_from(["m", "n", "x"]),
    st.sampled_from([None, "a", "b"]),
)
def test_a_call_passes_exactly_where_its_first_rule_admits_it_named_early_or_late(
    rules: list[Rule], protocol: str, kind: Any, model: str, token: str | None
) -> None:
    slow = False
    for rule in rules:
        about = (not rule.protocols or protocol in rule.protocols) and (not rule.kinds or kind in rule.kinds)
        if about and (not rule.models or model in rule.models or "*" in rule.models):
            slow = "*" in rule.tokens or token in rule.tokens
            break
    guard = Guard(TOKENS, tuple(rules))
    header = "" if token is None else bearer({"a": READER, "b": ADMIN}[token])

    def passes(names_later: bool) -> bool:
        try:
            check = guard.admit(protocol, Target(kind, "" if names_later else model, names_later), header)
            check(model)
        except RecserveError:
            return False
        return True

    assert passes(False) == passes(True) == slow


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the access file is neither JSON nor TOML"),
        ("[]", "expected an object. Sections: tokens, rules."),
        ('{"rule": []}', "unknown section 'rule'. Did you mean 'rules'?"),
        ('{"tokens": []}', "tokens: expected a table, got []"),
        ('{"tokens": {}}', "no rules. Without one, nobody may call"),
    ],
)
def test_a_wrong_file_is_told(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "access.json"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_guard(file, [], {})
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the access file cannot be read"):
        read_guard(tmp_path / "none.json", [], {})


def test_toml_says_the_same_as_json(tmp_path: Path) -> None:
    file = tmp_path / "access.toml"
    file.write_text('[tokens]\nreader = {env = "READER"}\n[[rules]]\ntokens = ["reader"]\n')
    same = {"tokens": {"reader": {"env": "READER"}}, "rules": [{"tokens": ["reader"]}]}
    (tmp_path / "access.json").write_text(json.dumps(same))
    assert read_guard(file, [], KNOWN)[1] == read_guard(tmp_path / "access.json", [], KNOWN)[1]
