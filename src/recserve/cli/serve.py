"""`recserve serve`."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from recserve.serving.contract import RecordSink, ServedModel


def dialect_names() -> str:
    """The dialects with their usual ports, for the help."""
    from recserve.serving.dialects import DIALECTS

    return "NAME is one of " + "; ".join(f"{name} ({row.port}): {row.summary}" for name, row in DIALECTS.items()) + "."


def serve(
    *,
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL...", help="Directories: of a version, of a model, or of many models."),
    ] = None,
    dialect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:PORT][=MODEL]",
            help="A protocol, its port (0 for a free one) and the model of its paths that name none; repeatable. "
            + dialect_names(),
        ),
    ] = None,
    items: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]FILE", help="Items (Parquet or NDJSON) of every ranker, or of one; repeatable."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option("--port", "--rest_api_port", help="Port of recserve's own dialect, where no --dialect is given."),
    ] = 8501,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each network part.")] = 1,
    rank_threads: Annotated[
        int, typer.Option(min=0, help="Requests answered at once; 0 answers on the event loop, which then waits.")
    ] = 1,
    max_waiting: Annotated[int, typer.Option(min=1, help="Requests that may wait; one more is answered 503.")] = 256,
    max_candidates: Annotated[int, typer.Option(min=1, help="Candidates of one request.")] = 20_000,
    max_body_bytes: Annotated[int, typer.Option(min=1, help="Bytes of one request body.")] = 32 << 20,
    body_timeout: Annotated[float, typer.Option(help="Seconds in which a body has to arrive.")] = 30.0,
    drain: Annotated[float, typer.Option(min=0, help="Seconds for running requests to end at SIGTERM.")] = 10.0,
    cors: Annotated[
        bool,
        typer.Option(
            "--cors/--no-cors",
            "--rest_api_enable_cors_support/--norest_api_enable_cors_support",
            help="Let web pages of any origin call the TensorFlow Serving routes.",
        ),
    ] = False,
    log_records: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Log served records into this folder.")
    ] = None,
    user_id_column: Annotated[str, typer.Option(help="User column with the user's id, for the records.")] = "user_id",
) -> None:
    """Serve rankers and plain models over HTTP.

    MODEL is <base>/<name>/<version>, <base>/<name> for its highest version, or <base> for every model below it. A
    version with a model.onnx is a plain model; any other is a bundle. Ends on SIGTERM or SIGINT after the running
    requests.

    \b
    Examples:
      recserve serve models/rank/7 --items items.parquet --log-records logs/records
      curl localhost:8501/v1/models/rank:rank -d '{"user": {}, "candidates": ["i1", "i2"]}'
      recserve serve models --dialect tfs:8501 --dialect vertex:8080=ctr
      curl localhost:8501/v1/models/ctr:predict -d '{"instances": [[0.1, 0.2]]}'
    """  # noqa: D301 - \b keeps the lines of the example
    from recserve.cli.bundles import match_items
    from recserve.serving.dialects import parse_port
    from recserve.serving.messages import Limits
    from recserve.serving.repository import find_versions
    from recserve.serving.run import ServeOptions, ServerProcess
    from recserve.serving.sagemaker.environment import container_start

    if not models and not dialect and (start := container_start(os.environ)):
        models, dialect, host = start.models, start.dialects, start.host
    folders = [folder for model in models or [] for folder in find_versions(model)]
    sources = match_items(items or [], folders)
    options = ServeOptions(
        bundles=[str(folder) for folder in folders],
        host=host,
        port=port,
        ports=[parse_port(text) for text in dialect or []],
        rank_threads=rank_threads,
        max_waiting=max_waiting,
        drain_s=drain,
        allows_cross_origin=cors,
        limits=Limits(max_candidates, max_body_bytes, body_timeout),
    )

    def open_model(directory: str, name: str | None = None) -> ServedModel:
        from recserve.plain_model import MODEL_FILE, open_plain_model

        if (Path(directory) / MODEL_FILE).exists():
            return open_plain_model(directory, threads, name)
        from recserve.ranker import Ranker

        say = partial(typer.echo, err=True)
        return Ranker.open(directory, items=sources.get(Path(directory)), threads=threads, progress=say)

    def tell(_: str) -> None:
        for name, address in process.addresses.items():
            typer.echo(f"Serving {name} on {address}" if dialect else f"Serving on {address}")
        sys.stdout.flush()

    records = None if log_records is None else open_records(log_records, user_id_column)
    process = ServerProcess(options, open_model, records=records, on_ready=tell)
    process.run()


def open_records(folder: Path, user_id_column: str) -> RecordSink:
    """A sink that appends served records to files in a folder."""
    from recserve.cli.record_log import RecordLog
    from recserve.samples.writer import RecordWriter

    return RecordLog(RecordWriter(folder), user_id_column)
