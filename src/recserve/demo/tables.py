"""The report on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from recserve.demo.report import DemoReport, LoopCheck

_HEADINGS = {"ctr": "click rate", "like": "like rate"}


def print_answer(report: DemoReport, console: Console) -> None:
    """The ranked items of the live request, and where its time went."""
    goals = list(report.live[0].outputs) if report.live else []
    names = ["rank", "item", "what it is", *goals, "popularity"]
    has_truth = any(item.truth is not None for item in report.live)
    rows = [
        [
            str(place),
            item.item_id,
            item.words,
            *(f"{item.outputs[goal]:.4f}" for goal in goals),
            f"{item.popularity:.4f}",
            *([f"{item.truth:.4f}"] if item.truth is not None else []),
        ]
        for place, item in enumerate(report.live, 1)
    ]
    _print(console, "The live request, as the server ranked it", [*names, *(["truth"] if has_truth else [])], rows)
    stages = ", ".join(f"{stage} {us:.0f}" for stage, us in report.stages_us.items())
    console.print(f"Stages of this request, µs: {stages}", highlight=False)
    latency = report.latency
    console.print(
        f"{latency.requests:,} requests of about {latency.candidates:,} candidates, one at a time, over HTTP: "
        f"P50 {latency.p50_ms:.2f} ms, P99 {latency.p99_ms:.2f} ms at the client",
        highlight=False,
    )


def print_quality(report: DemoReport, console: Console) -> None:
    """The model against the baseline and the truth."""
    rows = [
        [row.name, f"{row.auc:.4f}", f"{row.gauc:.4f}", "" if row.log_loss is None else f"{row.log_loss:.4f}"]
        for row in report.quality
    ]
    title = f"Quality on the {report.training.test_rows:,} samples of the test period ({_heading(report.goal)})"
    _print(console, title, ["by", "AUC", "GAUC", "log loss"], rows)
    if report.top is not None:
        top = report.top
        title = f"True click rate of the best {top.top} of {top.candidates}, mean over {top.users} live requests"
        _print(console, title, ["ranked by", "rate"], [[name, f"{rate:.4f}"] for name, rate in top.rates.items()])


def print_loop(loop: LoopCheck, console: Console) -> None:
    """The log of the server, read back."""
    console.print(
        f"The loop closes: {loop.records:,} records in the server's log; the one above gives {loop.samples} samples, "
        f"{loop.positives} of them positive.",
        highlight=False,
    )
    if loop.differing:
        console.print(f"Features differ between training and serving: {', '.join(loop.differing)}", style="bold red")
    else:
        console.print(
            f"Training = serving: {loop.values:,} values of {loop.features} features agree bit for bit; "
            f"scores of the flat network agree to {loop.score_gap:.1e}.",
            highlight=False,
        )


def print_steps(report: DemoReport, console: Console) -> None:
    """Where the time of the run went."""
    rows = [[step.name, f"{step.seconds:.1f}"] for step in report.steps]
    _print(console, "Seconds by step", ["step", "s"], [*rows, ["together", f"{report.seconds:.1f}"]])


def _heading(goal: str) -> str:
    return _HEADINGS.get(goal, goal)


def _print(console: Console, title: str, names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for name in names:
        is_text = name in ("item", "what it is", "by", "ranked by", "step")
        table.add_column(name, justify="left" if is_text else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print()
    console.print(table, markup=False, highlight=False)
