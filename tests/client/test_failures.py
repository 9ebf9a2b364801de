"""What calls raise, from what servers say."""

from __future__ import annotations

import pytest

from recserve.client.failures import http_failure, no_answer, not_understood, read_seconds, too_late


@pytest.mark.parametrize(
    ("status", "name", "is_retryable"),
    [
        (400, "INVALID_ARGUMENT", False),
        (404, "NOT_FOUND", False),
        (413, "RESOURCE_EXHAUSTED", False),
        (422, "INVALID_ARGUMENT", False),
        (429, "RESOURCE_EXHAUSTED", True),
        (500, "INTERNAL", False),
        (503, "UNAVAILABLE", True),
        (504, "DEADLINE_EXCEEDED", False),
        (599, "INTERNAL", False),
    ],
)
def test_statuses_have_names(status: int, name: str, is_retryable: bool) -> None:
    error = http_failure(status, {}, b"")
    assert (error.status, error.code, error.is_retryable) == (name, name.lower(), is_retryable)


def test_facts_of_either_form_are_read() -> None:
    ours = http_failure(400, {}, b'{"error": {"code": "a", "message": "b", "where": "$", "hint": null}}')
    assert (ours.code, ours.problem, ours.where, ours.hint) == ("a", "b", "$", None)
    assert http_failure(400, {}, b'{"error": "text"}').problem == "text"
    assert http_failure(400, {}, b"[1]").problem == "HTTP 400"
    assert http_failure(400, {}, b"\xffplain").problem == "\ufffdplain"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1", 1.0), ("0.5", 0.5), (None, None), ("", None), ("Wed, 21 Oct 2026", None), ("-1", None), ("nan", None)],
)
def test_seconds_of_retry_after(text: str | None, seconds: float | None) -> None:
    assert read_seconds(text) == seconds


def test_what_happens_on_the_way_has_a_status() -> None:
    assert no_answer("h:1", "refused").is_retryable
    assert str(too_late("h:1", 0.5)) == "h:1: no answer within 0.5 s. Give it more time."
    assert not_understood("h:1", "no").code == "bad_answer"
