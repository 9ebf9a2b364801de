"""recserve puts trained recommendation models online.

The names of `__all__` are loaded when they are first used: `import recserve` alone loads no heavy library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from recserve.bundle import Bundle
    from recserve.columns import Ragged
    from recserve.features.feature_set import FeatureSet
    from recserve.ranker import Ranker

__version__: Final = "0.1.0"

__all__ = ["Bundle", "FeatureSet", "Ragged", "Ranker"]

_HOMES: Final = {
    "Bundle": "recserve.bundle",
    "FeatureSet": "recserve.features.feature_set",
    "Ragged": "recserve.columns",
    "Ranker": "recserve.ranker",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'recserve' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
