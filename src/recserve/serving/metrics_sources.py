"""Metrics that are looked up at a scrape: the process, the states of models, the queue, and Triton's names."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import version
from typing import Final, Literal

from prometheus_client import ProcessCollector

from recserve.errors import RecserveError
from recserve.serving.dialects import Serving
from recserve.serving.metrics_text import Family, Sample
from recserve.serving.oversight import Oversight
from recserve.serving.registry import Registry
from recserve.serving.statistics import Statistics

_STATES: Final = ("START", "LOADING", "AVAILABLE", "UNLOADING", "END")
_TRITON: Final = {
    "nv_inference_request_success": ("success", "count"),
    "nv_inference_request_failure": ("fail", "count"),
    "nv_inference_request_duration_us": ("success", "ns"),
    "nv_inference_queue_duration_us": ("queue", "ns"),
    "nv_inference_compute_input_duration_us": ("compute_input", "ns"),
    "nv_inference_compute_infer_duration_us": ("compute_infer", "ns"),
    "nv_inference_compute_output_duration_us": ("compute_output", "ns"),
}
"""Triton's name → part of a version's statistics."""


def watch_process(oversight: Oversight, serving: Serving) -> None:
    """Add the sources of a process, once, to the metrics of its oversight."""
    metrics = oversight.metrics
    processes = ProcessCollector(registry=None)
    metrics.add_source(lambda: process_families(processes))
    metrics.add_source(lambda: state_families(serving))
    if oversight.options.triton_metrics:
        metrics.add_source(lambda: triton_families(serving.registry, serving.statistics))
    registry = serving.registry

    def forget_ended() -> Iterable[Family]:
        served = {(state.name, state.version) for state in registry.states() if state.state in _STATES[:-1]}
        metrics.forget(lambda name, number: (name, number) not in served)
        return ()

    metrics.add_source(forget_ended)  # the series of a version are told once more after its end


def process_families(collector: ProcessCollector) -> Iterable[Family]:
    """Memory, processor time and files of the process, under the names that every client library has."""
    for metric in collector.collect():
        samples: list[Sample] = [("", dict(sample.labels), float(sample.value)) for sample in metric.samples]
        name = metric.samples[0].name
        kind: Literal["counter", "gauge"] = "counter" if metric.type == "counter" else "gauge"
        yield Family(name, kind, metric.documentation, samples, "min" if name.endswith("start_time_seconds") else "sum")


def state_families(serving: Serving) -> Iterable[Family]:
    """Whether the process is ready, the states of versions, labels, and what waits for a rank thread."""
    registry = serving.registry
    states: list[Sample] = [
        ("", {"model": state.name, "version": str(state.version), "state": state.state}, 1)
        for state in registry.states()
    ]
    labels: list[Sample] = [
        ("", {"model": name, "label": label}, float(number))
        for name in registry.names()
        for label, number in registry.labels(name).items()
    ]
    about: list[Sample] = [("", {"version": version("recserve")}, 1)]
    ready: list[Sample] = [("", {}, float(serving.readiness()))]
    waiting: list[Sample] = [("", {}, float(serving.threads.waiting()))]
    yield Family("recserve_build_info", "gauge", "Version of recserve.", about, "max")
    yield Family("recserve_ready", "gauge", "1 while every worker takes requests.", ready, "min")
    yield Family("recserve_model_version_state", "gauge", "Workers in which a version is in a state.", states)
    yield Family("recserve_model_label_version", "gauge", "The version that a label stands for.", labels, "max")
    to_make = list(_items_to_make(registry))
    yield Family("recserve_items_to_make", "gauge", "Items whose payloads a version has yet to make.", to_make)
    yield Family("recserve_waiting_requests", "gauge", "Requests that wait for a rank thread.", waiting)


def _items_to_make(registry: Registry) -> Iterable[Sample]:
    """Of each version that has items to make, or made some after it began to serve."""
    for state in registry.states():
        if state.state == "AVAILABLE":
            with suppress(RecserveError), registry.lease(state.name, state.version) as model:
                if (backlog := getattr(model, "backlog", None)) is not None:
                    yield "", {"model": state.name, "version": str(state.version)}, float(len(backlog))


def triton_families(registry: Registry, statistics: Statistics) -> Iterable[Family]:
    """The statistics of each version under Triton's names."""
    rows = [
        statistics.of(state.name, state.version).as_json(state.name, state.version)
        for state in registry.states()
        if state.state == "AVAILABLE"
    ]
    for name, (part, unit) in _TRITON.items():
        divisor = 1000 if unit == "ns" else 1
        samples: list[Sample] = [
            ("", {"model": row["name"], "version": row["version"]}, row["inference_stats"][part][unit] / divisor)
            for row in rows
        ]
        yield Family(name, "counter", f"{part} of inference requests.", samples)
    for name, field in (("nv_inference_count", "inference_count"), ("nv_inference_exec_count", "execution_count")):
        counts: list[Sample] = [("", {"model": row["name"], "version": row["version"]}, row[field]) for row in rows]
        yield Family(name, "counter", f"{field} of inference requests.", counts)
