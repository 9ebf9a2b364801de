"""Ragged arrays: the public form of feature values.

Axes: N rows of a batch, S steps over all rows of a sequence, V values over all rows.

A row of a scalar feature holds `lengths[n]` values; a row of a sequence holds `seq_lengths[n]` steps, and step s holds
`key_lengths[s]` values. Values are stored flat, in row order:

    lengths      [2,      1]        seq_lengths  [2,       1]
    values       [7, 9,   4]        key_lengths  [2,    1, 1]
                 row 0   row 1      values       [7, 9, 3, 4]
                                                 └step0┘ └1┘ └row 1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recserve.dtypes import F32, I64
from recserve.errors import InvariantError


@dataclass(frozen=True, eq=False)
class Ragged:
    """Values of a sparse feature or of a sequence, without padding.

    Attributes:
        values: int64[V] ids, str[V] tokens (dtype object), or float32[S, value_dim] of a dense sequence.
        lengths: int64[N], values of each row; of a dense sequence its steps.
        weights: float32[V] of a weighted feature, else None.
        key_lengths: int64[S] of a sparse sequence: values of each step; else None.
        seq_lengths: int64[N] of a sequence: steps of each row; else None.
    """

    values: npt.NDArray[Any]
    lengths: I64
    weights: F32 | None = None
    key_lengths: I64 | None = None
    seq_lengths: I64 | None = None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.lengths)

    @property
    def offsets(self) -> I64:
        """int64[N + 1]: row n is `values[offsets[n]:offsets[n + 1]]`."""
        return offsets_of(self.lengths)

    def check(self) -> None:
        """Raise InvariantError unless the lengths add up."""
        if int(self.lengths.sum()) != len(self.values):
            raise InvariantError(
                f"lengths add up to {int(self.lengths.sum())}, but there are {len(self.values)} values"
            )
        if self.weights is not None and len(self.weights) != len(self.values):
            raise InvariantError(f"{len(self.weights)} weights for {len(self.values)} values")
        if self.seq_lengths is not None:
            steps = len(self.values) if self.key_lengths is None else len(self.key_lengths)
            if int(self.seq_lengths.sum()) != steps:
                raise InvariantError(
                    f"seq_lengths add up to {int(self.seq_lengths.sum())}, but there are {steps} steps"
                )

    def row(self, n: int) -> npt.NDArray[Any]:
        """The values of row n."""
        offsets = self.offsets
        return self.values[offsets[n] : offsets[n + 1]]


def offsets_of(lengths: npt.NDArray[Any]) -> I64:
    """int64[N + 1] from int[N]: 0 and the running sum."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
