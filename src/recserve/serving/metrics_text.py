"""Families of metrics: their text as Prometheus reads it, and the sum of those of several processes.

`prometheus_client` writes its own metrics only, adds `_total` to names that TensorFlow Serving's dashboards know
without it, and takes a lock for each sample; so the counters are plain numbers of ours, and this writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]
Sample = tuple[str, Mapping[str, str], float]
"""(suffix of the name, labels, value): `("_bucket", {"le": "1"}, 3.0)`."""

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Family:
    """One metric with all its series.

    Attributes:
        name: as Prometheus has it.
        kind: of the metric.
        help: one line for people.
        samples: its series.
        merges: how gauges of several processes become one.
    """

    name: str
    kind: Kind
    help: str
    samples: Sequence[Sample]
    merges: Literal["sum", "min", "max"] = "sum"


def histogram_samples(
    labels: Mapping[str, str], bounds: Sequence[float], counts: Sequence[int], total: float
) -> list[Sample]:
    """The samples of one series of a histogram.

    Args:
        labels: of the series.
        bounds: rising upper bounds.
        counts: observations by bucket, each bucket for itself; one more than bounds, for what is above the last.
        total: sum of the observations.
    """
    samples: list[Sample] = []
    below = 0
    for bound, count in zip((*bounds, float("inf")), counts, strict=True):
        below += count
        samples.append(("_bucket", {**labels, "le": _number(bound, "g")}, below))
    return [*samples, ("_sum", labels, total), ("_count", labels, below)]


def write_text(families: Iterable[Family]) -> str:
    """All families in Prometheus' text format, version 0.0.4."""
    lines = []
    for family in families:
        lines.append(f"# HELP {family.name} {_escaped(family.help, quote=False)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for suffix, labels, value in family.samples:
            inner = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
            braces = f"{{{inner}}}" if inner else ""
            lines.append(f"{family.name}{suffix}{braces} {_number(value)}")
    return "\n".join(lines) + "\n" if lines else ""


def merge_families(groups: Iterable[Iterable[Family]]) -> list[Family]:
    """One list of families for those of several processes: samples of one name and the same labels become one."""
    families: dict[str, Family] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for family in (family for group in groups for family in group):
        families.setdefault(family.name, family)
        series = values.setdefault(family.name, {})
        for suffix, labels, value in family.samples:
            key = (suffix, tuple(labels.items()))
            if key not in series:
                series[key] = value
            elif family.merges == "sum":
                series[key] += value
            else:
                series[key] = min(series[key], value) if family.merges == "min" else max(series[key], value)
    return [
        replace(family, samples=[(suffix, dict(labels), value) for (suffix, labels), value in values[name].items()])
        for name, family in families.items()
    ]


def _number(value: float, form: str = "") -> str:
    if value != value:  # noqa: PLR0124 - the one number that differs from itself
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    if form:
        return f"{value:{form}}"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))


def _escaped(text: str, *, quote: bool = True) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text
