"""Traces of requests as OpenTelemetry takes them: a span a request, and one for each stage it went through.

The spans are made when the request has ended, from the times that its observation kept, so that a request pays for two
small objects while it runs and nothing at all where tracing is off. W3C's `traceparent` goes in and out.
"""

from __future__ import annotations

import os
import re
from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from recserve.errors import ConfigError

if TYPE_CHECKING:
    from recserve.serving.observation import Observation

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_VERSION_0: Final = "00-"
_LENGTH_0: Final = 55
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16
_SAMPLED: Final = 1
_SERVER_FAULT: Final = "5"


class TraceParent(NamedTuple):
    """The caller's span, as its header tells.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        is_sampled: whether the caller records it.
    """

    trace_id: str
    span_id: str
    is_sampled: bool


def read_traceparent(header: str) -> TraceParent | None:
    """The span of a `traceparent` header; None for one that is not as W3C has it, which starts a trace of its own."""
    match = _TRACEPARENT.fullmatch(header.strip())
    if match is None or match[1] == _NO_TRACE or match[2] == _NO_SPAN:
        return None
    if header.strip().startswith(_VERSION_0) and len(header.strip()) != _LENGTH_0:
        return None
    return TraceParent(match[1], match[2], bool(int(match[3], 16) & _SAMPLED))


class RequestTrace:
    """The open span of a request.

    Attributes:
        span: of OpenTelemetry.
        trace_id: 32 hexadecimal digits.
        traceparent: header that names the span to others.
    """

    __slots__ = ("span", "trace_id", "traceparent")

    def __init__(self, span: Any) -> None:
        context = span.get_span_context()
        self.span = span
        self.trace_id = f"{context.trace_id:032x}"
        self.traceparent = f"00-{self.trace_id}-{context.span_id:016x}-{int(context.trace_flags):02x}"


class Tracer:
    """Makes the spans of requests.

    Args:
        provider: of OpenTelemetry; None for one that sends by OTLP over HTTP as the environment says
            (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`, ...).

    Raises:
        ConfigError: OpenTelemetry is not installed.
    """

    def __init__(self, provider: Any = None) -> None:
        try:
            from opentelemetry import trace
        except ImportError:
            raise ConfigError(
                "OpenTelemetry is not installed", code="not_installed", hint="Install recserve[otel]."
            ) from None
        self._trace = trace
        self._provider = provider or _otlp_provider()
        self._tracer = self._provider.get_tracer("recserve")

    def begin(self, seen: Observation, traceparent: str) -> None:
        """Open the span of a request under that of its caller; `seen.trace` keeps it."""
        parent = read_traceparent(traceparent) if traceparent else None
        context = None if parent is None else self._remote(parent)
        span = self._tracer.start_span(
            seen.route, context=context, kind=self._trace.SpanKind.SERVER, start_time=seen.arrived_us * 1000
        )
        seen.trace = RequestTrace(span)

    def finish(self, seen: Observation) -> None:
        """Close the span of a request, with a child for each stage."""
        span = seen.trace.span
        if span.is_recording():
            offset_ns = time_ns() - perf_counter_ns()
            context = self._trace.set_span_in_context(span)
            for name, begin, end in seen.stages():
                self._tracer.start_span(name, context=context, start_time=begin + offset_ns).end(end + offset_ns)
            span.set_attributes(_attributes(seen))
            if seen.code[:1] == _SERVER_FAULT or seen.code in ("INTERNAL", "UNKNOWN", "UNAVAILABLE"):
                span.set_status(self._trace.StatusCode.ERROR)
        span.end()

    def close(self) -> None:
        """Send what is not sent yet."""
        self._provider.shutdown()

    def _remote(self, parent: TraceParent) -> Any:
        context = self._trace.SpanContext(
            int(parent.trace_id, 16),
            int(parent.span_id, 16),
            is_remote=True,
            trace_flags=self._trace.TraceFlags(int(parent.is_sampled)),
        )
        return self._trace.set_span_in_context(self._trace.NonRecordingSpan(context))


def _attributes(seen: Observation) -> dict[str, str | int]:
    found: dict[str, str | int] = {
        "recserve.request_id": seen.request_id,
        "recserve.protocol": seen.protocol,
        "recserve.code": seen.code,
    }
    if seen.model:
        found |= {"recserve.model": seen.model, "recserve.version": seen.version, "recserve.signature": seen.signature}
    if seen.rows:
        found["recserve.candidates"] = seen.rows
    return found


def _otlp_provider() -> Any:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ConfigError(
            "OpenTelemetry's SDK or its OTLP exporter is not installed",
            code="not_installed",
            hint="Install recserve[otel].",
        ) from None
    name = os.environ.get("OTEL_SERVICE_NAME", "recserve")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
