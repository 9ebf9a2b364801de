from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from recserve.errors import ConfigError
from recserve.importers import formats


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ('<?xml version="1.0"?><PMML version="4.4"/>', "pmml"),
        ('﻿  <PMML xmlns="http://www.dmg.org/PMML-4_2"/>', "pmml"),
    ],
)
def test_documents_are_known_by_how_they_begin(tmp_path: Path, text: str, form: str) -> None:
    path = tmp_path / "model"
    path.write_text(text, encoding="utf-8")
    assert formats.guess(path) == form


@pytest.mark.parametrize(("member", "form"), [("model.ini", "mojo"), ("bundle.json", "mleap")])
def test_archives_are_known_by_a_member(tmp_path: Path, member: str, form: str) -> None:
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, "")
    assert formats.guess(path) == form
    (tmp_path / "unpacked").mkdir()
    (tmp_path / "unpacked" / member).touch()
    if form == "mleap":
        assert formats.guess(tmp_path / "unpacked") == form


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    for call in (formats.guess, formats.read, lambda path: formats.read(path, "pmml")):
        with pytest.raises(ConfigError, match="no such file or directory") as caught:
            call(tmp_path / "absent")
        assert caught.value.code == "not_found"


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(ConfigError, match="the zip file is damaged") as caught:
        formats.read(path)
    assert caught.value.code == "damaged_model"


def test_unknown_content_is_refused_with_its_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"\x00\x01nothing known")
    with pytest.raises(ConfigError, match="no importer knows this content") as caught:
        formats.read(path)
    assert caught.value.code == "unknown_format"
    assert "pmml" in str(caught.value.hint)


def test_a_misspelt_format_gets_a_hint(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("<PMML/>")
    with pytest.raises(ConfigError, match="unknown format 'pmm'") as caught:
        formats.read(tmp_path / "model", "pmm")
    assert "'pmml'" in str(caught.value.hint)


def test_a_format_that_needs_conversion_is_guessed_and_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "graph"
    path.write_bytes(b"GRAPH")
    reader = formats.Reader("nowhere", lambda source: source.head == b"GRAPH")
    monkeypatch.setitem(formats.CONVERTERS, "graph", reader)
    assert formats.guess(path) == "graph"
    with pytest.raises(ConfigError, match=r"no scoring program.*recserve import") as caught:
        formats.read(path)
    assert caught.value.code == "needs_conversion"
