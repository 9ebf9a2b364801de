"""`recserve openapi`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recserve.errors import ConfigError, suggest

DialectName = Annotated[str, typer.Option("--dialect", metavar="NAME", help="Of which port; all where not given.")]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="Write NAME.json here, not to standard output.")]


def openapi(dialect: DialectName = "", out: Out = None) -> None:
    """Print or write the OpenAPI documents of the HTTP ports.

    \b
    Example:
      recserve openapi --out docs/reference/openapi
    """  # noqa: D301 - \b keeps the lines of the example
    import orjson

    from recserve.serving.openapi import ROUTES, describe_port

    if dialect and dialect not in ROUTES:
        hint = suggest(dialect, ROUTES) or f"Dialects: {', '.join(ROUTES)}."
        raise ConfigError(f"there is no HTTP dialect {dialect!r}", where="--dialect", hint=hint)
    for name in [dialect] if dialect else ROUTES:
        text = orjson.dumps(describe_port(name), option=orjson.OPT_INDENT_2).decode()
        if out is None:
            typer.echo(text)
            continue
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{name}.json").write_text(text + "\n", encoding="utf-8")
