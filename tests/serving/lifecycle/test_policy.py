from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import ConfigError
from recserve.serving.lifecycle.policy import Next, Progress, Situation, VersionPolicy

LATEST = VersionPolicy()


def decide(present: set[int] | None, progress: dict[int, Progress], **kwargs: Any) -> Next:
    shown = None if present is None else frozenset(present)
    return Situation(kwargs.pop("policy", LATEST), shown, progress, **kwargs).decide()


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (VersionPolicy(), {9}),
        (VersionPolicy("latest", 2), {9, 7}),
        (VersionPolicy("latest", 10), {1, 7, 9}),
        (VersionPolicy("all"), {1, 7, 9}),
        (VersionPolicy("specific", versions=frozenset({1, 8})), {1}),
    ],
)
def test_a_policy_chooses_versions(policy: VersionPolicy, chosen: set[int]) -> None:
    assert policy.choose({1, 7, 9}) == chosen


def test_a_policy_that_wants_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"latest num_versions is 0\. It is at least 1\."):
        VersionPolicy("latest", 0)
    with pytest.raises(ConfigError, match=r"a specific version policy names no version\. Write specific"):
        VersionPolicy("specific")


def test_the_old_version_goes_when_the_new_one_serves() -> None:
    assert decide({1, 2}, {1: "available"}) == Next(load=(2,))
    assert decide({1, 2}, {1: "available", 2: "loading"}) == Next()
    assert decide({1, 2}, {1: "available", 2: "available"}) == Next(unload=(1,))


def test_a_bad_version_never_takes_the_good_one_down() -> None:
    for swap in ("availability", "resource"):
        assert decide({1, 2}, {1: "available", 2: "failed"}, swap=swap) == Next()
        assert decide({1, 2}, {1: "available", 2: "given up"}, swap=swap) == Next()
    assert decide({1, 2}, {1: "available", 2: "retry"}) == Next(load=(2,))
    assert decide({1, 2}, {1: "available", 2: "retry"}, swap="resource") == Next()


def test_at_a_restart_the_last_good_version_stands_in_for_a_bad_one() -> None:
    assert decide({1, 2}, {}) == Next(load=(2,))
    assert decide({1, 2}, {2: "failed"}) == Next(load=(1,))
    assert decide({1, 2, 3}, {3: "failed", 2: "failed"}) == Next(load=(1,))


def test_resources_are_freed_first_where_that_is_wanted() -> None:
    assert decide({1, 2}, {1: "available"}, swap="resource") == Next(unload=(1,))
    assert decide({1, 2}, {1: "unloading"}, swap="resource") == Next()
    assert decide({1, 2}, {}, swap="resource") == Next(load=(2,))
    assert decide({1, 2}, {2: "failed"}, swap="resource") == Next(load=(1,))


def test_a_missing_base_keeps_what_is_served_and_an_empty_one_ends_it() -> None:
    assert decide(None, {1: "available"}) == Next()
    for swap in ("availability", "resource"):
        assert decide(set(), {1: "available"}, swap=swap) == Next(unload=(1,))


def test_a_specific_version_that_is_not_there_takes_nothing_down() -> None:
    policy = VersionPolicy("specific", versions=frozenset({9}))
    for swap in ("availability", "resource"):
        assert decide({1}, {1: "available"}, policy=policy, swap=swap) == Next()


def test_versions_of_a_rollout_are_held() -> None:
    assert decide({1, 2}, {1: "available", 2: "available"}, held=frozenset({1})) == Next()
    assert decide({1, 2}, {2: "available"}, held=frozenset({1})) == Next(load=(1,))


def test_what_a_caller_unloaded_stays_unloaded() -> None:
    assert decide({1, 2}, {2: "withdrawn"}) == Next()


VERSIONS = st.integers(1, 5)
STATES: Any = st.sampled_from(["loading", "available", "unloading", "failed", "retry", "given up", "withdrawn"])
POLICIES = st.one_of(
    st.builds(VersionPolicy, st.just("latest"), st.integers(1, 3)),
    st.just(VersionPolicy("all")),
    st.builds(lambda v: VersionPolicy("specific", versions=v), st.frozensets(VERSIONS, min_size=1)),
)


@settings(max_examples=100, deadline=None)
@given(POLICIES, st.frozensets(VERSIONS, min_size=1), st.dictionaries(VERSIONS, STATES), st.sampled_from(["a", "r"]))
def test_a_model_that_serves_goes_on_serving(
    policy: VersionPolicy, present: frozenset[int], progress: dict[int, Progress], kind: str
) -> None:
    swap: Any = {"a": "availability", "r": "resource"}[kind]
    todo = Situation(policy, present, progress, swap=swap).decide()
    served = {v for v, state in progress.items() if state == "available"}
    assert set(todo.unload) <= served
    assert set(todo.load) <= present
    assert all(progress.get(v) in (None, "retry") for v in todo.load)
    assert list(todo.load) == sorted(todo.load, reverse=True)
    if served and swap == "availability":
        assert served - set(todo.unload)


@settings(max_examples=100, deadline=None)
@given(POLICIES, st.frozensets(VERSIONS, min_size=1), st.frozensets(VERSIONS), st.sets(VERSIONS), st.booleans())
def test_versions_settle_on_what_is_wanted_and_good(
    policy: VersionPolicy, present: frozenset[int], bad: frozenset[int], served: set[int], frees_first: bool
) -> None:
    """The slow twin: carry every decision out until there is none, and compare with what should be left."""
    progress: dict[int, Progress] = dict.fromkeys(served, "available")
    for _ in range(50):
        swap: Any = "resource" if frees_first else "availability"
        todo = Situation(policy, present, progress, swap=swap).decide()
        if todo == Next():
            break
        for version in todo.unload:
            del progress[version]
        for version in todo.load:
            progress[version] = "failed" if version in bad else "available"
    else:
        raise AssertionError("it never settles")
    left = {v for v, state in progress.items() if state == "available"}
    aspired = policy.choose(present)
    good = {v for v in aspired if v not in bad or v in served}
    if good:
        assert good <= left <= aspired
    elif present - bad:
        assert left or not aspired
