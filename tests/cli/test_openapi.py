"""The command that writes OpenAPI documents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recserve.cli.openapi import openapi
from recserve.errors import ConfigError
from recserve.serving.openapi import ROUTES, describe_port

WRITTEN = Path(__file__).parents[2] / "docs" / "reference" / "openapi"


def test_a_document_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    openapi("oip")
    assert json.loads(capsys.readouterr().out) == describe_port("oip")


def test_all_documents_are_written(tmp_path: Path) -> None:
    openapi(out=tmp_path)
    assert {file.stem for file in tmp_path.glob("*.json")} == set(ROUTES)


def test_the_documents_of_the_reference_are_those_of_the_code() -> None:
    for name in ROUTES:
        written = json.loads((WRITTEN / f"{name}.json").read_text(encoding="utf-8"))
        written["info"]["version"] = describe_port(name)["info"]["version"]
        assert written == describe_port(name), f"Run: recserve openapi --out {WRITTEN}"


def test_an_unknown_dialect_is_told() -> None:
    with pytest.raises(ConfigError, match=r"there is no HTTP dialect 'oipp'. Did you mean 'oip'?"):
        openapi("oipp")
