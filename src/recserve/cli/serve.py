"""`recserve serve`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import typer

from recserve.cli.operation_flags import read_operations
from recserve.cli.serve_flags import ServeFlags, takes_fields
from recserve.cli.watch_flags import lifecycle_options, warm_up

if TYPE_CHECKING:
    from recserve.serving.contract import RecordSink, ServedModel
    from recserve.serving.run import ServeOptions, ServerProcess
    from recserve.serving.workers.crew import Crew
    from recserve.serving.workers.seat import Seat


@takes_fields(ServeFlags)
def serve(flags: ServeFlags) -> None:
    """Serve rankers and plain models over HTTP.

    MODEL is <base>/<name>/<version>, <base>/<name> for its highest version, or <base> for every model below it. A
    version with a model.onnx is a plain model; any other is a bundle. Ends on SIGTERM or SIGINT after the running
    requests.

    \b
    Example:
      recserve serve models/rank/7 --items items.parquet --log-records logs/records
      curl localhost:8501/v1/models/rank:rank -d '{"user": {}, "candidates": ["i1", "i2"]}'
      recserve serve models --dialect tfs:8501 --dialect vertex:8080=ctr
      curl localhost:8501/v1/models/ctr:predict -d '{"instances": [[0.1, 0.2]]}'
    """  # noqa: D301 - \b keeps the lines of the example
    from recserve.serving.sagemaker.environment import container_start

    if not flags.models and not flags.dialect and (start := container_start(os.environ)):
        flags = replace(flags, models=start.models, dialect=start.dialects, host=start.host)
    if flags.workers > 1:
        supervise(flags)
        return
    process = build_process(flags, None, lambda _: tell(process.addresses, bool(flags.dialect)))
    process.run()


def read_options(flags: ServeFlags) -> tuple[ServeOptions, list[Path]]:
    """How to serve, and the directories of the versions that are named.

    Raises:
        ConfigError: an option is wrong.
    """
    from recserve.serving.batching.parameters import BatchingParameters, read_batching
    from recserve.serving.dialects import parse_port
    from recserve.serving.messages import Limits
    from recserve.serving.repository import find_versions
    from recserve.serving.run import ServeOptions

    folders = [folder for model in flags.models or [] for folder in find_versions(model)]
    batching = BatchingParameters() if flags.batching else None
    options = ServeOptions(
        bundles=[] if flags.watch else [str(folder) for folder in folders],
        lifecycle=lifecycle_options(flags, folders if flags.watch else [], flags.threads),
        state_dir=flags.state_dir,
        warm_up=warm_up(flags),
        answers_tensor_content=flags.tensor_content,
        host=flags.host,
        port=flags.port,
        ports=[parse_port(text) for text in flags.dialect or []],
        rank_threads=flags.rank_threads,
        max_waiting=flags.max_waiting,
        max_wait_s=flags.max_wait,
        batching=read_batching(flags.batching_file) if flags.batching_file else batching,
        stuck_s=flags.stuck_timeout,
        drain_s=flags.drain,
        allows_cross_origin=flags.cors,
        limits=Limits(flags.max_candidates, flags.max_body_bytes, flags.body_timeout),
        operations=read_operations(flags),
    )
    return options, folders


def build_process(
    flags: ServeFlags, seat: Seat | None, on_ready: Callable[[str], None], crew: Crew | None = None
) -> ServerProcess:
    """The serving process that the options ask for; of a worker where there is a seat."""
    from recserve.cli.bundles import match_items
    from recserve.serving.run import ServerProcess

    if seat is not None:  # a process of its own, which knows nothing of how the command set logging up
        logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
    options, folders = read_options(flags)
    items = match_items(flags.items or [], folders)
    opener = partial(open_model, items, flags.threads, materialise=flags.materialise)
    records = open_records(flags)
    return ServerProcess(options, opener, records=records, on_ready=on_ready, seat=seat, crew=crew)


def supervise(flags: ServeFlags) -> None:
    """Serve with several workers."""
    from recserve.serving.access_log import QueuedLogs

    with ExitStack() as shared:
        shared.callback(QueuedLogs("json" if flags.json_logs else "text").close)
        if flags.state_dir is None:  # what one worker is told to roll out or reload, all of them do
            folder = shared.enter_context(TemporaryDirectory(prefix="recserve-"))
            flags = replace(flags, state_dir=Path(folder))
        if flags.metrics_dir is None:
            counted = shared.enter_context(TemporaryDirectory(prefix="recserve-metrics-"))
            flags = replace(flags, metrics_dir=Path(counted))
        _supervise(flags)


def _supervise(flags: ServeFlags) -> None:
    from recserve.serving.run import address_of, bind
    from recserve.serving.workers.supervisor import Supervisor, share_ports

    options, folders = read_options(flags)
    if not flags.watch:  # a worker that starts later serves what the others do, also where there is more by then
        flags = replace(flags, models=[str(folder) for folder in folders] or flags.models)
    ports = options.listeners()
    http = {port.dialect: port.number for port in ports if port.kind.transport == "http"}
    others = {port.dialect: port.number for port in ports if port.kind.transport != "http"}
    seat, holders = share_ports(options.host, http, others, bind)
    addresses = {
        dialect: address_of(listener, has_tls=options.operations.tls is not None)
        for dialect, listener in seat.listeners.items()
    }
    addresses |= {dialect: f"{options.host}:{number}" for dialect, number in seat.ports.items()}
    in_order = {port.dialect: addresses[port.dialect] for port in ports}
    try:
        Supervisor(
            flags.workers,
            partial(build_process, flags),
            seat,
            drain_s=options.drain_s,
            on_ready=lambda: tell(in_order, bool(flags.dialect)),
            hang_s=flags.hang_timeout,
        ).run()
    finally:
        for opened in (*seat.listeners.values(), *holders):
            opened.close()


def serve_arguments(arguments: list[str]) -> list[str]:
    """The arguments of the command, with TensorFlow Serving's flags said in its own options.

    Raises:
        ConfigError: the value of such a flag is of the wrong kind.
    """
    from recserve.serving.tfs.flags import translate_flags

    translated = translate_flags(arguments, os.environ)
    for line in translated.warnings:
        typer.echo(f"WARNING: {line}", err=True)
    return translated.arguments


def open_model(
    items: Mapping[Path, str | None],
    threads: int,
    directory: str,
    name: str | None = None,
    *,
    materialise: str = "auto",
) -> ServedModel:
    """Open the directory of a version: a plain model where it holds a graph of its own, else a ranker's bundle.

    Args:
        items: the rankers' items by directory.
        threads: of each network part.
        directory: of the version.
        name: of the model, where that is not the directory's.
        materialise: when a ranker makes the payloads of its items.
    """
    from recserve.plain_model import has_plain_model, open_plain_model

    if has_plain_model(directory):
        return open_plain_model(directory, threads, name)
    from recserve.ranker import Ranker
    from recserve.scored_model.stored import is_scored_model

    say = partial(typer.echo, err=True)
    folder = Path(directory)
    by_model = {known.absolute().parent: file for known, file in items.items()}  # another version has the same items
    source = items.get(folder) or by_model.get(folder.absolute().parent)
    if is_scored_model(directory):
        from recserve.scored_model import open_scored_model

        return open_scored_model(directory, items=source, name=name)
    return Ranker.open(directory, items=source, threads=threads, progress=say, materialise=materialise)


def tell(addresses: Mapping[str, str], is_named: bool) -> None:
    """Print a line for each port: `Serving NAME on URL`, or `Serving on URL` for the only one."""
    for name, address in addresses.items():
        typer.echo(f"Serving {name} on {address}" if is_named else f"Serving on {address}")
    sys.stdout.flush()


def open_records(flags: ServeFlags) -> RecordSink | None:
    """A sink that appends served records to files in a folder, or None."""
    if flags.log_records is None:
        return None
    from recserve.cli.record_log import RecordLog
    from recserve.samples.writer import RecordWriter

    return RecordLog(RecordWriter(flags.log_records), flags.user_id_column, flags.record_rate)
