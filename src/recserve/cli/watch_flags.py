"""Options of `recserve serve` for models whose versions come and go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from recserve.errors import ConfigError

if TYPE_CHECKING:
    from recserve.samples.records import ServedRecord
    from recserve.serving.lifecycle.options import LifecycleOptions
    from recserve.serving.lifecycle.warmup import RecordedCall, WarmUp

Base = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]DIR",
        help="Watch the versions of a model: an absolute path or a URI (s3://, gs://). NAME is else the last part of "
        "it. Repeatable.",
    ),
]
ConfigFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Watch the models of a TensorFlow Serving model_config_file.")
]
ConfigPoll = Annotated[float, typer.Option(min=0, help="Seconds between looks at that file; 0 reads it once.")]
Watch = Annotated[bool, typer.Option(help="Watch the directories of MODEL too, and follow their highest versions.")]
Poll = Annotated[float, typer.Option(help="Seconds between looks at a watched directory; 0 looks once, -1 never.")]
RemotePoll = Annotated[float, typer.Option(min=0, help="The least seconds between looks at a remote one.")]
Settle = Annotated[float, typer.Option(min=0, help="Seconds without a change after which a version counts as whole.")]
DoneMarker = Annotated[str, typer.Option(metavar="FILE", help="File in a version that says that it is whole.")]
Swap = Annotated[
    Literal["availability", "resource"],
    typer.Option(
        help="availability: load the new version beside the old one; resource: unload the old one first.",
    ),
]
LoadThreads = Annotated[int, typer.Option(min=0, help="Versions that load at once.")]
UnloadThreads = Annotated[int, typer.Option(min=0, help="Versions that close at once.")]
LoadRetries = Annotated[
    int, typer.Option(min=-1, help="Retries of a version that cannot be loaded, before its files change; -1: no end.")
]
RetrySeconds = Annotated[
    float, typer.Option(min=0, help="Seconds between such retries; 0 for growing ones, of 1 to 60 seconds.")
]
AnyLabel = Annotated[
    bool, typer.Option("--unavailable-labels", help="Let a label stand for a version that is not served (yet).")
]
StateDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Keep rollouts and reloaded configurations for the next start.")
]
CacheDir = Annotated[Path | None, typer.Option(metavar="DIR", help="Where remote versions are copied to.")]
IsWarmedUp = Annotated[bool, typer.Option(help="Answer the warm-up requests of a version before it serves.")]
WarmUpTimes = Annotated[int, typer.Option(min=1, help="How often each of them is answered.")]
WarmUpRecords = Annotated[
    Path | None, typer.Option(metavar="PATH", help="Let rankers answer these served records before they serve.")
]
TensorContent = Annotated[
    bool, typer.Option("--tensor-content", help="Answer TensorFlow's gRPC tensors as bytes; faster for both sides.")
]


@dataclass(frozen=True)
class WatchFlags:
    """The part of the options that says which versions are served, and when."""

    base: Base = None
    model_config_file: ConfigFile = None
    config_poll: ConfigPoll = 0.0
    watch: Watch = False
    poll: Poll = 1.0
    remote_poll: RemotePoll = 30.0
    settle: Settle = 2.0
    done_marker: DoneMarker = ""
    swap: Swap = "availability"
    load_threads: LoadThreads = 1
    unload_threads: UnloadThreads = 1
    load_retries: LoadRetries = -1
    retry_seconds: RetrySeconds = 0.0
    unavailable_labels: AnyLabel = False
    state_dir: StateDir = None
    cache_dir: CacheDir = None
    warm_up: IsWarmedUp = True
    warm_up_times: WarmUpTimes = 1
    warm_up_records: WarmUpRecords = None
    tensor_content: TensorContent = False


def lifecycle_options(flags: WatchFlags, watched: list[Path], network_threads: int) -> LifecycleOptions | None:
    """What is watched; None for nothing.

    Args:
        flags: of the command.
        watched: directories of versions of MODEL, of which the directories above are watched.
        network_threads: of each network part; loading has its low priority only where there is one, since the others
            would inherit it.

    Raises:
        ConfigError: a base without a name, or base directories beside a config file.
    """
    from recserve.serving.lifecycle.base import Arrival
    from recserve.serving.lifecycle.model_config import ModelConfig
    from recserve.serving.lifecycle.options import LifecycleOptions, Retries

    models = [ModelConfig(*parse_base(text)) for text in flags.base or []]
    models += [ModelConfig(folder.absolute().parent.name, str(folder.absolute().parent)) for folder in watched]
    if not models and flags.model_config_file is None:
        return None
    most = None if flags.load_retries < 0 else flags.load_retries
    wait_s = flags.retry_seconds
    return LifecycleOptions(
        models=models,
        config_file=flags.model_config_file,
        config_poll_s=flags.config_poll,
        poll_s=flags.poll,
        remote_poll_s=flags.remote_poll,
        arrival=Arrival(flags.settle, flags.done_marker),
        swap=flags.swap,
        load_threads=flags.load_threads,
        unload_threads=flags.unload_threads,
        is_nice=network_threads == 1,
        retries=Retries(wait_s, 1.0, wait_s, most) if wait_s else Retries(most=most),
        allows_unavailable_labels=flags.unavailable_labels,
        state_dir=flags.state_dir,
        cache_dir=flags.cache_dir,
    )


def parse_base(text: str) -> tuple[str, str]:
    """Read `[NAME=]DIR`: the name of the model and its base directory.

    Raises:
        ConfigError: there is no name in it.
    """
    name, equals, place = text.partition("=")
    if not equals or "/" in name:
        name, place = text.rstrip("/").rpartition("/")[2], text
    if not name or not place:
        raise ConfigError("names no model", where=f"--base {text}", hint="Write NAME=DIR.")
    return name, place if "://" in place else str(Path(place).absolute())


def warm_up(flags: WatchFlags) -> WarmUp | None:
    """What versions answer before they serve; None for nothing.

    Raises:
        DataError: the records cannot be read.
    """
    if not flags.warm_up:
        return None
    from recserve.serving.lifecycle.warmup import MAX_RECORDS, WarmUp

    if flags.warm_up_records is None:
        return WarmUp(flags.warm_up_times)
    from recserve.samples.records import decode_records, read_records

    table = read_records(flags.warm_up_records)
    latest = table.slice(max(0, table.num_rows - MAX_RECORDS))
    return WarmUp(flags.warm_up_times, [recorded_call(record) for record in decode_records(latest)])


def recorded_call(record: ServedRecord) -> RecordedCall:
    """The request of a served record; candidates that were not answered are not in it."""
    import numpy as np

    from recserve.serving.candidates import ITEM_ID
    from recserve.serving.lifecycle.warmup import RecordedCall

    ids = list(record.item_ids)
    columns = {name: list(cells) for name, cells in record.candidate_columns.items()}
    items = {
        ids[place]: {name: list(cells)[row] for name, cells in record.item_columns.items()}
        for row, place in enumerate(np.asarray(record.inline, np.int64).tolist())
    }
    candidates = {ITEM_ID: ids, **columns} if columns else ids
    return RecordedCall(record.model_name, record.user, record.context, candidates, items or None)
