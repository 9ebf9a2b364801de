"""What a feature hands to the network: its shape, its table and its rate."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from recserve.rates import Rate


class OutputKind(enum.Enum):
    """Layout of a feature's output."""

    DENSE = "dense"
    """np.ndarray float32[N, dim]."""
    SPARSE = "sparse"
    """Ragged of ids; the network sees the pooled rows, float32[N, dim]."""
    DENSE_SEQUENCE = "dense_sequence"
    """Ragged of float32[S, dim]; the network sees float32[N, L, dim], zero beyond the length."""
    SPARSE_SEQUENCE = "sparse_sequence"
    """Ragged of ids with steps; each step's rows are pooled, and the network sees float32[N, L, dim]."""


@dataclass(frozen=True)
class OutputSpec:
    """One feature as the network sees it.

    Attributes:
        name: of the feature; `<sequence>__<feature>` in a group. Also the name of the network's input.
        kind: see OutputKind.
        dim: embedding_dim if sparse, else value_dim; the last axis of the network's input.
        rate: how often the feature changes.
        table: name of its embedding table (`embedding_name`, default `<name>_emb`); None if dense.
        rows: number of rows of that table (`num_embeddings`); None if dense or unknown.
        pooling: "sum" or "mean", over the values of a row or of a step.
        is_weighted: each id comes with a float32 weight.
        sequence: of a sequence: the group whose `<sequence>.lengths` (int64[N]) it shares, its own name if plain.
        max_steps: longest sequence, None where unlimited or not a sequence.
        is_dynamic: its ids are any of [0, 2^63 - 1), of which a hashed table keeps some; `rows` is its capacity.
    """

    name: str
    kind: OutputKind
    dim: int
    rate: Rate
    table: str | None = None
    rows: int | None = None
    pooling: str = "sum"
    is_weighted: bool = False
    sequence: str | None = None
    max_steps: int | None = None
    is_dynamic: bool = False

    @property
    def is_sequence(self) -> bool:
        """The network's input has a step axis."""
        return self.kind in (OutputKind.DENSE_SEQUENCE, OutputKind.SPARSE_SEQUENCE)

    @property
    def is_sparse(self) -> bool:
        """The output are ids of rows of a table."""
        return self.table is not None
