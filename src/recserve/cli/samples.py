"""`recserve samples`."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from recserve.samples.join import Goal

_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_GOAL: Final = re.compile(r"(?P<name>\w+)=(?P<event>[^:]+):(?P<count>[0-9]{1,9})(?P<unit>ms|s|m|h|d)")


def samples(
    *,
    records: Annotated[Path, typer.Argument(help="Folder or file of served records.", show_default=False)],
    events: Annotated[Path, typer.Argument(help="Folder or file of behaviour events.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Parquet file to write.", show_default=False)],
    goal: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=EVENT:WINDOW", help="A label, such as ctr=click:30m; repeatable.", show_default=False
        ),
    ],
    items: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Item columns (Parquet) of items that the records do not bring.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Join served records with behaviour events into training samples.

    One row per shown candidate, with the columns that the features saw and a label_<goal> each. Windows are in ms, s,
    m, h or d.

    \b
    Example:
      recserve samples logs/records logs/events --items items.parquet \\
        --goal ctr=click:30m --goal cvr=buy:7d --out samples.parquet
    """  # noqa: D301 - \b keeps the lines of the example
    from recserve.cli.output import print_json, print_table, read_parquet, write_parquet
    from recserve.errors import InvariantError
    from recserve.samples.duckdb import join
    from recserve.samples.events import read_events
    from recserve.samples.records import read_records

    goals = parse_goals(goal)
    joined = join(
        read_records(records), read_events(events), goals, items=None if items is None else read_parquet(items)
    )
    write_parquet(joined.table, out)
    if joined.report is None:
        raise InvariantError("the join gave no report")
    report = asdict(joined.report)
    if as_json:
        print_json({"out": str(out), "samples": len(joined), **report})
    else:
        positives = report.pop("positives")
        rows = [("samples", len(joined)), *report.items(), *((f"positives of {k}", n) for k, n in positives.items())]
        print_table(str(out), ["what", "count"], [(name.replace("_", " "), count) for name, count in rows])


def parse_goals(texts: list[str]) -> dict[str, Goal]:
    """Goals from `NAME=EVENT:WINDOW`.

    Raises:
        ConfigError: another form, or a goal twice.
    """
    from recserve.errors import ConfigError
    from recserve.samples.join import Goal

    goals: dict[str, Goal] = {}
    for text in texts:
        found = _GOAL.fullmatch(text)
        if found is None:
            raise ConfigError(f"cannot read {text!r}", where="--goal", hint="Write NAME=EVENT:WINDOW: ctr=click:30m.")
        if found["name"] in goals:
            raise ConfigError(f"goal {found['name']!r} twice", where="--goal")
        goals[found["name"]] = Goal(found["event"], int(found["count"]) * _UNITS_MS[found["unit"]])
    return goals
