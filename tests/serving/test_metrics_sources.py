"""Metrics that are looked up at a scrape."""

from __future__ import annotations

from typing import Any

from recserve.serving.metrics_sources import watch_process
from recserve.serving.oversight import Operations, Oversight
from recserve.serving.statistics import Times


def test_triton_names_tell_the_statistics_of_versions(serving_of: Any, make_ranker: Any) -> None:
    serving = serving_of(make_ranker())
    oversight = Oversight(Operations(triton_metrics=True), serving.metrics)
    watch_process(oversight, serving)
    serving.statistics.of("rank", 7).add(4, Times(1_000, 2_000, 3_000, 4_000))
    serving.statistics.of("rank", 7).add_failure(10)
    lines = oversight.metrics_text().splitlines()
    labels = '{model="rank",version="7"}'
    for line in (
        f"nv_inference_request_success{labels} 1",
        f"nv_inference_request_failure{labels} 1",
        f"nv_inference_count{labels} 4",
        f"nv_inference_exec_count{labels} 1",
        f"nv_inference_request_duration_us{labels} 10",
        f"nv_inference_compute_infer_duration_us{labels} 3",
    ):
        assert line in lines


def test_states_labels_and_the_process_are_told(serving_of: Any, make_ranker: Any) -> None:
    serving = serving_of(make_ranker())
    serving.registry.set_label("rank", "stable", 7)
    oversight = Oversight(metrics=serving.metrics)
    watch_process(oversight, serving)
    text = oversight.metrics_text()
    for part in (
        'recserve_model_version_state{model="rank",version="7",state="AVAILABLE"} 1',
        'recserve_model_label_version{model="rank",label="stable"} 7',
        "recserve_ready 1",
        "recserve_waiting_requests 0",
        "process_resident_memory_bytes ",
        "process_cpu_seconds_total ",
    ):
        assert part in text
    assert "nv_inference" not in text


def test_items_that_a_version_has_yet_to_make_are_told_until_it_ends(serving_of: Any, make_ranker: Any) -> None:
    model = make_ranker()
    model.backlog = range(3)
    serving = serving_of(model)
    oversight = Oversight(metrics=serving.metrics)
    watch_process(oversight, serving)
    assert 'recserve_items_to_make{model="rank",version="7"} 3' in oversight.metrics_text()
    serving.registry.withdraw("rank", 7)
    assert "recserve_items_to_make{" not in oversight.metrics_text()


def test_series_of_an_ended_version_end_with_it(serving_of: Any, make_ranker: Any) -> None:
    serving = serving_of(make_ranker())
    oversight = Oversight(metrics=serving.metrics)
    watch_process(oversight, serving)
    seen = oversight.begin("tfs", "")
    seen.model, seen.version = "rank", 7
    oversight.finish(seen)
    count = 'recserve_requests_total{protocol="tfs",model="rank",version="7"'
    assert count in oversight.metrics_text()
    serving.registry.withdraw("rank", 7)
    oversight.metrics_text()
    assert count not in oversight.metrics_text()
