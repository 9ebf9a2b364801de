# ruff: noqa: E501  (documents are easier to read in one line)
from __future__ import annotations

from pathlib import Path

import pytest

from recserve.errors import ConfigError
from recserve.importers.pmml import document


def opened(tmp_path: Path, text: str) -> document.Document:
    path = tmp_path / "m.pmml"
    path.write_text(text, encoding="utf-8")
    return document.open_document(path)


def test_elements_have_local_names_and_lines(tmp_path: Path) -> None:
    text = '<PMML xmlns="http://www.dmg.org/PMML-4_1">\n<Extension name="a"/>\n<Header a="1"><x:B xmlns:x="u"/></Header></PMML>'
    found = opened(tmp_path, text)
    assert found.version == (4, 1)
    (header,) = found.root.children
    assert (header.tag, header.line, header.children[0].tag) == ("Header", 3, "B")
    assert [element.tag for element in found.root.walk()] == ["PMML", "Header", "B"]


@pytest.mark.parametrize(
    ("text", "code", "problem"),
    [
        ("<PMML version='4.4'>", "damaged_model", "is no well-formed XML"),
        (
            "<!DOCTYPE PMML [<!ENTITY a 'b'>]><PMML version='4.4'>&a;</PMML>",
            "damaged_model",
            "declares a document type",
        ),
        ("<html/>", "unknown_format", "the root is <html>, not <PMML>"),
        ("<PMML/>", "unsupported_version", "has neither a version nor PMML's namespace"),
        ("<PMML version='2.1'/>", "unsupported_version", "is PMML 2.1"),
        ("<PMML version='new'/>", "unsupported_version", "has the version 'new'"),
    ],
)
def test_what_is_no_pmml_is_refused(tmp_path: Path, text: str, code: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        opened(tmp_path, text)
    assert caught.value.code == code
    assert problem in str(caught.value)


def test_documents_too_deep_or_too_large_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = "<Node>" * (document.MAX_DEPTH + 1) + "</Node>" * (document.MAX_DEPTH + 1)
    with pytest.raises(ConfigError, match="nested deeper than 2000 elements"):
        opened(tmp_path, f"<PMML version='4.4'>{deep}</PMML>")
    monkeypatch.setattr(document, "MAX_BYTES", 10)
    with pytest.raises(ConfigError, match="at most 10 are read") as caught:
        opened(tmp_path, "<PMML version='4.4'/>")
    assert caught.value.code == "too_large"


def test_attributes_are_read_by_kind(tmp_path: Path) -> None:
    root = opened(tmp_path, "<PMML version='4.4' n='2' r='1.5' b='true' w='avg' i='INF'/>").root
    assert root.integer("n", 0) == 2
    assert root.number("r", 0.0) == 1.5
    assert root.flag("b", False)
    assert root.choice("w", ("avg", "sum")) == "avg"
    assert root.number_or_none("absent") is None
    assert root.finite("absent", 3.0) == 3.0


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda e: e.need("absent"), "needs the attribute 'absent'"),
        (lambda e: e.need_number("w"), "the attribute 'w' is 'av', which is no number"),
        (lambda e: e.integer("r", 0), "the attribute 'r' is '1.5', which is no whole number"),
        (lambda e: e.flag("w", False), "the attribute 'w' is 'av'. It is true or false"),
        (lambda e: e.choice("w", ("avg", "sum")), "the attribute 'w' is 'av'. Did you mean 'avg'?"),
        (lambda e: e.choice("absent", ("avg",)), "needs the attribute 'absent'"),
        (lambda e: e.finite("i"), "the attribute 'i' is 'INF', which is not finite"),
        (lambda e: e.need_child("A", "B"), "needs a child <A> or <B>"),
    ],
)
def test_wrong_attributes_name_file_line_and_element(tmp_path: Path, call: object, problem: str) -> None:
    root = opened(tmp_path, "<PMML version='4.4' r='1.5' w='av' i='INF'/>").root
    assert callable(call)
    with pytest.raises(ConfigError) as caught:
        call(root)
    assert problem in str(caught.value)
    assert "m.pmml:1 <PMML>" in str(caught.value)
