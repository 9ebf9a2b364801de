"""`recserve import`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recserve.cli import main
from recserve.importers import formats
from recserve.importers.model import Report

DOCUMENT = """<PMML version="4.4" xmlns="http://www.dmg.org/PMML-4_4"><Header/>
<DataDictionary><DataField name="x" optype="continuous" dataType="double"/>
<DataField name="y" optype="continuous" dataType="double"/></DataDictionary>
<RegressionModel functionName="regression"><MiningSchema><MiningField name="x"/>
<MiningField name="y" usageType="target"/></MiningSchema>
<RegressionTable intercept="1"><NumericPredictor name="x" coefficient="2"/></RegressionTable>
</RegressionModel></PMML>"""


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["import", *map(str, arguments)])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "line.pmml"
    path.write_text(DOCUMENT)
    return path


def rows(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    return path


def test_a_model_is_reported_checked_and_written(capsys: pytest.CaptureFixture[str], source: Path) -> None:
    out = source.parent / "models" / "line" / "1"
    code, said, _ = run(capsys, source, "--out", out, "--check", rows(source.parent, "x,y\n1,3\n2,5\n"))
    assert code == 0
    for line in ("Format: pmml", "  x: double", "Checked 2 rows of y: 2 of 2 cells agree", f"Written: {out}"):
        assert line in said
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "program.bin"]
    code, _, err = run(capsys, "pmml", source, "--out", out)
    assert code == 2
    assert "exists already; a version is never overwritten" in err


def test_scores_that_differ_end_with_1_and_write_nothing(capsys: pytest.CaptureFixture[str], source: Path) -> None:
    out = source.parent / "models" / "line" / "1"
    check = rows(source.parent, "x,want\n1,3\n2,6\n")
    code, said, _ = run(capsys, source, "--out", out, "--check", check, "--column", "want=y")
    assert code == 1
    assert "1 of 2 cells agree" in said
    assert "1 differences" in said
    assert not out.exists()
    code, said, _ = run(capsys, source, "--check", check, "--column", "want=y", "--rtol", 0.5, "--json")
    document = json.loads(said)
    assert code == 0
    assert document["check"]["differences"] == []
    assert document["report"]["elements"]


def test_sides_make_it_a_ranker(capsys: pytest.CaptureFixture[str], source: Path) -> None:
    sides = source.parent / "sides.json"
    sides.write_text('{"x": "item"}')
    out = source.parent / "models" / "line" / "1"
    assert run(capsys, source, "--out", out, "--sides", sides)[0] == 0
    assert json.loads((out / "manifest.json").read_text())["sides"] == {"x": "item"}
    items, request = source.parent / "items.ndjson", source.parent / "request.json"
    items.write_text('{"item_id": "a", "x": 1.0}\n{"item_id": "b", "x": 2.0}\n')
    request.write_text('{"user": {}, "candidates": ["a", "b"]}')
    with pytest.raises(SystemExit):
        main(["rank", str(out), "--items", str(items), str(request), "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["item_ids"] == ["b", "a"]


@pytest.mark.parametrize("ending", ["pmml", "onnx"])
def test_a_model_goes_out_again(capsys: pytest.CaptureFixture[str], source: Path, ending: str) -> None:
    target = source.parent / f"out.{ending}"
    code, said, _ = run(capsys, source, "--export", target)
    assert (code, f"Exported: {target}" in said) == (0, True)
    assert target.stat().st_size > 100
    code, _, err = run(capsys, source, "--export", source.parent / "absent" / f"out.{ending}")
    assert (code, "cannot be written" in err) == (2, True)
    code, _, err = run(capsys, source, "--export", source.parent / "out.xml")
    assert (code, "'.xml' is no format to export to" in err) == (2, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "cannot be read as JSON"),
        ("[]", "expected an object of fields and sides"),
        ('{"z": "item"}', "no input 'z'"),
    ],
)
def test_wrong_sides_are_refused(capsys: pytest.CaptureFixture[str], source: Path, text: str, message: str) -> None:
    sides = source.parent / "sides.json"
    sides.write_text(text)
    code, _, err = run(capsys, source, "--out", source.parent / "m" / "1", "--sides", sides)
    assert (code, message in err) == (2, True)


def test_a_model_that_cannot_be_read_is_told_with_its_place(capsys: pytest.CaptureFixture[str], source: Path) -> None:
    source.write_text(DOCUMENT.replace("RegressionModel", "TimeSeriesModel"))
    code, said, _ = run(capsys, source, "--json")
    error = json.loads(said)["error"]
    assert (code, error["code"]) == (2, "unsupported_element")
    assert "TimeSeriesModel" in error["where"] + error["problem"]
    code, _, err = run(capsys, source)
    assert code == 2
    assert "TimeSeriesModel" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "b", "c"], "expected [FORMAT] SOURCE, got 3 words"),
        (["SOURCE", "--score", "y"], "--sides and --score belong to --out"),
        (["pmlm", "SOURCE"], "unknown format 'pmlm'. Did you mean 'pmml'"),
    ],
)
def test_wrong_arguments_are_refused(
    capsys: pytest.CaptureFixture[str], source: Path, arguments: list[str], message: str
) -> None:
    code, _, err = run(capsys, *[source if word == "SOURCE" else word for word in arguments])
    assert (code, message in err) == (2, True)


def test_other_formats_become_plain_models(
    capsys: pytest.CaptureFixture[str], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Converter:
        @staticmethod
        def convert(path: Path, folder: Path) -> Any:
            (folder / "model.onnx").write_bytes(path.read_bytes())
            return Report("graph", notes=["a note"])

    monkeypatch.setitem(formats.CONVERTERS, "graph", formats.Reader("converter", lambda _: False))
    monkeypatch.setattr("importlib.import_module", lambda _: Converter)
    out = source.parent / "m" / "1"
    assert "with --out" in run(capsys, "graph", source)[2]
    assert "becomes a plain model" in run(capsys, "graph", source, "--out", out, "--score", "y")[2]
    assert "no such file" in run(capsys, "graph", source.parent / "absent", "--out", out)[2]
    code, said, _ = run(capsys, "graph", source, "--out", out)
    assert (code, "  a note" in said) == (0, True)
    assert (out / "model.onnx").exists()
