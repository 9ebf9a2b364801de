from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recserve.errors import ConfigError
from recserve.serving.lifecycle.base import Arrival, LocalBase
from recserve.serving.lifecycle.model_config import ModelConfig
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
    assert shelf.start(models=models, remote_poll_s=0.02, cache_dir=tmp_path / "cache").wait_until_ready(10)
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
