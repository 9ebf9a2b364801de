"""Custom features of registered functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from recserve import FeatureSet
from recserve.errors import ConfigError, DataError
from recserve.features import custom
from recserve.features.compiled import CompiledPlan


def ratio(clicks: Any, views: Any) -> Any:
    return clicks.sum() / views.sum()


def initials(texts: list[str], size: int = 1) -> list[str]:
    return [text[:size] for text in texts]


def top(values: Any) -> Any:
    return np.sort(values)[::-1][:2]


@pytest.fixture(autouse=True)
def _functions() -> Iterator[None]:
    custom.register("ratio", ratio, compiled=True)
    custom.register("slow_ratio", ratio)
    custom.register("initials", initials, reads="texts", returns="texts")
    custom.register("top", top)
    yield
    for name in custom.registered():
        custom.unregister(name)


def entry(operator: str, *inputs: str, **options: Any) -> dict[str, Any]:
    base = {"feature_type": "custom_feature", "feature_name": "f", "operator_name": operator}
    return {**base, "expression": list(inputs), **options}


def extract(feature: dict[str, Any], columns: dict[str, Any]) -> Any:
    features = FeatureSet.from_fg_json({"features": [feature]})
    slow, fast = (features.compile(reference=reference).run(columns)["f"] for reference in (True, False))
    for a, b in zip(*((x,) if isinstance(x, np.ndarray) else (x.values, x.lengths) for x in (slow, fast)), strict=True):
        np.testing.assert_array_equal(a, b)
    return fast


@pytest.mark.parametrize("operator", ["ratio", "slow_ratio"])
def test_a_function_is_called_with_the_numbers_of_each_row(operator: str) -> None:
    feature = entry(operator, "user:clicks", "item:views", default_value="-1")
    columns = {"clicks": [[1, 2, 3]], "views": [[4, 8], None, [2.0], [0]]}
    assert extract(feature, columns).ravel().tolist() == [0.5, -1.0, 3.0, np.inf]


def test_a_compiled_function_may_divide_nothing_by_nothing() -> None:
    assert extract(entry("ratio", "user:a", "user:b", default_value="7"), {"a": [0], "b": [0]}).tolist() == [[7.0]]


def test_a_function_may_return_several_numbers() -> None:
    assert extract(entry("top", "user:a", value_dim=2), {"a": [[3, 9, 5], [4], None]}).tolist() == [
        [9, 5],
        [4, 0],
        [0, 0],
    ]


def test_a_function_of_texts_makes_ids_and_takes_parameters() -> None:
    feature = entry("initials", "item:name", vocab_list=["sh", "ha"], default_bucketize_value=0, default_value="")
    found = extract({**feature, "operator_params": {"size": 2}}, {"name": ["shoe\x1dhat", "boot", None]})
    assert (found.values.tolist(), found.lengths.tolist()) == ([0, 1, 0], [2, 1, 0])


def test_a_function_runs_over_the_steps_of_a_sequence() -> None:
    feature = {**entry("ratio", "item:a", "user:b"), "feature_type": "sequence_custom_feature"}
    found = extract(feature, {"a": ["1;2;4"], "b": [2]})
    assert found.values.ravel().tolist() == [0.5, 1.0, 2.0]


def test_plain_python_does_not_run_for_each_candidate() -> None:
    features = FeatureSet.from_fg_json({"features": [entry("slow_ratio", "user:a", "item:b")]})
    with pytest.raises(ConfigError, match=r"feature 'f': function 'slow_ratio' would run as Python for each candidate"):
        _ = CompiledPlan(features.graph).candidate
    compiled = FeatureSet.from_fg_json({"features": [entry("ratio", "user:a", "item:b")]})
    assert CompiledPlan(compiled.graph).candidate.op_numbers


@pytest.mark.parametrize("reference", [True, False])
def test_a_function_that_fails_is_named(reference: bool) -> None:
    custom.register("bad", lambda x: 1 // int(x[0]), version="1")
    features = FeatureSet.from_fg_json({"features": [entry("bad", "user:a")]})
    with pytest.raises(DataError, match=r"feature 'f'.*: function 'bad' failed: ZeroDivisionError"):
        features.compile(reference=reference).run({"a": [1, 0]})


def test_the_digest_follows_the_source() -> None:
    digests = []
    for version in ("1", "2"):
        custom.register("ratio", ratio, version=version)
        digests.append(FeatureSet.from_fg_json({"features": [entry("ratio", "user:a", "user:b")]}).digest)
    assert digests[0] != digests[1]


def test_wrong_registrations_are_refused() -> None:
    with pytest.raises(ConfigError, match="operator 'SeqExpr' is built in"):
        custom.register("SeqExpr", ratio)
    with pytest.raises(ConfigError, match="function 'x' is to be compiled, and reads or returns texts"):
        custom.register("x", ratio, reads="texts", compiled=True)
    with pytest.raises(ConfigError, match="function 'x' has no source to take a digest of"):
        custom.register("x", max)


@pytest.mark.parametrize(
    ("feature", "problem"),
    [
        (entry("ratios", "user:a"), "unknown operator 'ratios'. Did you mean 'ratio'"),
        (entry("ratio", "user:a", operator_params={"x": 1}), "function 'ratio' is compiled and has no parameters"),
        (entry("ratio", *(f"user:{c}" for c in "abcde")), "is compiled and takes at most 4 inputs"),
    ],
)
def test_wrong_uses_are_refused(feature: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        FeatureSet.from_fg_json({"features": [feature]})
    assert problem in str(caught.value)


def test_a_function_that_numba_cannot_compile_is_refused() -> None:
    custom.register("odd", initials, compiled=True)
    features = FeatureSet.from_fg_json({"features": [entry("odd", "user:a")]})
    with pytest.raises(ConfigError, match="function 'odd' cannot be compiled"):
        features.compile().run({"a": [1]})
