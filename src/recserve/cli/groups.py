"""Commands with parts: `recserve features`, `recserve features diff`."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup


class DefaultGroup(TyperGroup):
    """A group whose first command needs no name: what is no name of a command are that command's arguments."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the first command's name in front where no command is named."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [next(iter(self.commands)), *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The help of the first command, then the names of all."""
        command = next(iter(self.commands.values()))
        command.format_help(typer.Context(command, info_name=ctx.info_name, parent=ctx.parent), formatter)
        self.format_commands(ctx, formatter)
