"""What Prometheus reads."""

from __future__ import annotations

import contextvars

import pytest
from prometheus_client.parser import text_string_to_metric_families

from recserve.serving.metrics import MAX_UNCOUNTED, RequestMetrics
from recserve.serving.metrics_text import Family
from recserve.serving.metrics_times import BOUNDS_US
from recserve.serving.observation import Observation, observe


def test_calls_are_told_as_prometheus_reads_them() -> None:
    metrics = RequestMetrics()
    for time_us in (5.0, 15.0, 1e12):
        metrics.observe('a"b', "OK", "Predict", "REST", time_us)
    metrics.observe('a"b', "NOT_FOUND", "Predict", "REST", 7.0)
    lines = metrics.text().splitlines()
    assert ':tensorflow:serving:request_count{model_name="a\\"b",status="OK"} 3' in lines
    assert ':tensorflow:serving:request_count{model_name="a\\"b",status="NOT_FOUND"} 1' in lines
    buckets = [line for line in lines if "_bucket" in line]
    assert [line.rpartition(" ")[2] for line in buckets[:3]] == ["1", "2", "2"]
    assert buckets[-1].endswith('le="+Inf"} 3')
    assert len(buckets) == len(BOUNDS_US) + 1
    assert any(line.startswith(":tensorflow:serving:request_latency_count") and line.endswith(" 3") for line in lines)


def seen_call(model: str = "rank", version: int = 7, code: str = "200") -> Observation:
    seen = Observation("recserve", "POST /v1/models/rank:rank", "q")
    seen.model, seen.version, seen.signature, seen.code, seen.rows = model, version, "rank", code, 12
    seen.received_ns = seen.began_ns + 1_000
    seen.work_began_ns, seen.work_ended_ns = seen.began_ns + 2_000, seen.began_ns + 9_000_000
    seen.run_began_ns, seen.run_ended_ns = seen.began_ns + 3_000, seen.began_ns + 8_000_000
    seen.stages_us = {"gather": 120.0}
    return seen


def samples_of(metrics: RequestMetrics, name: str) -> list[tuple[dict[str, str], float]]:
    return [
        (sample.labels, sample.value)
        for family in text_string_to_metric_families(metrics.text())
        for sample in family.samples
        if sample.name in (name, f"{name}_total")  # the parser adds it to counters that have none
    ]


def test_own_series_tell_version_signature_protocol_and_stage() -> None:
    metrics = RequestMetrics()
    metrics.finish(seen_call())
    metrics.finish(seen_call(code="503"))
    ((labels, count), _) = samples_of(metrics, "recserve_requests_total")
    assert labels == {
        "protocol": "recserve",
        "model": "rank",
        "version": "7",
        "signature": "rank",
        "code": "200",
    }
    assert count == 1
    assert samples_of(metrics, "recserve_candidates_total")[0][1] == 12
    stages = {labels["stage"]: value for labels, value in samples_of(metrics, "recserve_stage_duration_seconds_sum")}
    assert stages.keys() == {"receive", "queue", "parse", "run", "encode", "rank/gather"}
    assert stages["rank/gather"] == pytest.approx(2 * 120e-6)
    assert stages["run"] == pytest.approx(2 * 7.997e-3)


@pytest.mark.parametrize("calls", [MAX_UNCOUNTED - 1, MAX_UNCOUNTED, 2 * MAX_UNCOUNTED + 3])
def test_however_many_calls_wait_all_are_counted(calls: int) -> None:
    metrics = RequestMetrics()
    for _ in range(calls):
        metrics.finish(seen_call())
        metrics.observe("rank", "OK", "Predict", "REST", 100.0)
    assert samples_of(metrics, "recserve_requests_total")[0][1] == calls
    assert samples_of(metrics, "recserve_candidates_total")[0][1] == 12 * calls
    stages = {labels["stage"]: value for labels, value in samples_of(metrics, "recserve_stage_duration_seconds_count")}
    assert set(stages.values()) == {calls}
    assert samples_of(metrics, ":tensorflow:serving:request_count")[0][1] == calls
    assert samples_of(metrics, ":tensorflow:serving:request_latency_sum")[0][1] == pytest.approx(100.0 * calls)


def test_the_model_and_its_examples_show_under_tensorflow_servings_names() -> None:
    metrics = RequestMetrics()
    seen = seen_call()
    seen.examples = 3

    def call() -> None:
        observe(seen)
        metrics.observe("rank", "OK", "Classify", "REST", 100.0)

    contextvars.Context().run(call)
    metrics.count_logged("rank", "OK")
    metrics.observe_warmup("models/rank/7", "OK", 5.0)
    prefix = ":tensorflow:serving:"
    labels = {"model_name": "rank", "API": "Classify", "runtime": "recserve"}
    assert samples_of(metrics, f"{prefix}runtime_latency_count") == [(labels, 1)]
    assert samples_of(metrics, f"{prefix}request_example_counts_sum") == [({"model": "rank"}, 3)]
    assert samples_of(metrics, f"{prefix}request_example_count_total") == [({"model": "rank"}, 3)]
    assert samples_of(metrics, f"{prefix}request_log_count") == [({"model_name": "rank", "status_code": "OK"}, 1)]
    warm = {"model_path": "models/rank/7", "status": "OK"}
    assert samples_of(metrics, f"{prefix}model_warmup_latency_count") == [(warm, 1)]


def test_series_of_versions_that_are_gone_are_dropped() -> None:
    metrics = RequestMetrics()
    metrics.finish(seen_call(version=6))
    metrics.finish(seen_call(version=7))
    metrics.finish(seen_call(model="", version=0, code="404"))
    metrics.forget(lambda _, version: version == 6)
    versions = {labels["version"] for labels, _ in samples_of(metrics, "recserve_requests_total")}
    assert versions == {"7", ""}
    assert {labels["version"] for labels, _ in samples_of(metrics, "recserve_stage_duration_seconds_sum")} == {"7", ""}


def test_refusals_are_counted_by_reason() -> None:
    metrics = RequestMetrics()
    for reason in ("queue_full", "queue_full", "deadline_exceeded", ""):
        seen = Observation("tfs", "POST /", "1")
        seen.code, seen.refusal = "503", reason
        metrics.finish(seen)
    text = metrics.text()
    assert 'recserve_refusals_total{protocol="tfs",reason="queue_full"} 2' in text
    assert 'recserve_refusals_total{protocol="tfs",reason="deadline_exceeded"} 1' in text
    assert 'reason=""' not in text


def test_series_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recserve.serving.metrics.MAX_SERIES", 3)
    metrics = RequestMetrics()
    for version in range(1, 9):
        metrics.finish(seen_call(version=version))
    found = samples_of(metrics, "recserve_requests_total")
    assert len(found) == 4
    assert sum(count for _, count in found) == 8


def test_sources_are_asked_at_each_scrape() -> None:
    metrics = RequestMetrics()
    metrics.add_source(lambda: [Family("recserve_waiting", "gauge", "Jobs.", [("", {}, 4)])])
    assert "recserve_waiting 4" in metrics.text()
