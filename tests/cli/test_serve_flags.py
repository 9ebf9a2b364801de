from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from recserve.cli.serve_flags import ServeFlags, dialect_names, takes_fields


@dataclass(frozen=True)
class Flags:
    names: Annotated[list[str] | None, typer.Argument(help="Names.")] = None
    how_often: Annotated[int, typer.Option(min=1)] = 2


def test_the_fields_of_a_dataclass_are_the_options_of_a_command() -> None:
    seen: list[Flags] = []

    @takes_fields(Flags)
    def greet(flags: Flags) -> None:
        """Greet."""
        seen.append(flags)

    app = typer.Typer()
    app.command()(greet)
    assert CliRunner().invoke(app, ["a", "b", "--how-often", "3"]).exit_code == 0
    assert CliRunner().invoke(app, []).exit_code == 0
    assert seen == [Flags(["a", "b"], 3), Flags()]
    refused = CliRunner().invoke(app, ["--how-often", "0"])
    assert refused.exit_code == 2
    assert "greater than or equal to 1" in " ".join(refused.output.split())


def test_the_command_serves_what_its_defaults_say() -> None:
    assert (ServeFlags().host, ServeFlags().port) == ("127.0.0.1", 8501)
    assert "tfs (8501): TensorFlow Serving REST" in dialect_names()
