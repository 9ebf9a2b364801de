from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from recserve.serving.metrics_batches import SIZE_BOUNDS, BatchMetrics
from recserve.serving.metrics_text import Family

TFS = ":tensorflow:serving:batching_session:"


def families(metrics: BatchMetrics) -> dict[str, Family]:
    return {family.name: family for family in metrics.families()}


def counts(family: Family, suffix: str) -> float:
    return sum(value for end, _, value in family.samples if end == suffix)


def test_batches_are_told_under_tensorflow_servings_names() -> None:
    metrics = BatchMetrics()
    metrics.waited(0.002)
    metrics.ran("a", [3, 2], 8)
    found = families(metrics)
    assert set(found) == {
        f"{TFS}queuing_latency",
        f"{TFS}input_batch_size",
        f"{TFS}processed_batch_size",
        f"{TFS}padding_size",
        f"{TFS}wrapped_run_count",
        "recserve_batch_calls",
    }
    assert counts(found[f"{TFS}queuing_latency"], "_sum") == 2000
    assert counts(found[f"{TFS}input_batch_size"], "_sum") == 5
    assert counts(found[f"{TFS}processed_batch_size"], "_sum") == 8
    assert counts(found[f"{TFS}padding_size"], "_sum") == 3
    assert found[f"{TFS}wrapped_run_count"].samples == [("", {}, 1.0)]
    assert {labels["model_name"] for _, labels, _ in found["recserve_batch_calls"].samples} == {"a"}


@given(st.lists(st.tuples(st.sampled_from("ab"), st.lists(st.integers(1, 40_000), min_size=1, max_size=5))))
def test_buckets_hold_what_comparing_each_size_gives(batches: list[tuple[str, list[int]]]) -> None:
    metrics = BatchMetrics()
    sizes: dict[str, list[int]] = {}
    for model, rows in batches:
        metrics.ran(model, rows, sum(rows))
        sizes.setdefault(model, []).extend(rows)
    samples = families(metrics)[f"{TFS}input_batch_size"].samples if batches else []
    told = Counter({(labels["model_name"], labels["le"]): v for end, labels, v in samples if end == "_bucket"})
    for model, rows in sizes.items():
        for bound in SIZE_BOUNDS:
            assert told[model, f"{bound:g}"] == sum(row <= bound for row in rows)
        assert told[model, "+Inf"] == len(rows)
