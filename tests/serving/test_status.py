from __future__ import annotations

import importlib
import logging
import pkgutil
from collections.abc import Iterator

import orjson
import pytest

import recserve.errors
import recserve.serving
from recserve.errors import DataError, InvariantError, NotFoundError, OverloadedError, RecserveError
from recserve.serving.refusals import BodyTimeoutError, BodyTooLargeError, MethodNotAllowedError
from recserve.serving.status import STATUS, as_recserve_error, error_body, headers_of, logged_error, status_of


def subclasses(kind: type) -> Iterator[type]:
    yield kind
    for child in kind.__subclasses__():
        yield from subclasses(child)


def serving_modules() -> list[pkgutil.ModuleInfo]:
    return [module for module in pkgutil.iter_modules(recserve.serving.__path__) if not module.ispkg]


def test_every_error_class_of_the_tree_and_of_serving_is_mapped() -> None:
    for module in serving_modules():
        importlib.import_module(f"recserve.serving.{module.name}")
    # The packages of protocols have errors and statuses of their own.
    modules = {recserve.errors.__name__, *(f"recserve.serving.{module.name}" for module in serving_modules())}
    modules.add("recserve.serving.overload.turn")
    assert {kind for kind in subclasses(RecserveError) if kind.__module__ in modules} == set(STATUS)


def test_an_error_class_from_elsewhere_has_the_status_of_its_parent() -> None:
    class ColumnError(DataError):
        pass

    assert status_of(ColumnError("x")) == 400


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (DataError("x"), 400, []),
        (NotFoundError("x"), 404, []),
        (MethodNotAllowedError("x", allowed="POST"), 405, [(b"allow", b"POST")]),
        (BodyTimeoutError("x"), 408, [(b"connection", b"close")]),
        (BodyTooLargeError("x"), 413, [(b"connection", b"close")]),
        (InvariantError("x"), 500, []),
        (OverloadedError("x"), 503, [(b"retry-after", b"1")]),
    ],
)
def test_statuses_and_their_headers(error: RecserveError, status: int, headers: object) -> None:
    assert status_of(error) == status
    assert headers_of(error) == headers


def test_an_error_is_told_in_four_fields() -> None:
    error = DataError("expected float32, got '12,5'", where="$.candidates[3].price", hint="Send a number.")
    assert orjson.loads(error_body(error)) == {
        "error": {
            "code": "invalid_data",
            "message": "expected float32, got '12,5'",
            "where": "$.candidates[3].price",
            "hint": "Send a number.",
        }
    }


def test_text_that_is_not_unicode_does_not_break_the_error() -> None:
    assert orjson.loads(error_body(DataError("bad \udcff")))["error"]["message"] == "bad \\udcff"


def test_a_foreign_error_tells_the_caller_nothing_of_our_insides() -> None:
    error = as_recserve_error(KeyError("password"))
    assert str(error) == (
        "The server failed on this request (KeyError). This is a bug in recserve; the server's log has the traceback."
    )
    assert status_of(error) == 500


def test_only_foreign_errors_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    log, ours, foreign = logging.getLogger("recserve.serving"), NotFoundError("x"), KeyError("secret")
    assert logged_error(ours, log, "%s failed", "A call") is ours
    assert not caplog.records
    told = logged_error(foreign, log, "%s failed", "A call")
    assert isinstance(told, InvariantError)
    assert "secret" not in str(told)
    assert [(record.getMessage(), record.exc_info[1]) for record in caplog.records if record.exc_info] == [
        ("A call failed", foreign)
    ]
