"""`recserve rank`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def rank(
    *,
    bundle: Annotated[str, typer.Argument(help="Bundle directory.", show_default=False)],
    request: Annotated[str, typer.Argument(help="JSON file with the request, or - for standard input.")] = "-",
    items: Annotated[Path | None, typer.Option(metavar="FILE", help="Items (Parquet or NDJSON).")] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Instead of the request's own top_k.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each network part.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as the server would give it.")] = False,
) -> None:
    """Rank one request without a server.

    The request is what the server takes: {"user": {...}, "context": {...}, "candidates": [...], "top_k": 10}.

    \b
    Example:
      echo '{"user": {}, "candidates": ["i1", "i2"]}' |
        recserve rank models/rank/7 --items items.parquet
    """  # noqa: D301 - \b keeps the lines of the example
    from dataclasses import replace

    from recserve.cli.bundles import resolve_bundle
    from recserve.cli.output import read_bytes
    from recserve.errors import ConfigError
    from recserve.ranker import Ranker
    from recserve.scored_model import ScoredRanker, is_scored_model, open_scored_model
    from recserve.serving.contract import RankerLike
    from recserve.serving.messages import Limits, decode_rank, encode_rank
    from recserve.serving.registry import Registry
    from recserve.serving.service import RankService

    call = decode_rank(read_bytes(request), Limits(max_candidates=10_000_000))
    call = call if top_k is None else replace(call, top_k=top_k)
    registry = Registry()
    folder, source = str(resolve_bundle(bundle)), None if items is None else str(items)
    ranker: RankerLike
    if is_scored_model(folder):
        scored = open_scored_model(folder, items=source)
        if not isinstance(scored, ScoredRanker):
            raise ConfigError("the model ranks no items: its inputs have no sides", where=folder)
        ranker = scored
    else:
        ranker = Ranker.open(folder, items=source, threads=threads)
    registry.publish(ranker)
    try:
        answer = RankService(registry).rank(ranker.name, None, call)
        if as_json:
            typer.echo(encode_rank(answer, call).decode())
        else:
            print_ranking(answer.result, answer.timings_us)
    finally:
        registry.close(timeout_s=0)


def print_ranking(result: Any, timings_us: Any) -> None:
    """Print a `RankResult` as a table, and below it the stage times and what was missing."""
    from recserve.cli.output import print_table

    version = result.version
    rows = zip(
        range(1, len(result.item_ids) + 1),
        result.item_ids,
        result.scores.tolist(),
        *(values.tolist() for values in result.outputs.values()),
        strict=True,
    )
    title = f"{version.model} version {version.version} (tables {version.table_epoch}, items {version.item_epoch})"
    print_table(title, ["rank", "item", "score", *result.outputs], rows)
    typer.echo("Stages, µs: " + ", ".join(f"{stage} {us:.0f}" for stage, us in timings_us.items()))
    if result.unknown_items:
        typer.echo(f"Unknown items, not scored: {_some(result.unknown_items)}")
    if result.missing_columns:
        typer.echo(f"Missing columns, taken as missing values: {_some(result.missing_columns)}")


def _some(values: Any, most: int = 10) -> str:
    shown = ", ".join(map(str, values[:most]))
    return shown if len(values) <= most else f"{shown} and {len(values) - most} more"
