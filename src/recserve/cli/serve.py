"""`recserve serve`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
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


Models = Annotated[
    list[str] | None,
    typer.Argument(metavar="MODEL...", help="Directories: of a version, of a model, or of many models."),
]
Dialects = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME[:PORT][=MODEL]",
        help="A protocol, its port (0 for a free one) and the model of its paths that name none; repeatable. "
        + dialect_names(),
    ),
]
Items = Annotated[
    list[str] | None,
    typer.Option(metavar="[NAME=]FILE", help="Items (Parquet or NDJSON) of every ranker, or of one; repeatable."),
]
Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")]
OwnPort = Annotated[
    int, typer.Option("--port", "--rest_api_port", help="Port of recserve's own dialect, where no --dialect is given.")
]
Threads = Annotated[int, typer.Option(min=1, help="Threads of each network part.")]
RankThreads = Annotated[
    int, typer.Option(min=0, help="Requests answered at once; 0 answers on the event loop, which then waits.")
]
MaxWaiting = Annotated[int, typer.Option(min=1, help="Requests that may wait; one more is answered 503.")]
MaxCandidates = Annotated[int, typer.Option(min=1, help="Candidates of one request.")]
MaxBodyBytes = Annotated[int, typer.Option(min=1, help="Bytes of one request body.")]
BodyTimeout = Annotated[float, typer.Option(help="Seconds in which a body has to arrive.")]
Drain = Annotated[float, typer.Option(min=0, help="Seconds for running requests to end at SIGTERM.")]
CrossOrigin = Annotated[
    bool,
    typer.Option(
        "--cors/--no-cors",
        "--rest_api_enable_cors_support/--norest_api_enable_cors_support",
        help="Let web pages of any origin call the TensorFlow Serving routes.",
    ),
]
LogRecords = Annotated[Path | None, typer.Option(metavar="DIR", help="Log served records into this folder.")]
UserIdColumn = Annotated[str, typer.Option(help="User column with the user's id, for the records.")]


def serve(
    *,
    models: Models = None,
    dialect: Dialects = None,
    items: Items = None,
    host: Host = "127.0.0.1",
    port: OwnPort = 8501,
    threads: Threads = 1,
    rank_threads: RankThreads = 1,
    max_waiting: MaxWaiting = 256,
    max_candidates: MaxCandidates = 20_000,
    max_body_bytes: MaxBodyBytes = 32 << 20,
    body_timeout: BodyTimeout = 30.0,
    drain: Drain = 10.0,
    cors: CrossOrigin = False,
    log_records: LogRecords = None,
    user_id_column: UserIdColumn = "user_id",
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
    opener = partial(open_model, match_items(items or [], folders), threads)
    records = None if log_records is None else open_records(log_records, user_id_column)
    process = ServerProcess(options, opener, records=records, on_ready=lambda _: tell(process.addresses, bool(dialect)))
    process.run()


def open_model(items: Mapping[Path, str | None], threads: int, directory: str, name: str | None = None) -> ServedModel:
    """Open the directory of a version: a plain model where it holds a graph of its own, else a ranker's bundle.

    Args:
        items: the rankers' items by directory.
        threads: of each network part.
        directory: of the version.
        name: of the model, where that is not the directory's.
    """
    from recserve.plain_model import MODEL_FILE, open_plain_model

    if (Path(directory) / MODEL_FILE).exists():
        return open_plain_model(directory, threads, name)
    from recserve.ranker import Ranker

    say = partial(typer.echo, err=True)
    return Ranker.open(directory, items=items.get(Path(directory)), threads=threads, progress=say)


def tell(addresses: Mapping[str, str], is_named: bool) -> None:
    """Print a line for each port: `Serving NAME on URL`, or `Serving on URL` for the only one."""
    for name, address in addresses.items():
        typer.echo(f"Serving {name} on {address}" if is_named else f"Serving on {address}")
    sys.stdout.flush()


def open_records(folder: Path, user_id_column: str) -> RecordSink:
    """A sink that appends served records to files in a folder."""
    from recserve.cli.record_log import RecordLog
    from recserve.samples.writer import RecordWriter

    return RecordLog(RecordWriter(folder), user_id_column)
