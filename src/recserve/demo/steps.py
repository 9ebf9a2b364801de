"""The steps of the demo on a terminal: what runs now, how far it is, and what each step took."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@dataclass(frozen=True)
class StepTime:
    """One finished step: its name, what it did, and its wall time in seconds."""

    name: str
    result: str
    seconds: float


@dataclass(eq=False)
class Step:
    """A running step.

    Attributes:
        result: what it did, in a few words; printed and kept when the step ends.
    """

    bar: Progress
    name: str
    result: str = ""

    def show(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Say what happens now, and how far it is of `total`."""
        self.bar.update(self.bar.task_ids[0], description=f"{self.name}: {text}", completed=done, total=total)

    def keep(self, text: str) -> None:
        """Print a line that stays."""
        self.bar.console.print(f"    {text}", style="dim", markup=False, highlight=False)


@dataclass(eq=False)
class Steps:
    """Runs steps one after the other and times them.

    Attributes:
        console: where they are shown.
        times: of the finished steps, in order.
    """

    console: Console
    times: list[StepTime] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """One step; nothing is kept of a step that fails."""
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(30), TimeElapsedColumn())
        start = perf_counter()
        with Progress(*columns, console=self.console, transient=True) as bar:
            bar.add_task(name, total=None)
            step = Step(bar, name)
            yield step
        seconds = perf_counter() - start
        self.times.append(StepTime(name, step.result, seconds))
        number = len(self.times)
        self.console.print(f"{number:2}. {name:<9} {step.result}  ({seconds:.1f} s)", markup=False, highlight=False)
