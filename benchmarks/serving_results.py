"""The result file of the serving benchmark: written after each step, so that a run can be done in parts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from results import Case, print_table, write_json

_MORE: Final = ("goodput_ratio", "goodput_ratio_by_cpu", "recovery_s", "p99_ratio", "rss_ratio", "version")


class Results:
    """What a run has measured, over what its file held before.

    Attributes:
        measured: by this run.
        failures: what was left out, and why.

    Args:
        path: of the file; None for none.
        header: of this run.
        keeps: whether to keep what the file holds and this run does not measure.
    """

    def __init__(self, path: Path | None, header: dict[str, Any], *, keeps: bool) -> None:
        self._path, self._header = path, header
        self._kept: dict[tuple[Any, ...], Case] = {}
        self.measured: list[Case] = []
        self.failures: list[str] = []
        if keeps and path is not None and path.exists():
            document = orjson.loads(path.read_bytes())
            other = document["header"].get("commit")
            for case in document["results"]:
                if other != header.get("commit"):
                    case.setdefault("commit", other)
                self._kept[_key(case)] = case

    def add(self, cases: Sequence[Case]) -> None:
        """Take results, in place of older ones of the same kind, and write the file."""
        for case in cases:
            self._kept[_key(case)] = case
        self.measured += cases
        write_json(self._path, self._header, list(self._kept.values()))

    def fail(self, why: str) -> None:
        """Say what was left out, now and at the end."""
        print(f"left out: {why}", file=sys.stderr)
        self.failures.append(why)

    def has(self, case: str, variant: str, traffic: str, n: int | None = None) -> bool:
        """Whether there is a result of this kind; with any number of candidates if None."""
        return any((c, v, t) == (case, variant, traffic) and n in {None, m} for c, v, m, t in self._kept)

    def show(self) -> None:
        """What this run has measured, for people."""
        columns = ("variant", "case", "n", "traffic", "req/s", "req/cpu-s", "items/s/core", "p50 µs", "p99 µs")
        keys = ("requests_per_s", "requests_per_cpu_s", "items_per_s_core", "p50_us", "p99_us", "not_200")
        rows = [
            [c["variant"], c["case"], str(c["n"]), c["traffic"]]
            + [f"{c[key]:,.0f}" if c.get(key) is not None else "" for key in keys]
            + [f"{c['decode_encode_share']:.1%}" if "decode_encode_share" in c else ""]
            for c in self.measured
        ]
        print_table("Serving", (*columns, "not 200", "decode + encode"), rows)
        for case in self.measured:
            more = {key: case[key] for key in _MORE if key in case}
            if len(more) > 1:
                print(case["traffic"], more)


def _key(case: Case) -> tuple[Any, ...]:
    return case["case"], case["variant"], case["n"], case["traffic"]
