"""The command line as a user meets it: help, exit codes, messages. Whole runs are in test_end_to_end.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from recserve.cli import main
from recserve.cli.app import app
from recserve.cli.output import read_parquet
from recserve.samples.records import ServedRecord
from recserve.samples.writer import RecordWriter


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of a command."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), out, err


COMMANDS = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_with_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    assert f"recserve {command}" in out
    assert "Example:\n" in out


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys)
    assert code == 2
    assert all(command in out + err for command in COMMANDS)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--version")
    assert (code, out.count(".")) == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve"], "Error: no model to serve. Name directories of models, or give --base or --model-config-file.\n"),
        (["serve", "x", "--port", "y"], "Error: --port: 'y' is no whole number\n"),
    ],
)
def test_a_server_with_nothing_to_serve_ends_with_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(capsys, *arguments) == (2, "", message)


@pytest.mark.parametrize("arguments", [["srve"], ["serve", "x", "--prt", "1"]])
def test_wrong_usage_ends_with_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert "Usage: recserve" in err


def test_a_config_error_is_one_line_and_ends_with_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = run(capsys, "serve", tmp_path / "none")
    assert (code, out) == (2, "")
    assert err == (
        f"Error: {tmp_path}/none: there is no such directory. Give <base>/<name>/<version>, such as models/rank/7.\n"
    )


def test_a_directory_that_is_no_bundle_ends_the_server_with_2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from recserve.cli import main; main()", "serve", str(tmp_path), "--port", "0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Error: {tmp_path}: there is no manifest.json")
    assert "Traceback" not in done.stderr


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from recserve.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numba', 'numpy', 'pyarrow', 'onnx', 'onnxruntime', 'torch', 'duckdb', 'uvicorn', 'starlette'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


class FakeRanker:
    """Ranks candidates by their order; needs no model."""

    name, version = "rank", 7
    opened: ClassVar[dict[str, Any]] = {}

    @classmethod
    def open(cls, path: str, **options: Any) -> FakeRanker:
        cls.opened = {"path": path, **options}
        return cls()

    def rank(self, _user: Any, _context: Any, candidates: Any, *, top_k: Any = None, **_: Any) -> Any:
        ids = candidates["item_id"] if isinstance(candidates, dict) else candidates
        scores = np.linspace(0.9, 0.1, len(ids), dtype=np.float32)[:top_k]
        return SimpleNamespace(
            item_ids=ids[:top_k],
            scores=scores,
            outputs={"ctr": scores},
            version=SimpleNamespace(model="rank", version=7, table_epoch=0, item_epoch=3),
            unknown_items=["gone"],
            missing_columns=["age"],
            timings_us={"gather": 12.0},
        )

    def close(self) -> None:
        pass


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    names = {"Ranker": FakeRanker, "RankResult": object, "VersionTuple": object}
    monkeypatch.setitem(sys.modules, "recserve.ranker", SimpleNamespace(**names))
    folder = tmp_path / "models" / "rank" / "7"
    folder.mkdir(parents=True)
    return folder


REQUEST = '{"user": {"id": "u"}, "candidates": ["i1", "i2", "i3"], "request_id": "q"}'


def test_one_request_is_ranked_as_a_table(capsys: pytest.CaptureFixture[str], bundle: Path, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text(REQUEST)
    code, out, _ = run(capsys, "rank", bundle.parent, request, "--items", "items.parquet", "--top-k", "2")
    assert code == 0
    assert FakeRanker.opened == {"path": str(bundle), "items": "items.parquet", "threads": 1}
    assert "rank version 7 (tables 0, items 3)" in out
    assert "i2" in out
    assert "i3" not in out
    assert "gather 12" in out
    assert "Unknown items, not scored: gone" in out
    assert "Missing columns, taken as missing values: age" in out


def test_one_request_is_ranked_as_json(capsys: pytest.CaptureFixture[str], bundle: Path, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text(REQUEST)
    code, out, _ = run(capsys, "rank", bundle, request, "--json")
    assert code == 0
    assert json.loads(out)["item_ids"] == ["i1", "i2", "i3"]
    assert json.loads(out)["request_id"] == "q"


def test_a_wrong_request_ends_with_2(capsys: pytest.CaptureFixture[str], bundle: Path, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text('{"candidates": []')
    code, _, err = run(capsys, "rank", bundle, request)
    assert (code, err) == (2, "Error: body at 17 of 17: not JSON: unexpected end of data\n")


def test_records_and_events_become_samples(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with RecordWriter(tmp_path / "records") as writer:
        writer.write(ServedRecord("q", 1_000, "u", {"user_id": "u"}, {}, ["a", "b"], [0.9, 0.1]))
    event = {"user_id": "u", "item_id": "b", "type": "click", "time": 2_000}
    (tmp_path / "events.ndjson").write_text(json.dumps(event) + "\n")
    arguments = ["samples", tmp_path / "records", tmp_path / "events.ndjson", "--goal", "ctr=click:30m"]
    code, out, _ = run(capsys, *arguments, "--out", tmp_path / "s.parquet", "--json")
    report = json.loads(out)
    assert code == 0
    assert (report["samples"], report["requests"], report["positives"]) == (2, 1, {"ctr": 1})
    assert read_parquet(tmp_path / "s.parquet")["label_ctr"].to_pylist() == [0, 1]
    code, out, _ = run(capsys, *arguments, "--out", tmp_path / "s.parquet")
    assert code == 0
    assert "positives of ctr" in out


def test_a_config_is_explained(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    feature = {"feature_type": "raw_feature", "feature_name": "price", "expression": "item:price"}
    (tmp_path / "fg.json").write_text(json.dumps({"features": [feature]}))
    code, text, _ = run(capsys, "explain", tmp_path / "fg.json", "--json")
    assert (code, json.loads(text)["features"]["price"]["rate"]) == (0, "item")
