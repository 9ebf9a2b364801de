"""The living definition of a lookup: slow, obvious, in NumPy scalars. `kernels` is held to it bit for bit.

Axes: N rows, S steps, V values, L steps of the longest row.

The rules, where frameworks differ:

- An id outside the table, or a sign that the index lacks, is a row of zeros. It adds nothing, and a mean counts it.
- A mean divides by the number of ids, weighted or not (as FBGEMM does for TorchRec; torch.nn.EmbeddingBag takes no
  weights with a mean). A row without ids is zeros.
- Rows of any precision are read as float32 first, then weighted, then added in float32, in the order of the ids.
"""

from __future__ import annotations

import numpy as np

from recserve.columns import Ragged, offsets_of
from recserve.dtypes import F32, I64
from recserve.errors import InvariantError
from recserve.rows.reference import load_rows
from recserve.tables.table import Table


def row_of(table: Table, sign: int) -> F32:
    """float32[dim]: the row of an id or sign, zeros where there is none."""
    row: int | None = sign
    if table.index is not None:
        row = {int(s): int(r) for s, r in table.index.entries if r >= 0}.get(sign)
    if row is None or not 0 <= row < len(table.rows):
        return np.zeros(table.dim, np.float32)
    return np.array(load_rows(table.rows[row : row + 1], table.precision)[0], np.float32)


def pool(table: Table, ids: I64, lengths: I64, pooling: str = "sum", weights: F32 | None = None) -> F32:
    """Pool the rows of each row's ids.

    Args:
        table: to look up in.
        ids: int64[V] ids or signs.
        lengths: int64[N], ids of each row.
        pooling: "sum" or "mean".
        weights: float32[V], or None.

    Returns:
        float32[N, dim].
    """
    offsets = offsets_of(lengths)
    out = np.zeros((len(lengths), table.dim), np.float32)
    for n in range(len(lengths)):
        for i in range(offsets[n], offsets[n + 1]):
            row = row_of(table, int(ids[i]))
            out[n] += row if weights is None else weights[i] * row
        if pooling == "mean" and lengths[n] > 1:
            out[n] /= np.float32(lengths[n])
    return out


def pad(steps: F32, seq_lengths: I64, max_steps: int) -> F32:
    """Lay steps out by row, with zeros behind the last.

    Args:
        steps: float32[S, dim].
        seq_lengths: int64[N], steps of each row.
        max_steps: L; a longer row loses its last steps.

    Returns:
        float32[N, L, dim].
    """
    offsets = offsets_of(seq_lengths)
    out = np.zeros((len(seq_lengths), max_steps, steps.shape[1]), np.float32)
    for n in range(len(seq_lengths)):
        row = steps[offsets[n] : offsets[n + 1]][:max_steps]
        out[n, : len(row)] = row
    return out


def look_up(table: Table, feature: Ragged, pooling: str = "sum") -> F32:
    """float32[N, dim] of a feature, float32[N, L, dim] of a sequence; weighted where the feature has weights."""
    if feature.seq_lengths is None:
        return pool(table, feature.values, feature.lengths, pooling, feature.weights)
    if feature.key_lengths is None:
        raise InvariantError("a dense sequence has no ids to look up")
    steps = pool(table, feature.values, feature.key_lengths, pooling, feature.weights)
    return pad(steps, feature.seq_lengths, int(feature.seq_lengths.max(initial=0)))
