from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recserve.errors import ConfigError, InvariantError, NotFoundError
from recserve.serving.registry import Registry
from recserve.serving.repository import Repository, find_versions, highest_version, version_key
from recserve.serving.workers.crew import CrewError


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for version in ("a/1", "a/002", "a/notes", "b/7", "c"):
        (tmp_path / version).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def repository(make_ranker: Any) -> Repository:
    def open_model(directory: str, name: str | None = None) -> Any:
        folder = Path(directory)
        if folder.name == "7":
            raise ConfigError("no graph", where=directory)
        return make_ranker(name or folder.parent.name, int(folder.name))

    return Repository(Registry(), open_model)


def test_a_path_means_versions(base: Path) -> None:
    assert find_versions(base / "a" / "1") == [base / "a" / "1"]
    assert find_versions(base / "a") == [base / "a" / "002"]
    assert find_versions(base) == [base / "a" / "002", base / "b" / "7"]
    assert version_key(base / "a" / "002") == ("a", 2)
    assert version_key(base / "c") is None


def test_a_missing_directory_or_version_is_told(base: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        find_versions(base / "x")
    assert str(caught.value).endswith(
        "there is no such directory. Give <base>/<name>/<version>, such as models/rank/7."
    )
    with pytest.raises(ConfigError, match=r"there is no version\. Put the model into <name>/<version>/\."):
        highest_version(base / "c")


def test_a_model_is_loaded_unloaded_and_loaded_again(base: Path, repository: Repository) -> None:
    registry = repository.registry
    repository.load_version(base / "a" / "1")
    assert repository.load("a").version == 2
    repository.unload("a")
    assert [(state.version, state.state) for state in registry.states("a")] == [(1, "END"), (2, "END")]
    repository.load("a")
    assert registry.names() == ["a"]
    assert repository.known() == {"a": base / "a"}
    with pytest.raises(NotFoundError):
        repository.unload("b")


def test_a_served_version_is_only_replaced_when_that_is_wanted(base: Path, repository: Repository) -> None:
    first = repository.load_version(base / "a" / "1")
    repository.load("a")
    with pytest.raises(ConfigError) as caught:
        repository.load("a")
    assert caught.value.code == "version_served"
    repository.load_version(base / "a" / "1", replaces=True)
    assert first.is_closed  # type: ignore[attr-defined]


def test_a_model_may_have_another_name_than_its_directory(base: Path, repository: Repository) -> None:
    repository.load_version(base / "a" / "1", name="z")
    assert repository.registry.names() == ["z"]
    assert [state.name for state in repository.registry.states()] == ["z"]


def test_a_version_that_cannot_be_loaded_is_listed_with_the_reason(base: Path, repository: Repository) -> None:
    with pytest.raises(ConfigError):
        repository.load_version(base / "b" / "7")
    (state,) = repository.registry.states("b")
    assert (state.state, str(state.error)) == ("END", f"{base / 'b' / '7'}: no graph")


def test_a_crash_of_the_opener_is_listed_too(base: Path) -> None:
    def open_model(_: str) -> Any:
        raise OSError("no disk")

    repository = Repository(Registry(), open_model)
    with pytest.raises(OSError, match="no disk"):
        repository.load_version(base / "a" / "1")
    (state,) = repository.registry.states()
    assert isinstance(state.error, InvariantError)
    assert str(state.error) == "the model could not be loaded: OSError: no disk"


def test_an_unknown_model_cannot_be_loaded(base: Path, repository: Repository) -> None:
    repository.know(base / "a" / "1")
    with pytest.raises(NotFoundError) as caught:
        repository.load("aa")
    assert str(caught.value) == "no model 'aa' in the repository. Did you mean 'a'?"


def test_a_version_of_another_model_is_not_served_under_the_wanted_name(base: Path, make_ranker: Any) -> None:
    repository = Repository(Registry(), lambda *_: make_ranker("other", 1))
    expected = "the version is of model 'other', and is to be served as 'a'. Serve it under its own name."
    with pytest.raises(ConfigError) as caught:
        repository.load_version(base / "a" / "1", name="a")
    assert str(caught.value) == f"{base / 'a' / '1'}: {expected}"
    assert repository.registry.names() == []


def test_workers_load_and_unload_alike_and_one_that_cannot_is_named(
    base: Path, repository: Repository, make_ranker: Any, make_crews: Any
) -> None:
    full = False

    def open_elsewhere(directory: str, name: str | None = None) -> Any:
        if full:
            raise ConfigError("no memory", where="here")
        return make_ranker("a", int(Path(directory).name))

    one, two = make_crews(2)
    here, there = (
        Repository(Registry(), open_model, crew=crew)
        for open_model, crew in ((repository.open_model, one), (open_elsewhere, two))
    )
    for each in (here, there):
        each.load_version(base / "a" / "1")
    here.load("a")
    assert [r.registry.is_available("a", 2) for r in (here, there)] == [True, True]
    there.unload("a")
    assert [r.registry.names() for r in (here, there)] == [[], []]
    full = True
    with pytest.raises(CrewError, match="not every worker could do it: worker 1: here: no memory"):
        here.load("a")
    with pytest.raises(ConfigError, match="here: no memory"):
        there.load("a")


def test_the_log_tells_what_is_served_and_no_longer_served(
    base: Path, repository: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "recserve.serving")
    repository.load_version(base / "a" / "1")
    repository.registry.set_label("a", "stable", 1)
    repository.registry.set_label("a", "stable", 1)
    repository.registry.withdraw("a", 1)
    served, labelled, ended = (record.getMessage() for record in caplog.records)
    assert served.startswith("Model 'a' version 1 is served, after ")
    assert served.endswith(f" s, from {base / 'a' / '1'}")
    assert labelled == "Label 'stable' of model 'a' stands for version 1"
    assert ended == "Model 'a' version 1 is served no longer"
