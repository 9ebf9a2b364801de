from __future__ import annotations

from recserve.serving.metrics import BOUNDS_US, RequestMetrics


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
