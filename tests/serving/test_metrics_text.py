"""The text that Prometheus reads, held to its own parser."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from recserve.serving.metrics_text import Family, histogram_samples, merge_families, write_text


def test_a_family_reads_back_in_prometheus_own_parser() -> None:
    samples = [("", {"model": 'a"b\\c\nd'}, 3.0), ("", {"model": "é"}, 0.1)]
    text = write_text([Family("x_total", "counter", "What\nit is.", samples), Family("none", "gauge", "", [])])
    family, none = text_string_to_metric_families(text)
    assert none.samples == []
    assert [(s.name, s.labels, s.value) for s in family.samples] == [
        ("x_total", {"model": 'a"b\\c\nd'}, 3.0),
        ("x_total", {"model": "é"}, 0.1),
    ]


def test_a_sample_without_labels_has_no_braces() -> None:
    assert "ready 1\n" in write_text([Family("ready", "gauge", "It is.", [("", {}, 1)])])


def test_no_family_is_no_text() -> None:
    assert write_text([]) == ""


@settings(max_examples=50)
@given(st.floats(allow_nan=True, allow_infinity=True))
def test_any_number_reads_back(value: float) -> None:
    (family,) = text_string_to_metric_families(write_text([Family("x", "gauge", "h", [("", {"a": "b"}, value)])]))
    got = family.samples[0].value
    assert got == value or (math.isnan(got) and math.isnan(value))


def test_the_buckets_of_a_histogram_add_up() -> None:
    samples = histogram_samples({"m": "a"}, [1.0, 2.5], [1, 0, 2], 9.5)
    assert samples == [
        ("_bucket", {"m": "a", "le": "1"}, 1),
        ("_bucket", {"m": "a", "le": "2.5"}, 1),
        ("_bucket", {"m": "a", "le": "+Inf"}, 3),
        ("_sum", {"m": "a"}, 9.5),
        ("_count", {"m": "a"}, 3),
    ]


@settings(max_examples=50)
@given(st.lists(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), max_size=4), max_size=4))
def test_the_sum_of_several_processes_is_what_adding_by_hand_gives(groups: list[list[tuple[str, int]]]) -> None:
    families = [[Family("x", "counter", "h", [("", {"l": key}, value)]) for key, value in group] for group in groups]
    by_hand: dict[str, int] = {}
    for group in groups:
        for key, value in group:
            by_hand[key] = by_hand.get(key, 0) + value
    merged = merge_families(families)
    assert {s[1]["l"]: s[2] for family in merged for s in family.samples} == by_hand


def test_gauges_merge_as_they_say() -> None:
    def group(value: float) -> list[Family]:
        kinds = ("sum", "min", "max")
        return [Family(kind, "gauge", "h", [("", {}, value)], kind) for kind in kinds]  # type: ignore[arg-type]

    merged = merge_families([group(1), group(3)])
    assert {family.name: family.samples[0][2] for family in merged} == {"sum": 4, "min": 1, "max": 3}
