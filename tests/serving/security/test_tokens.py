"""Tokens from files, the environment and digests."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from recserve.errors import ConfigError
from recserve.serving.security.tokens import read_tokens

ONE = "one-0123456789abcdef"
TWO = "two-0123456789abcdef"


def test_tokens_come_from_files_the_environment_and_digests(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"{ONE}\n\n{TWO}\n")
    table = {
        "from file": {"file": str(file)},
        "from environment": {"env": "TOKEN"},
        "from digest": {"sha256": hashlib.sha256(b"x").hexdigest()},
    }
    tokens = read_tokens(table, {"TOKEN": " three-0123456789abcdef "}, "access.json")
    assert tokens.name_of(ONE.encode()) == tokens.name_of(TWO.encode()) == "from file"
    assert tokens.name_of(b"three-0123456789abcdef") == "from environment"
    assert tokens.name_of(b"x") == "from digest"
    assert tokens.name_of(b"") is None
    assert tokens.name_of(ONE.encode()[:-1]) is None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("text", 'a.json: tokens.t: expected one of file, env, sha256, got \'text\'. Write {"env": "VARIABLE"}.'),
        ({"environ": "X"}, "a.json: tokens.t: there is no source 'environ'. Did you mean 'env'?"),
        ({"env": 3}, "a.json: tokens.t: expected a text for 'env', got 3"),
        ({"env": "NOT_SET"}, "a.json: tokens.t: env 'NOT_SET' holds no token"),
        (
            {"env": "SHORT"},
            "a.json: tokens.t: a token has 5 bytes. Take at least 16 random ones, such as of `openssl rand -hex 32`.",
        ),
        ({"sha256": "ff"}, "a.json: tokens.t: expected 64 hexadecimal digits. Take those of `sha256sum`."),
        ({"sha256": "zz"}, "a.json: tokens.t: expected 64 hexadecimal digits. Take those of `sha256sum`."),
    ],
)
def test_a_wrong_source_is_told(source: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_tokens({"t": source}, {"SHORT": "short"}, "a.json")
    assert str(caught.value) == message


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the token file cannot be read"):
        read_tokens({"t": {"file": str(tmp_path / "none")}}, {}, "a.json")
