"""The commands under one name, and how their errors end the process."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import Final

import typer

from recserve.cli.bench import bench
from recserve.cli.build import build
from recserve.cli.compiling import show_compilation
from recserve.cli.demo import demo
from recserve.cli.explain import explain
from recserve.cli.features import features
from recserve.cli.import_model import import_model
from recserve.cli.openapi import openapi
from recserve.cli.rank import rank
from recserve.cli.rollout import rollout
from recserve.cli.samples import samples
from recserve.cli.serve import serve, serve_arguments
from recserve.cli.train import train
from recserve.errors import ConfigError, RecserveError, RequestError

FAILED: Final = 1
USAGE: Final = 2

_HELP: Final = """Put trained recommendation models online.

From logs to a ranked response: samples → train → build → serve. Each command's --help has an example."""

app: Final = typer.Typer(
    name="recserve",
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help texts hold <name> and [x], which markup would eat
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (demo, samples, train, build, serve, rank, rollout, openapi):
    app.command()(_command)
app.command("import")(import_model)
for _group in (features, explain):
    app.add_typer(_group)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(bench)


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(version("recserve"))
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
    ),
) -> None:
    del version  # its callback has done the work


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its exit code.

    Args:
        arguments: without the program's name; None takes those of the process.

    Raises:
        SystemExit: always, with the exit code.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
    show_compilation()
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["serve"]:
            given[1:] = serve_arguments(given[1:])
        app(given, prog_name="recserve")
    except RecserveError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(USAGE if isinstance(error, ConfigError | RequestError) else FAILED)
    except BrokenPipeError:
        # The reader of our output has gone. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
