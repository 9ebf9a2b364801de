from __future__ import annotations

import threading
from typing import Any

import pytest

from recserve.errors import ConfigError, NotFoundError, OverloadedError
from recserve.serving.refusals import LabelNotFoundError, ModelNotFoundError
from recserve.serving.registry import MAX_ENDED, Registry


def test_the_highest_version_answers_when_none_is_named(make_ranker: Any) -> None:
    registry = Registry()
    for version in (2, 10, 9):
        registry.publish(make_ranker(version=version))
    with registry.lease("rank", None) as ranker:
        assert ranker.version == 10
    with registry.lease("rank", 9) as ranker:
        assert ranker.version == 9


def test_a_version_is_published_once(make_ranker: Any) -> None:
    registry = Registry()
    registry.publish(make_ranker())
    with pytest.raises(ConfigError) as caught:
        registry.publish(make_ranker(), "b/rank/7")
    assert str(caught.value) == "b/rank/7: model 'rank' version 7 is served already. Name each bundle once."


def test_an_absent_model_or_version_is_named_with_what_there_is(make_ranker: Any) -> None:
    registry = Registry()
    registry.publish(make_ranker())
    for name, version, message in (
        ("rnk", None, "no model 'rnk'. Did you mean 'rank'?"),
        ("zzzzz", None, "no model 'zzzzz'. Models served: 'rank'."),
        ("rank", 8, "model 'rank' has no version 8. Versions served: 7."),
    ):
        with pytest.raises(NotFoundError) as caught, registry.lease(name, version):
            pass
        assert str(caught.value) == message
        assert caught.value.code == "model_not_found"


def test_an_absent_model_may_still_be_loading(make_ranker: Any) -> None:
    registry = Registry()
    registry.expect("models/rank/7")
    assert not registry.is_ready()
    with pytest.raises(OverloadedError) as caught, registry.lease("rank", None):
        pass
    assert str(caught.value) == "no model 'rank' yet. 1 bundles are still loading; try again later."
    registry.publish(make_ranker(), "models/rank/7")
    assert registry.is_ready()
    assert registry.loading() == []


def test_nothing_served_is_not_ready() -> None:
    assert not Registry().is_ready()


def test_a_withdrawn_version_is_closed_after_its_last_request(make_ranker: Any) -> None:
    registry = Registry()
    old, new = make_ranker(version=1), make_ranker(version=2)
    registry.publish(old)
    registry.publish(new)
    with registry.lease("rank", 1), registry.lease("rank", 1):
        registry.withdraw("rank", 1)
        assert [s.as_json() for s in registry.states()] == [
            {"name": "rank", "version": 1, "state": "draining"},
            {"name": "rank", "version": 2, "state": "ready"},
        ]
        assert not old.is_closed
        with pytest.raises(NotFoundError), registry.lease("rank", 1):
            pass
    assert old.is_closed
    assert not new.is_closed
    assert [(s.version, s.state) for s in registry.states()] == [(1, "END"), (2, "AVAILABLE")]


def test_withdrawing_an_absent_version_is_an_error() -> None:
    with pytest.raises(NotFoundError, match=r"no model 'rank'\. Models served: none\."):
        Registry().withdraw("rank", 1)


def test_close_waits_for_running_requests(make_ranker: Any) -> None:
    registry = Registry()
    ranker = make_ranker()
    registry.publish(ranker)
    with registry.lease("rank", None):
        assert not registry.close(0.01)
        assert not ranker.is_closed
    assert registry.close(0.01)
    assert ranker.is_closed


def test_a_ranker_is_closed_once_however_many_threads_let_go(make_ranker: Any) -> None:
    for _ in range(20):
        registry = Registry()
        ranker = make_ranker()
        registry.publish(ranker)
        begin = threading.Barrier(5)

        def use(registry: Registry = registry, begin: threading.Barrier = begin) -> None:
            with registry.lease("rank", None):
                begin.wait()

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        begin.wait()
        registry.withdraw("rank", 7)
        for thread in threads:
            thread.join()
        assert ranker.is_closed  # its `close` refuses a second call
        assert registry.close(1.0)


def test_states_tell_the_whole_life_of_a_version(make_ranker: Any) -> None:
    registry = Registry()
    registry.expect("b/rank/1", "rank", 1)
    registry.begin("rank", 2)
    registry.fail("rank", 3, ConfigError("no graph"), "b/rank/3")
    assert [(s.version, s.state, str(s.error)) for s in registry.states("rank")] == [
        (1, "START", "None"),
        (2, "LOADING", "None"),
        (3, "END", "no graph"),
    ]
    assert registry.loading() == ["b/rank/1"]
    registry.fail("rank", 1, ConfigError("x"), "b/rank/1")
    assert registry.loading() == []
    registry.publish(make_ranker(version=2))
    registry.begin("rank", 2)
    registry.fail("rank", 2, ConfigError("x"))
    assert registry.states("rank")[1].state == "AVAILABLE"  # a served version stays as it is
    registry.discard("rank", 2)
    registry.discard("rank", 1)
    assert [s.version for s in registry.states()] == [2, 3]
    assert (registry.names(), registry.is_served("rank"), registry.is_served("x")) == (["rank"], True, False)
    registry.discard("rank", 9)
    registry.begin("other", 1)
    registry.discard("other", 1)
    assert registry.states("other") == []


def test_ended_versions_are_forgotten_at_last(make_ranker: Any) -> None:
    registry = Registry()
    for version in range(1, MAX_ENDED + 3):
        registry.publish(make_ranker(version=version))
        registry.withdraw("rank", version)
    assert [s.version for s in registry.states()] == list(range(3, MAX_ENDED + 3))


def test_a_label_stands_for_a_version_while_that_is_served(make_ranker: Any) -> None:
    registry = Registry()
    for version in (1, 2):
        registry.publish(make_ranker(version=version))
    registry.set_label("rank", "stable", 1)
    with registry.lease("rank", label="stable") as ranker:
        assert ranker.version == 1
    registry.set_label("rank", "stable", 2)
    registry.set_label("rank", "canary", 2)
    assert registry.labels("rank") == {"stable": 2, "canary": 2}
    with pytest.raises(ModelNotFoundError, match="model 'rank' has no version 3"):
        registry.set_label("rank", "stable", 3)
    registry.remove_label("rank", "canary")
    registry.remove_label("rank", "nothing")
    registry.withdraw("rank", 2)
    assert registry.labels("rank") == {}
    with pytest.raises(LabelNotFoundError) as caught, registry.lease("rank", label="stable"):
        pass
    assert str(caught.value) == "model 'rank' has no label 'stable'. Labels served: none."
    with pytest.raises(ModelNotFoundError), registry.lease("x", label="stable"):
        pass


def test_a_version_is_replaced_without_a_gap(make_ranker: Any) -> None:
    registry = Registry()
    old, new = make_ranker(), make_ranker()
    registry.publish(old)
    registry.set_label("rank", "stable", 7)
    with registry.lease("rank") as leased:
        registry.publish(new, replaces=True)
        assert leased is old
        assert not old.is_closed
        with registry.lease("rank", label="stable") as now:
            assert now is new
    assert old.is_closed
    assert [s.state for s in registry.states()] == ["AVAILABLE"]
    assert registry.close(1.0)
