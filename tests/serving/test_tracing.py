"""Traces, with OpenTelemetry's own SDK."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from recserve.errors import ConfigError
from recserve.serving.gate import gate
from recserve.serving.http import HttpApp
from recserve.serving.metrics import RequestMetrics
from recserve.serving.oversight import Operations, Oversight
from recserve.serving.tracing import TraceParent, Tracer, read_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (f"00-{TRACE}-{SPAN}-01", TraceParent(TRACE, SPAN, True)),
        (f" 00-{TRACE}-{SPAN}-00 ", TraceParent(TRACE, SPAN, False)),
        (f"cc-{TRACE}-{SPAN}-03-more", TraceParent(TRACE, SPAN, True)),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        ("", None),
        ("what", None),
    ],
)
def test_the_header_is_read_as_w3c_has_it(header: str, expected: TraceParent | None) -> None:
    assert read_traceparent(header) == expected


@pytest.fixture
def spans() -> Any:
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    exporter = memory.InMemorySpanExporter()
    provider = trace.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    return Tracer(provider), exporter


@pytest.fixture
def ask(serving_of: Any, make_ranker: Any, call_app: Any, spans: Any) -> Any:
    serving = serving_of(make_ranker(), oversight=Oversight(metrics=RequestMetrics(), tracer=spans[0]))
    app = gate(HttpApp(serving), serving, "recserve")

    def post(user: Any, headers: Any = None) -> Any:
        body = {"candidates": ["a", "b"], "user": user}
        return call_app(app, "POST", "/v1/models/rank:rank", body, headers)

    return post


def test_a_request_is_a_span_with_its_stages_under_that_of_its_caller(spans: Any, ask: Any) -> None:
    _, exporter = spans
    header = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    reply = ask({}, header)
    *stages, request = exporter.get_finished_spans()
    assert request.name == "POST /v1/models/rank:rank"
    assert f"{request.context.trace_id:032x}" == TRACE
    assert f"{request.parent.span_id:016x}" == SPAN
    assert request.attributes["recserve.model"] == "rank"
    assert request.attributes["recserve.candidates"] == 2
    assert {"run"} <= {stage.name for stage in stages}
    for stage in stages:
        assert stage.parent.span_id == request.context.span_id
        assert request.start_time - 1_000_000 <= stage.start_time <= stage.end_time <= request.end_time + 1_000_000
    assert reply.headers["traceparent"] == f"00-{TRACE}-{request.context.span_id:016x}-01"


def test_a_failure_of_the_server_is_one_of_the_span(spans: Any, ask: Any) -> None:
    _, exporter = spans
    assert ask({"act": "break"}).status == 500
    assert not exporter.get_finished_spans()[-1].status.is_ok


def test_a_request_of_a_caller_that_does_not_sample_is_not_recorded(spans: Any, ask: Any) -> None:
    _, exporter = spans
    reply = ask({}, {"traceparent": f"00-{TRACE}-{SPAN}-00"})
    assert reply.headers["traceparent"].startswith(f"00-{TRACE}-")
    assert exporter.get_finished_spans() == ()


def test_without_tracing_nothing_is_sent_back(serving_of: Any, make_ranker: Any, call_app: Any) -> None:
    serving = serving_of(make_ranker())
    reply = call_app(gate(HttpApp(serving), serving, "recserve"), "GET", "/livez")
    assert "traceparent" not in reply.headers


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ConfigError, match=r"Install recserve\[otel\]"):
        Oversight(Operations(traces=True))


def test_the_exporter_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    tracer = Tracer()
    assert tracer._provider.resource.attributes["service.name"] == "shop"
    tracer.close()
