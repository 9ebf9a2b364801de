"""Train ranking models in PyTorch on the features that the serving plan extracts, and export them (extra `train`).

`train` gives a `TrainedModel`, whose `export` gives the ONNX network in flat form and the tables: what a bundle is
built from. Names are loaded when first used, since torch takes seconds; `metrics`, `splits` and `popularity` do
without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from recserve.errors import ConfigError

if TYPE_CHECKING:
    from recserve.training.export import Exported, export_module
    from recserve.training.metrics import auc, gauc, log_loss
    from recserve.training.popularity import Popularity
    from recserve.training.progress import Progress, ProgressBar
    from recserve.training.splits import split_by_time
    from recserve.training.trainer import EpochResult, TrainedModel, Tuning, train

__all__ = [
    "EpochResult",
    "Exported",
    "Popularity",
    "Progress",
    "ProgressBar",
    "TrainedModel",
    "Tuning",
    "auc",
    "export_module",
    "gauc",
    "log_loss",
    "split_by_time",
    "train",
]

_HOMES: Final[dict[str, str]] = {
    "EpochResult": "trainer",
    "Exported": "export",
    "Popularity": "popularity",
    "Progress": "progress",
    "ProgressBar": "progress",
    "TrainedModel": "trainer",
    "Tuning": "trainer",
    "auc": "metrics",
    "export_module": "export",
    "gauc": "metrics",
    "log_loss": "metrics",
    "split_by_time": "splits",
    "train": "trainer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        home = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "onnxscript"):
            raise
        hint = "Install the extra: pip install 'recserve[train]'"
        raise ConfigError(f"training needs {error.name}, which is not installed", hint=hint) from error
    return getattr(home, name)
