"""Logs as JSON lines and as text."""

from __future__ import annotations

import io
import json
import logging
import os
import queue
from datetime import datetime
from typing import Any

import pytest

from recserve.errors import ConfigError
from recserve.serving import observation
from recserve.serving.access_log import AccessLog, AccessLogOptions, JsonFormatter, LogFormat, QueuedHandler, QueuedLogs
from recserve.serving.observation import Observation


def text_of(write: Any, form: LogFormat) -> str:
    text = io.StringIO()
    logs = QueuedLogs(form, logging.StreamHandler(text))
    try:
        write()
    finally:
        logs.close()
    return text.getvalue()


def lines_of(write: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text_of(write, "json").splitlines()]


def answered(code: str = "200", model: str = "") -> Observation:
    seen = Observation("tfs", "POST /v1/models/m:predict", "q-1")
    seen.code, seen.model, seen.version = code, model, 3
    return seen


def test_a_line_tells_the_request_that_it_was_written_for() -> None:
    def write() -> None:
        token = observation.observe(answered())
        logging.getLogger("recserve.serving").warning("Odd: %s", "ü")
        observation.observe(None)
        logging.getLogger("recserve.serving").warning("no request")
        del token

    first, second = lines_of(write)
    assert (first["message"], first["request_id"], first["level"]) == ("Odd: ü", "q-1", "warning")
    assert first["time"].endswith("+00:00")
    assert "request_id" not in second


def test_an_exception_is_one_line() -> None:
    def write() -> None:
        try:
            raise ValueError("bad")
        except ValueError:
            logging.getLogger("recserve.serving").exception("It failed")

    (line,) = lines_of(write)
    assert "ValueError: bad" in line["exception"]


def test_text_that_is_no_unicode_is_escaped() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "path \udcff", None, None)
    assert json.loads(JsonFormatter().format(record))["message"] == "path \\udcff"


def test_logging_is_as_before_afterwards() -> None:
    before = logging.getLogger().handlers[:]
    lines_of(lambda: None)
    assert logging.getLogger().handlers == before


def test_what_does_not_fit_is_dropped_and_counted() -> None:
    handler = QueuedHandler(queue.Queue(1))
    for _ in range(3):
        handler.handle(logging.LogRecord("x", logging.INFO, "", 0, "m", None, None))
    assert handler.dropped == 2


def test_the_rate_decides_which_requests_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "recserve.access")
    for rate, expected in ((0.0, 0), (1.0, 5)):
        caplog.clear()
        log = AccessLog(AccessLogOptions(rate))
        for _ in range(5):
            log.finish(answered())
        assert len(caplog.records) == expected


def test_requests_that_failed_here_are_always_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "recserve.access")
    AccessLog(AccessLogOptions(1e-12)).finish(answered("503"))
    assert [record.recserve_fields["code"] for record in caplog.records] == ["503"]  # type: ignore[attr-defined]


def test_slow_requests_are_logged_with_stages_and_bounded(caplog: pytest.LogCaptureFixture) -> None:
    log = AccessLog(AccessLogOptions(slow_ms=0, max_slow_per_s=2))
    for _ in range(5):
        seen = answered(model="m")
        seen.rows, seen.stages_us = 4, {"gather": 1500.0}
        seen.run_began_ns, seen.run_ended_ns = seen.began_ns, seen.began_ns + 2_000_000
        log.finish(seen)
    assert log.slow == 5
    assert 2 <= len(caplog.records) <= 4  # a second may have ended in between
    fields = caplog.records[0].recserve_fields  # type: ignore[attr-defined]
    assert fields["stages_ms"] == {"run": 2.0}
    assert fields["rank_ms"] == {"gather": 1.5}
    assert (fields["model"], fields["version"], fields["candidates"]) == ("m", 3, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 1.5}, "the rate of the access log is 1.5. It is 0 to 1."),
        ({"rate": float("nan")}, "the rate of the access log is nan. It is 0 to 1."),
        ({"slow_ms": -1}, "slow_ms is -1. It is 0 or more."),
    ],
)
def test_wrong_options_are_told(options: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        AccessLogOptions(**options)
    assert str(caught.value) == message


def test_a_line_of_text_tells_the_time_the_process_and_the_fields_of_the_request() -> None:
    def write() -> None:
        AccessLog(AccessLogOptions(rate=1)).finish(answered(model="m"))

    line = text_of(write, "text").rstrip("\n")
    head, _, fields = line.partition(": request ")
    time, level, process, logger = head.split(" ")
    assert datetime.fromisoformat(time).tzinfo is not None
    assert (level, int(process), logger) == ("INFO", os.getpid(), "recserve.access")
    assert fields.startswith('request_id=q-1 protocol=tfs route="POST /v1/models/m:predict" code=200 duration_ms=')
    assert " model=m version=3 " in fields


def test_text_of_callers_makes_no_line_of_its_own_in_a_log_of_text() -> None:
    def write() -> None:
        logging.getLogger("recserve.serving").warning("Odd: %s", "a\n2026-01-01 INFO 1 x: forged \udcff")

    first, second = text_of(write, "text").splitlines()
    assert first.endswith("Odd: a")
    assert second == "  2026-01-01 INFO 1 x: forged \\udcff"


def test_an_exception_follows_its_line_of_text() -> None:
    def write() -> None:
        try:
            raise ValueError("bad")
        except ValueError:
            logging.getLogger("recserve.serving").exception("It failed")

    first, *_, last = text_of(write, "text").splitlines()
    assert first.endswith("recserve.serving: It failed")
    assert last == "ValueError: bad"


def test_other_libraries_are_heard_from_warnings_on() -> None:
    def write() -> None:
        for name in ("recserve.serving", "other"):
            logging.getLogger(name).info("told by %s", name)
            logging.getLogger(name).warning("warned by %s", name)

    said = [line["message"] for line in lines_of(write)]
    assert said == ["told by recserve.serving", "warned by recserve.serving", "warned by other"]
    assert logging.getLogger("recserve").level == logging.NOTSET
