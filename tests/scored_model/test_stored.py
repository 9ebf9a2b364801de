"""Directories of scored models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recserve.errors import BundleError, ConfigError
from recserve.importers.model import ImportedModel, Output, Report
from recserve.scored_model.stored import (
    goals_of,
    is_scored_model,
    parse_score,
    publish,
    publish_directory,
    rates_of,
    read_stored,
)
from recserve.scoring.graph import Graph

SIDES = {"age": "user", "hour": "context", "price": "item", "brand": "item", "place": "candidate"}


def edit(directory: Path, **changes: Any) -> None:
    path = directory / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_is_published_is_read_again(directory: Path, model: ImportedModel) -> None:
    stored = read_stored(directory)
    assert is_scored_model(directory)
    assert (stored.manifest.name, stored.manifest.version, stored.manifest.sides) == ("card", 3, None)
    assert stored.model.inputs == model.inputs
    assert stored.model.specs == model.specs
    assert stored.model.report == model.report
    columns = {"age": [20.0, None], "price": [1.0, 2.0], "hour": [3.0, 3.0], "brand": ["a", "x"], "place": [0.0, 1.0]}
    assert stored.model.score(columns).outputs["score"].tolist() == model.score(columns).outputs["score"].tolist()


def test_a_ranking_model_keeps_its_sides_and_its_proof(ranker_directory: Path) -> None:
    manifest = read_stored(ranker_directory).manifest
    assert manifest.sides == SIDES
    assert manifest.score == "score"
    assert manifest.proof is not None
    assert 0 <= manifest.proof < 1e-12


def test_nothing_is_overwritten_and_versions_are_numbers(directory: Path, model: ImportedModel, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a version is never overwritten\. Take version 4") as e:
        publish(model, directory)
    assert e.value.code == "version_exists"
    with pytest.raises(ConfigError, match="'first' is not a positive integer"):
        publish(model, tmp_path / "card" / "first")
    with pytest.raises(ConfigError, match="is no name of a model"):
        publish(model, tmp_path / "a:b" / "1")


def test_a_failed_draft_leaves_nothing(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "half").write_text("")
        raise ConfigError("no")

    with pytest.raises(ConfigError, match="no"):
        publish_directory(tmp_path / "m" / "1", write)
    assert list((tmp_path / "m").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot publish") as caught:
        publish_directory(tmp_path / "file" / "1", write)
    assert caught.value.code == "cannot_write"


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ({**SIDES, "colour": "item"}, "sides: the model has no input 'colour'"),
        ({**SIDES, "age": "users"}, "sides.age: 'users' is no side. Did you mean 'user'"),
        ({"age": "user"}, "sides: 'hour', 'price', 'brand', 'place' have no side"),
    ],
)
def test_sides_that_do_not_fit_are_refused(
    model: ImportedModel, tmp_path: Path, sides: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        publish(model, tmp_path / "m" / "1", sides=sides, score="score")
    assert not (tmp_path / "m" / "1").exists()


def test_the_score_is_a_number_of_the_model() -> None:
    outputs = (Output("P(1)", "float64", ("p",)), Output("label", "string", ("l",)), Output("q", "float64", ("q",)))
    assert [output.name for output in goals_of(outputs)] == ["P(1)", "q"]
    assert parse_score("P(1)", outputs).names == ("P(1)",)
    assert parse_score(None, outputs[:2]).names == ("P(1)",)
    assert parse_score("q * 2", outputs).names == ("q",)
    with pytest.raises(ConfigError, match="nothing says how to rank"):
        parse_score(None, outputs)
    with pytest.raises(ConfigError, match="no output that is a number"):
        parse_score(None, outputs[1:2])


def test_sides_are_rates_of_what_the_program_reads() -> None:
    g = Graph()
    g.output("y", g.input("x", "number"))
    assert {k: rate.value for k, rate in rates_of({"x": "context", "unread": "item"}, g.build()).items()} == {
        "x": "request"
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "is not the manifest of a scored model"),
        ({"format_version": 2}, "format version 2; this recserve reads 1. Import the model again"),
        ({"version": "3"}, "version: Input should be a valid integer"),
        ({"program_sha256": "0"}, "is not what was published: its digest differs"),
        ({"outputs": [{"name": "y", "dtype": "float64", "parts": ["z"], "kind": "scalar"}]}, "names the output 'z'"),
        ({"report": {"format": "pmml", "x": 1}}, "does not fit the program"),
        ({"sides": {"age": "user"}}, "have no side"),
    ],
)
def test_a_changed_directory_is_refused(directory: Path, changes: dict[str, Any], message: str) -> None:
    edit(directory, **changes)
    with pytest.raises(BundleError, match=message):
        read_stored(directory)


def test_missing_and_broken_files_are_named(directory: Path) -> None:
    (directory / "program.bin").rename(directory / "kept")
    with pytest.raises(BundleError, match=r"program\.bin: cannot be read"):
        read_stored(directory)
    (directory / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match=r"manifest\.json: is no JSON"):
        read_stored(directory)
    (directory / "manifest.json").unlink()
    with pytest.raises(BundleError, match=r"there is no manifest\.json\. The path of a version is"):
        read_stored(directory)
    assert not is_scored_model(directory)


def test_a_report_survives_json(tmp_path: Path) -> None:
    g = Graph()
    g.output("y", g.input("x", "number"))
    report = Report("mojo", {"gbm": 1}, {"x": "numeric"}, ["y"], ["t"], ["note"])
    model = ImportedModel(g.build(), {"x": "float64"}, [Output("y", "float64", ("y",))], report)
    assert read_stored(publish(model, tmp_path / "m" / "1")).model.report == report
