from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recserve.cli import main
from recserve.cli.features import progress_line
from recserve.features.option_docs import page_names

CONFIG = {
    "features": [
        {"feature_type": "raw_feature", "feature_name": "price", "expression": "item:price"},
        {"feature_type": "id_feature", "feature_name": "brand", "expression": "item:brand", "vocab_list": ["a", "b"]},
    ]
}


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of `recserve features`."""
    with pytest.raises(SystemExit) as ended:
        main(["features", *map(str, arguments)])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "fg.json"
    path.write_text(json.dumps(CONFIG))
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "raw.parquet"
    pq.write_table(pa.table({"price": ["1", "2.5", None], "brand": ["b", "c", "a"]}), path)
    return path


@pytest.mark.parametrize("name", [[], ["extract"]])
def test_a_file_is_extracted_with_and_without_the_name_of_the_command(
    config: Path, source: Path, capsys: pytest.CaptureFixture[str], name: list[str]
) -> None:
    out = config.with_name("out.parquet")
    code, text, err = run(capsys, *name, config, "--input", source, "--output", out)
    assert (code, err) == (0, "")
    assert text.startswith(f"Wrote 3 rows of 2 columns to {out}")
    assert pq.read_table(out).to_pydict() == {"price": [[1.0], [2.5], [0.0]], "brand": [[3], [1], [2]]}


def test_a_summary_comes_as_json(config: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = config.with_name("out.parquet")
    code, text, _ = run(capsys, config, "--input", source, "--output", out, "--json", "--reference", "--threads", 1)
    found = json.loads(text)
    assert code == 0
    assert (found["rows"], found["columns"]) == (3, ["price", "brand"])
    assert found["bytes"] == out.stat().st_size
    assert len(found["digest"]) == 64


def test_bad_cells_end_with_2_and_no_file(config: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = config.with_name("out.parquet")
    pq.write_table(pa.table({"price": ["1", "x"], "brand": ["a", "a"]}), source)
    code, text, err = run(capsys, config, "--input", source, "--output", out)
    assert (code, text) == (2, "")
    cell = "feature 'price', column 'price', row 1: 'x' is not a number"
    assert err == f"Error: {source}, row group 0: {cell}\n"
    assert not out.exists()


def test_a_row_is_shown_from_cell_to_id(config: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = run(capsys, "show", config, "--input", source, "--row", 1)
    assert code == 0
    assert "price = [2.5]  (item)\n  item:price = '2.5'\n" in text
    assert "brand = [1]  (item)\n  item:brand = 'c'\n" in text
    _, text, _ = run(capsys, "show", config, "--input", source, "--row", 2, "--feature", "brand", "--json")
    (trace,) = json.loads(text)
    assert trace["inputs"] == {"item:brand": "a"}
    assert trace["values"][-1]["elements"] == [2]


def test_a_row_that_is_not_there_ends_with_2(config: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "show", config, "--input", source, "--row", 3)
    assert (code, err) == (2, f"Error: {source}: there is no row 3. There are 3, counted from 0\n")


def test_equal_files_end_with_0_and_others_with_1(
    config: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left, right = config.with_name("left"), config.with_name("right")
    pq.write_table(pa.table({"x": [[1], [2]], "y": [1.0, 2.0]}), left)
    pq.write_table(pa.table({"x": [[1], [3]], "y": [1.0, 2.0001]}), right)
    assert run(capsys, "diff", left, left)[:2] == (0, "2 features are equal in 2 rows.\n")
    code, text, _ = run(capsys, "diff", left, right, "--relative", 0.01)
    assert code == 1
    assert "1 of 2 features differ" in text
    assert "50.00%" in text
    assert "x, row 1: [2] | [3]" in text
    code, text, _ = run(capsys, "diff", left, right, "--json")
    found: Any = json.loads(text)
    assert (code, found["equal"], found["left_rows"]) == (1, False, 2)
    assert found["features"]["x"]["examples"] == [{"row": 1, "left": [2], "right": [3]}]
    assert found["features"]["y"]["rate"] == 0.5


def test_files_of_other_lengths_differ(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left, right = config.with_name("left"), config.with_name("right")
    pq.write_table(pa.table({"x": [1, 2]}), left)
    pq.write_table(pa.table({"x": [1]}), right)
    code, text, _ = run(capsys, "diff", left, right)
    assert code == 1
    assert text == "2 rows on the left, 1 on the right.\n1 features are equal in 1 rows.\n"


def test_the_help_names_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = run(capsys, "--help")
    assert code == 0
    assert "Example:\n" in text
    assert all(part in text for part in ("recserve features", "--output", "  show ", "  diff "))


def test_progress_is_for_terminals(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert progress_line() is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    show = progress_line()
    assert show is not None
    show(10, 40)
    show(40, 40)
    show(5, None)
    err = capsys.readouterr().err
    assert "10 rows of 40 (25%)" in err
    assert err.count("\n") == 1
    assert "\r5 rows, " in err


def test_types_and_their_options_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "kv_dot_product" in run(capsys, "options")[1]
    code, text, _ = run(capsys, "options", "lookup_feature")
    assert code == 0
    assert "value_separator" in text
    assert "embedding_dim" in text
    assert ".md" not in text
    code, _, err = run(capsys, "options", "lookup")
    assert (code, err) == (2, "Error: there is no feature type 'lookup'. Did you mean 'lookup_feature'?\n")
    for name in page_names():
        (tmp_path / f"{name}.md").write_text("<!-- options:begin -->old<!-- options:end -->")
    assert run(capsys, "options", "--write", tmp_path)[0] == 0
    assert "| `kv_delimiter` |" in (tmp_path / "kv_dot_product.md").read_text(encoding="utf-8")


def test_a_config_is_checked_and_counted(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    code, out, _ = run(capsys, "check", config)
    assert (code, out) == (0, f"{config}: 2 features (2 item), mode raw, profile pyfg\n")


def test_a_lenient_check_warns_and_writes_what_is_left(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    document = {"features": [CONFIG["features"][0] | {"normaliser": "x"}]}
    (tmp_path / "typo.json").write_text(json.dumps(document))
    code, _, err = run(capsys, "check", tmp_path / "typo.json")
    assert code == 2
    assert "unknown option 'normaliser'. Did you mean 'normalizer'?" in err
    code, _, err = run(capsys, "check", tmp_path / "typo.json", "--lenient", "--write", tmp_path / "fg.json")
    assert code == 0
    assert err.startswith("warning: feature 'price': unknown option 'normaliser'")
    assert run(capsys, "check", tmp_path / "fg.json", "--json")[0] == 0


@pytest.mark.parametrize(("text", "problem"), [("{", "cannot be read"), ('["a"]', "is not an object {column: side}")])
def test_wrong_sides_are_refused(
    capsys: pytest.CaptureFixture[str], config: Path, tmp_path: Path, text: str, problem: str
) -> None:
    (tmp_path / "sides.json").write_text(text)
    code, _, err = run(capsys, "check", config, "--sides", tmp_path / "sides.json")
    assert code == 2
    assert problem in err
