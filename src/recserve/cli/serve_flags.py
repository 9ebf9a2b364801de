"""The options of `recserve serve`, and how fields of a dataclass become options of a command."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import typer

from recserve.cli.operation_flags import OperationFlags
from recserve.cli.watch_flags import WatchFlags

T = TypeVar("T")


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
Materialise = Annotated[
    Literal["auto", "eager", "lazy"],
    typer.Option(
        help="Make the payloads of items before a version serves (eager), at first use and in the background (lazy), "
        "or lazily only what would take longer than the build allows (auto)."
    ),
]
Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")]
OwnPort = Annotated[
    int, typer.Option("--port", "--rest_api_port", help="Port of recserve's own dialect, where no --dialect is given.")
]
Threads = Annotated[int, typer.Option(min=1, help="Threads of each network part.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that serve the same models on the same ports.")]
HangTimeout = Annotated[
    float,
    typer.Option(min=0, help="Seconds without a sign of life after which a worker is replaced; 0 for never."),
]
StuckTimeout = Annotated[
    float,
    typer.Option(
        min=0,
        help="Seconds that a thread may work on after nobody waits for it; then the process is not ready, and a worker "
        "is replaced. 0 for ever.",
    ),
]
RankThreads = Annotated[
    int, typer.Option(min=0, help="Requests answered at once; 0 answers on the event loop, which then waits.")
]
MaxWaiting = Annotated[int, typer.Option(min=1, help="Requests that may wait; one more is answered 503.")]
MaxWait = Annotated[
    float, typer.Option(min=0, help="Seconds that a request may wait; one that would wait longer is answered 503.")
]
Batching = Annotated[
    bool, typer.Option("--batching", help="Let predict calls share batches, by TensorFlow Serving's defaults.")
]
BatchingFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The same, as a TensorFlow Serving batching file says."),
]
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


@dataclass(frozen=True)
class ServeFlags(WatchFlags, OperationFlags):
    """What `recserve serve` was called with; each field is an argument or an option of its name."""

    models: Models = None
    dialect: Dialects = None
    items: Items = None
    materialise: Materialise = "auto"
    host: Host = "127.0.0.1"
    port: OwnPort = 8501
    workers: Workers = 1
    hang_timeout: HangTimeout = 30.0
    stuck_timeout: StuckTimeout = 60.0
    threads: Threads = 1
    rank_threads: RankThreads = 1
    max_waiting: MaxWaiting = 256
    max_wait: MaxWait = 2.0
    batching: Batching = False
    batching_file: BatchingFile = None
    max_candidates: MaxCandidates = 20_000
    max_body_bytes: MaxBodyBytes = 32 << 20
    body_timeout: BodyTimeout = 30.0
    drain: Drain = 10.0
    cors: CrossOrigin = False
    log_records: LogRecords = None
    user_id_column: UserIdColumn = "user_id"


def takes_fields(kind: Callable[..., T]) -> Callable[[Callable[[T], None]], Callable[..., None]]:
    """Make a function of one dataclass a command whose options are the fields of the dataclass.

    Args:
        kind: a dataclass; each field has a default and an `Annotated` type with typer's words.
    """
    hints = get_type_hints(kind, include_extras=True)
    options = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(kind)  # type: ignore[arg-type] # a dataclass, as the docstring asks
    ]

    def decorate(function: Callable[[T], None]) -> Callable[..., None]:
        @wraps(function)
        def command(**values: Any) -> None:
            function(kind(**values))

        command.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined] # what typer reads
        command.__annotations__ = hints
        return command

    return decorate
