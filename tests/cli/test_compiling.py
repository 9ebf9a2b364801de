"""What the command line says while kernels are compiled."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from recserve.cli.compiling import LOGGER, CompilationNotice, show_compilation


@pytest.fixture
def kernels() -> Iterator[logging.Logger]:
    logger = logging.getLogger(LOGGER)
    before = logger.level, logger.propagate, list(logger.handlers)
    show_compilation()
    yield logger
    logger.level, logger.propagate, logger.handlers = before


def test_a_compilation_is_one_line_on_standard_error(kernels: logging.Logger, capsys: Any) -> None:
    kernels.info("Compiling %d kernels", 3)
    kernels.info("Compiled", extra={"is_end": True})
    written = capsys.readouterr()
    assert (written.out, written.err) == ("", "Compiling 3 kernels\n")


def test_a_terminal_shows_it_until_it_ends(
    kernels: logging.Logger, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    handler = next(handler for handler in kernels.handlers if isinstance(handler, CompilationNotice))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    kernels.info("Compiling [3] kernels")
    assert handler._status is not None
    assert str(handler._status.status) == "Compiling [3] kernels"
    kernels.info("Compiled", extra={"is_end": True})
    assert handler._status is None
    assert capsys.readouterr().out == ""


def test_it_is_shown_once_however_often_it_is_asked_for(kernels: logging.Logger, capsys: Any) -> None:
    show_compilation()
    kernels.info("Compiling")
    assert capsys.readouterr().err == "Compiling\n"
