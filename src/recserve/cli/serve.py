"""`recserve serve`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from recserve.serving.contract import RecordSink, ServedModel


def serve(
    *,
    bundles: Annotated[list[str], typer.Argument(metavar="BUNDLE...", help="Bundle directories.", show_default=False)],
    items: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]FILE", help="Items (Parquet or NDJSON) of every model, or of one; repeatable."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 for a free one.")] = 8501,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each network part.")] = 1,
    rank_threads: Annotated[
        int, typer.Option(min=0, help="Requests ranked at once; 0 ranks on the event loop, which then waits.")
    ] = 1,
    max_waiting: Annotated[int, typer.Option(min=1, help="Requests that may wait; one more is answered 503.")] = 256,
    max_candidates: Annotated[int, typer.Option(min=1, help="Candidates of one request.")] = 20_000,
    max_body_bytes: Annotated[int, typer.Option(min=1, help="Bytes of one request body.")] = 32 << 20,
    body_timeout: Annotated[float, typer.Option(help="Seconds in which a body has to arrive.")] = 30.0,
    drain: Annotated[float, typer.Option(min=0, help="Seconds for running requests to end at SIGTERM.")] = 10.0,
    log_records: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Log served records into this folder.")
    ] = None,
    user_id_column: Annotated[str, typer.Option(help="User column with the user's id, for the records.")] = "user_id",
) -> None:
    """Serve models over HTTP.

    BUNDLE is <base>/<name>/<version>, or <base>/<name> for its highest version. Ends on SIGTERM or SIGINT after the
    running requests.

    \b
    Example:
      recserve serve models/rank/7 --items items.parquet --log-records logs/records
      curl localhost:8501/v1/models/rank:rank -d '{"user": {}, "candidates": ["i1", "i2"]}'
    """  # noqa: D301 - \b keeps the lines of the example
    from recserve.cli.bundles import match_items, resolve_bundle
    from recserve.serving.messages import Limits
    from recserve.serving.run import ServeOptions, ServerProcess

    folders = [resolve_bundle(bundle) for bundle in bundles]
    sources = match_items(items or [], folders)
    options = ServeOptions(
        bundles=[str(folder) for folder in folders],
        host=host,
        port=port,
        rank_threads=rank_threads,
        max_waiting=max_waiting,
        drain_s=drain,
        limits=Limits(max_candidates, max_body_bytes, body_timeout),
    )

    def open_model(bundle: str) -> ServedModel:
        from recserve.ranker import Ranker

        say = partial(typer.echo, err=True)
        return Ranker.open(bundle, items=sources[Path(bundle)], threads=threads, progress=say)

    records = None if log_records is None else open_records(log_records, user_id_column)
    ServerProcess(options, open_model, records=records, on_ready=lambda url: typer.echo(f"Serving on {url}")).run()


def open_records(folder: Path, user_id_column: str) -> RecordSink:
    """A sink that appends served records to files in a folder."""
    from recserve.cli.record_log import RecordLog
    from recserve.samples.writer import RecordWriter

    return RecordLog(RecordWriter(folder), user_id_column)
