from __future__ import annotations

from typing import Any

from recserve.serving.lifecycle.base import Arrival, LocalBase
from recserve.serving.lifecycle.model_config import ModelConfig
from recserve.serving.lifecycle.policy import Next
from recserve.serving.lifecycle.watched import Watched


def watch(shelf: Any) -> Watched:
    base = LocalBase(shelf.folder / "m", Arrival(0))
    return Watched(ModelConfig("m", str(base.path)), base)


def test_a_base_is_looked_at_when_it_is_time(shelf: Any) -> None:
    watched = watch(shelf)
    assert not watched.is_due(0.0, shelf.options(poll_s=-1))
    assert watched.is_due(0.0, shelf.options(poll_s=0))
    watched.take(watched.look(), 10.0)
    assert not watched.is_due(100.0, shelf.options(poll_s=0))
    assert [watched.is_due(now_s, shelf.options(poll_s=2)) for now_s in (11.0, 12.0)] == [False, True]
    watched.base.is_remote = True  # type: ignore[misc]
    assert [watched.is_due(now_s, shelf.options(poll_s=2, remote_poll_s=9)) for now_s in (12.0, 19.0)] == [False, True]


def test_a_version_that_could_not_be_loaded_is_new_when_its_files_change(shelf: Any) -> None:
    shelf.put(1, "bad")
    watched, options = watch(shelf), shelf.options()
    watched.take(watched.look(), 0.0)
    watched.places[1] = str(shelf.folder / "m" / "1")
    assert watched.fail(1, options, 5.0).retry_at_s == 5.05
    watched.sync(shelf.registry, 5.0)
    assert watched.progress == {1: "failed"}
    watched.sync(shelf.registry, 5.1)
    assert watched.progress == {1: "retry"}
    assert watched.decide(options, lambda _: frozenset()) == Next(load=(1,))
    shelf.put(1, "other")
    watched.take(watched.look(), 6.0)
    assert (watched.progress, watched.failures) == ({}, {})


def test_versions_on_their_way_are_no_empty_base(shelf: Any) -> None:
    watched, options = watch(shelf), shelf.options()
    (shelf.folder / "m" / "2").mkdir()
    watched.progress[1] = "available"
    watched.take(watched.look(), 0.0)
    assert watched.decide(options, lambda _: frozenset()) == Next()
    (shelf.folder / "m" / "2").rmdir()
    watched.take(watched.look(), 0.0)
    assert watched.decide(options, lambda _: frozenset()) == Next(unload=(1,))
    assert watched.served() == {1}
