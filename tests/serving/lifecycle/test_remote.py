from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recserve.errors import ConfigError
from recserve.serving.lifecycle.base import Arrival, LocalBase
from recserve.serving.lifecycle.model_config import ModelConfig
from recserve.serving.lifecycle.options import Retries
from recserve.serving.lifecycle.remote import RemoteBase, open_base

fsspec = pytest.importorskip("fsspec")


class Bucket:
    """A base directory in fsspec's own memory."""

    def __init__(self) -> None:
        self.files = fsspec.filesystem("memory")
        self.root = f"/{uuid.uuid4().hex}/m"
        self.uri = f"memory:/{self.root}"
        self.files.makedirs(self.root)

    def put(self, version: int, content: str = "good", name: str = "model") -> None:
        self.files.pipe(f"{self.root}/{version}/{name}", content.encode())


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    made = Bucket()
    yield made
    made.files.rm(made.root, recursive=True)


def test_versions_are_listed_and_copied_here_once(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put(1)
    bucket.put(1, "x", "sub/more")
    bucket.files.pipe(f"{bucket.root}/readme/x", b"")
    base = open_base(bucket.uri, Arrival(0), tmp_path)
    versions = base.versions()
    assert isinstance(base, RemoteBase)
    assert versions is not None
    assert base.is_remote
    assert list(versions) == [1]
    folder = base.fetch(versions[1])
    assert ((folder / "model").read_text(), (folder / "sub" / "more").read_text()) == ("good", "x")
    (folder / "model").write_text("kept")
    assert (base.fetch(versions[1]) / "model").read_text() == "kept"
    bucket.put(1, "other")
    assert (base.fetch(versions[1]) / "model").read_text() == "other"
    base.forget(versions[1])
    assert not folder.exists()


def test_a_version_is_whole_by_marker_or_when_it_is_still(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put(1)
    place = f"{bucket.root}/1"
    assert not open_base(bucket.uri, Arrival(100), tmp_path).is_whole(place)
    assert open_base(bucket.uri, Arrival(0), tmp_path).is_whole(place)
    marked = open_base(bucket.uri, Arrival(0, "DONE"), tmp_path)
    assert not marked.is_whole(place)
    bucket.put(1, "", "DONE")
    assert marked.is_whole(place)


def test_what_cannot_be_listed_is_not_there(bucket: Bucket, tmp_path: Path) -> None:
    base = open_base(bucket.uri + "/none", Arrival(0), tmp_path)
    assert base.versions() is None
    assert not base.is_whole("/none/1")


def test_remote_versions_are_served_and_followed(shelf: Any, bucket: Bucket, tmp_path: Path) -> None:
    bucket.put(1)
    models = [ModelConfig("m", bucket.uri)]
    assert shelf.start(models=models, remote_poll_s=0.02, cache_dir=tmp_path / "cache").wait_until_ready(60)
    bucket.put(2)
    shelf.wait(lambda: shelf.served() == [2])
    shelf.wait(lambda: [f.name for f in (tmp_path / "cache").rglob("*") if f.is_dir() and f.name.isdigit()] == ["2"])


def test_a_remote_base_is_looked_at_less_often(shelf: Any, bucket: Bucket, tmp_path: Path) -> None:
    models = [ModelConfig("m", bucket.uri)]
    lifecycle = shelf.start(models=models, remote_poll_s=100, cache_dir=tmp_path / "cache")
    shelf.wait(lambda: not shelf.registry.loading())
    bucket.put(1)
    assert not lifecycle.wait_until_ready(0.3)


def test_places_that_cannot_be_watched_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"base path 'models/m' is relative\. Give an absolute path, or a URI\."):
        open_base("models/m", Arrival())
    with pytest.raises(ConfigError, match=r"nosuch://b/m: cannot be watched: Protocol not known: nosuch"):
        open_base("nosuch://b/m", Arrival())
    assert open_base(f"file://{tmp_path}", Arrival()) == LocalBase(tmp_path)


def test_an_object_outside_its_version_is_refused(bucket: Bucket, tmp_path: Path) -> None:
    base = open_base(bucket.uri, Arrival(0), tmp_path)
    assert isinstance(base, RemoteBase)

    class Hostile:
        def find(self, place: str, **_: Any) -> Any:
            return {f"{place}/../../evil": {"size": 1}}

    base.files = Hostile()
    with pytest.raises(ConfigError, match=r"object '\.\./\.\./evil' lies outside the version"):
        base.fetch("/b/1")


class Failing:
    """A file system around fsspec's own whose calls can be made to fail, hang or tell less than there is."""

    def __init__(self, files: Any) -> None:
        self._files = files
        self.listing: Any = lambda entries: entries
        self.finding: Any = lambda entries: entries
        self.copying: Any = files.get_file

    def invalidate_cache(self) -> None:
        self._files.invalidate_cache()

    def ls(self, root: str, detail: bool) -> Any:
        return self.listing(self._files.ls(root, detail=detail))

    def find(self, place: str, detail: bool) -> Any:
        return self.finding(self._files.find(place, detail=detail))

    def get_file(self, source: str, target: str) -> None:
        self.copying(source, target)


@pytest.fixture
def failing(bucket: Bucket, tmp_path: Path) -> tuple[RemoteBase, Failing]:
    files = Failing(bucket.files)
    return RemoteBase(files, bucket.root, tmp_path / "cache", Arrival(0)), files


def fail(_: Any) -> Any:
    raise ConnectionError("no route to storage")


def test_a_version_missing_from_one_listing_is_there_and_from_two_is_gone(
    bucket: Bucket, failing: tuple[RemoteBase, Failing]
) -> None:
    base, files = failing
    for version in (1, 2):
        bucket.put(version)
    assert set(base.versions() or {}) == {1, 2}
    files.listing = lambda entries: [entry for entry in entries if not entry["name"].endswith("/2")]
    assert set(base.versions() or {}) == {1, 2}
    files.listing = fail
    assert base.versions() is None
    files.listing = lambda entries: entries
    assert set(base.versions() or {}) == {1, 2}
    bucket.files.rm(f"{bucket.root}/2", recursive=True)
    assert set(base.versions() or {}) == {1, 2}
    assert set(base.versions() or {}) == {1}


def test_storage_that_hangs_is_as_one_that_fails(
    bucket: Bucket, failing: tuple[RemoteBase, Failing], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, files = failing
    bucket.put(1)
    place = (base.versions() or {})[1]
    gate = threading.Event()
    monkeypatch.setattr("recserve.serving.lifecycle.remote.LIST_TIMEOUT_S", 0.05)
    files.listing = files.finding = lambda entries: gate.wait(30) and entries
    assert base.versions() is None
    assert not base.is_whole(place)
    with pytest.raises(ConfigError, match="1: cannot be listed, or is empty"):
        base.fetch(place)
    gate.set()
    end_s = time.monotonic() + 10
    while base.versions() is None:
        assert time.monotonic() < end_s
    assert base.is_whole(place)


def test_a_copy_that_breaks_off_is_no_version_and_is_begun_again(
    bucket: Bucket, failing: tuple[RemoteBase, Failing], tmp_path: Path
) -> None:
    base, files = failing
    bucket.put(1, "12345")
    place = (base.versions() or {})[1]
    whole = files.copying

    def cut(source: str, target: str) -> None:
        whole(source, target)
        Path(target).write_bytes(Path(target).read_bytes()[:2])

    for copying, message in (
        (lambda *_: fail(None), "object 'model' cannot be copied: no route to storage"),
        (lambda *_: None, "object 'model' has 5 bytes, and 0 came"),
        (cut, "object 'model' has 5 bytes, and 2 came"),
    ):
        files.copying = copying
        with pytest.raises(ConfigError, match=message):
            base.fetch(place)
        assert not (tmp_path / "cache" / "1").exists()
    files.copying = whole
    assert (base.fetch(place) / "model").read_text() == "12345"


def test_a_version_that_was_listed_in_part_or_changes_meanwhile_is_not_served(
    bucket: Bucket, failing: tuple[RemoteBase, Failing], tmp_path: Path
) -> None:
    base, files = failing
    bucket.put(1)
    bucket.put(1, "weights", "data")
    place = (base.versions() or {})[1]
    answers = iter([False, True])
    files.finding = lambda entries: entries if next(answers) else {k: v for k, v in entries.items() if "data" not in k}
    with pytest.raises(ConfigError, match="it has changed while it was copied"):
        base.fetch(place)
    files.finding = lambda entries: entries
    whole = files.copying

    def change(source: str, target: str) -> None:
        whole(source, target)
        bucket.put(1, "a later one", "data")

    files.copying = change
    with pytest.raises(ConfigError, match=r"it has changed|bytes, and .* came"):
        base.fetch(place)
    assert not (tmp_path / "cache" / "1").exists()
    manifest = {"files": {"model": {"size_bytes": 4}, "table": {"size_bytes": 9}}}
    bucket.put(2, json.dumps(manifest), "manifest.json")
    bucket.put(2)
    files.copying = whole
    with pytest.raises(ConfigError, match="file 'table' of its manifest is not there whole"):
        base.fetch((base.versions() or {})[2])


def test_a_model_goes_on_serving_while_its_storage_fails(shelf: Any, bucket: Bucket, tmp_path: Path) -> None:
    bucket.put(1)
    models = [ModelConfig("m", bucket.uri)]
    lifecycle = shelf.start(
        models=models, remote_poll_s=0.02, cache_dir=tmp_path / "cache", retries=Retries(0.05, 1.0, 0.05)
    )
    assert lifecycle.wait_until_ready(60)
    watched = lifecycle._models["m"]
    files = watched.base.files = Failing(bucket.files)
    files.copying = lambda *_: fail(None)
    files.finding = lambda entries: dict(list(entries.items())[: random.randrange(3)])
    bucket.put(2)
    bucket.put(2, "weights", "data")
    shelf.wait(lambda: 2 in watched.failures and watched.failures[2].tries > 1)
    assert shelf.served() == [1]
    files.copying, files.finding = bucket.files.get_file, lambda entries: entries
    shelf.wait(lambda: shelf.served() == [2])
