"""How far training is, and a bar that shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


@dataclass(frozen=True)
class Progress:
    """Where training stands after a batch.

    Attributes:
        epoch: from 1.
        epochs: the most that will run.
        batch: from 1, of this epoch.
        batches: of each epoch.
        loss: mean loss per row over this epoch so far.
    """

    epoch: int
    epochs: int
    batch: int
    batches: int
    loss: float


OnProgress = Callable[[Progress], None]
"""What `train` calls after each batch."""


class ProgressBar:
    """A terminal bar to hand to `train`: `with ProgressBar() as bar: train(..., progress=bar)`.

    Args:
        console: where to draw; standard error by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        self._bar = RichProgress(*columns, console=console or Console(stderr=True), transient=True)
        self._task = self._bar.add_task("training", total=None)

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Draw."""
        self._bar.update(
            self._task,
            description=f"epoch {progress.epoch}/{progress.epochs}  loss {progress.loss:.4f}",
            total=progress.epochs * progress.batches,
            completed=(progress.epoch - 1) * progress.batches + progress.batch,
        )
