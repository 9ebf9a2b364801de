"""`recserve demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    *,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="MovieLens 100K instead of the simulated shop.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep everything in this new folder.", show_default="temporary")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Everything random follows from it.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Tiny: the whole path, figures without meaning.")] = False,
    keep_serving: Annotated[
        bool | None,
        typer.Option("--serve/--no-serve", help="Keep serving at the end.", show_default="where there is a terminal"),
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the server; 0 for a free one.")] = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures to this file.")
    ] = None,
) -> None:
    """Run the whole path: logs, samples, features, DIN, bundle, server, a ranked request, and its log read back.

    \b
    Example:
      recserve demo
      recserve demo --data ml-100k --out demo/
    """  # noqa: D301 - \b keeps the lines of the example
    from recserve.demo.options import DemoOptions

    options = DemoOptions(data, out, seed, quick, serve=keep_serving, port=port, json_file=json_file)
    from recserve.demo.run import run_demo

    run_demo(options)
