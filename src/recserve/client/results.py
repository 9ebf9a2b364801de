"""What calls return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Prediction:
    """The outputs of a model.

    Attributes:
        outputs: tensor by output name. TensorFlow Serving's JSON tells neither dtypes nor the name of an only output:
            floats are float32 then, integers int64, and the only output is called `outputs`. Strings are object arrays:
            of `str` from that JSON, of `bytes` from every other wire.
        model: name of the model.
        version: that answered; None where the wire does not tell.
    """

    outputs: Mapping[str, Array]
    model: str
    version: int | None = None

    def __getitem__(self, name: str) -> Array:
        """An output."""
        return self.outputs[name]


@dataclass(frozen=True)
class VersionStatus:
    """The state of a version: START, LOADING, AVAILABLE, UNLOADING or END; `error_code` is OK unless it failed."""

    version: int
    state: str
    error_code: str = "OK"
    error_message: str = ""


@dataclass(frozen=True)
class VersionTuple:
    """What exactly answered a rank call."""

    model: str
    version: int
    table_epoch: int
    item_epoch: int


@dataclass(frozen=True)
class Ranking:
    """The answer to a rank call, best candidate first.

    Attributes:
        item_ids: K ids, all texts or all integers.
        scores: float32[K]; NaN where the model gave none.
        outputs: output → float32[K] or float32[K, k], aligned with `item_ids`.
        version: what exactly answered.
        request_id: the caller's, or the server's.
        unknown_items: candidates that were not scored.
        missing_columns: user and context columns that the request lacked.
        timings_us: stage → microseconds, where they were asked for.
        is_user_found: whether the server keeps the user that the call named; None where it named none.
        explanations: (id, lines of text) of the best candidates, where they were asked for.
    """

    item_ids: Sequence[str | int]
    scores: npt.NDArray[np.float32]
    outputs: Mapping[str, npt.NDArray[np.float32]]
    version: VersionTuple
    request_id: str = ""
    unknown_items: Sequence[str | int] = ()
    missing_columns: Sequence[str] = ()
    timings_us: Mapping[str, float] = field(default_factory=dict)
    is_user_found: bool | None = None
    explanations: Sequence[tuple[str | int, Sequence[str]]] = ()
