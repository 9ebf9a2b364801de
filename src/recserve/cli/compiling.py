"""Says on standard error that kernels are being compiled: on a machine's first use that takes up to a minute."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from rich.status import Status

LOGGER: Final = "recserve.kernels"


class CompilationNotice(logging.Handler):
    """Shows the records of `recserve.kernels`: a spinner on a terminal, else a line at the start.

    A record with `is_end` ends what the one before began.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._status: Status | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record."""
        if self._status is not None:
            self._status.stop()
            self._status = None
        if getattr(record, "is_end", False):
            return
        if not sys.stderr.isatty():
            typer.echo(record.getMessage(), err=True)
            return
        from rich.console import Console
        from rich.text import Text

        self._status = Console(stderr=True).status(Text(record.getMessage()))
        self._status.start()


def show_compilation() -> None:
    """Show compilations of this process from now on."""
    logger = logging.getLogger(LOGGER)
    if not any(isinstance(handler, CompilationNotice) for handler in logger.handlers):
        logger.addHandler(CompilationNotice())
    logger.setLevel(logging.INFO)
    logger.propagate = False
