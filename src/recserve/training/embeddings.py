"""Embedding tables in training: from a batch of ids to the network's flat-form inputs.

A table belongs to its name, not to a feature: features with the same `table` share its rows. Pooling is defined as in
serving, for a bag of ids i₁ … iₖ (a row, or a step of a sequence) with rows v and weights w (1 where unweighted):

    sum    Σ wⱼ · v(iⱼ)
    mean   Σ wⱼ · v(iⱼ) / k     by the number of ids, not by the sum of weights (as TorchRec does); zeros if k = 0

An id outside 0 … V - 1 has a row of zeros, and still counts in k.

Axes: N rows of a batch, L steps of its longest sequence, V rows of a table.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from recserve.dtypes import F32
from recserve.errors import ConfigError
from recserve.features.outputs import OutputSpec
from recserve.training.batches import FeatureBatch, IdBags


class Embeddings(nn.Module):
    """One float32[V, dim] table per distinct table name.

    Args:
        outputs: the network's inputs; dense ones pass through.
        init_std: standard deviation of the normal distribution that rows are drawn from.
        sparse_from_rows: tables of at least so many rows get sparse gradients, which only touch the rows of a batch.

    Raises:
        ConfigError: a table has no known number of rows, or two features disagree about its rows or dim.
    """

    def __init__(
        self, outputs: Sequence[OutputSpec], *, init_std: float = 0.05, sparse_from_rows: int = 20_000
    ) -> None:
        super().__init__()
        self.outputs = tuple(outputs)
        shapes = table_shapes(outputs)
        self._places = {name: place for place, name in enumerate(shapes)}
        self._is_sparse = [rows >= sparse_from_rows for rows, _ in shapes.values()]
        # A list: names of tables may hold dots, which torch does not allow in names of parameters.
        self._rows = nn.ParameterList(torch.randn(shape) * init_std for shape in shapes.values())

    def forward(self, batch: FeatureBatch) -> dict[str, Tensor]:
        """The network's inputs, in flat form.

        Returns:
            {feature: float32[N, dim], or float32[N, L, dim] with zeros beyond the length; "<sequence>.lengths":
            int64[N]}.
        """
        inputs: dict[str, Tensor] = {}
        for spec in self.outputs:
            if spec.table is None:
                inputs[spec.name] = batch.dense[spec.name]
                continue
            place = self._places[spec.table]
            bags = batch.bags[spec.name]
            pooled = pool(self._rows[place], bags, spec.pooling, is_sparse=self._is_sparse[place])
            inputs[spec.name] = pooled if bags.steps is None else pooled.view(batch.size, bags.steps, spec.dim)
        for group, lengths in batch.lengths.items():
            inputs[f"{group}.lengths"] = lengths
        return inputs

    def sparse_parameters(self) -> list[nn.Parameter]:
        """The tables whose gradients are sparse; they need an optimiser made for that."""
        return [rows for rows, is_sparse in zip(self._rows, self._is_sparse, strict=True) if is_sparse]

    def tables(self) -> dict[str, F32]:
        """A copy of each table: {name: float32[V, dim]}."""
        return {name: self._rows[place].detach().numpy().copy() for name, place in self._places.items()}


def table_shapes(outputs: Sequence[OutputSpec]) -> dict[str, tuple[int, int]]:
    """{table: (V, dim)} in the order of first use.

    Raises:
        ConfigError: a table has no known number of rows, its ids are dynamic, or two features disagree about its shape.
    """
    shapes: dict[str, tuple[int, int]] = {}
    users: dict[str, str] = {}
    for spec in outputs:
        if spec.table is None:
            continue
        where = f"feature {spec.name!r}"
        if spec.is_dynamic:
            raise ConfigError(
                "has dynamic ids, which this trainer has no tables for",
                where=where,
                hint="Train with hash_bucket_size, or bring tables with signs that were trained elsewhere",
            )
        if not spec.rows:
            hint = "Declare num_buckets, hash_bucket_size, a vocabulary or boundaries"
            raise ConfigError(f"table {spec.table!r} has no known number of rows", where=where, hint=hint)
        shape = shapes.setdefault(spec.table, (spec.rows, spec.dim))
        user = users.setdefault(spec.table, spec.name)
        if shape != (spec.rows, spec.dim):
            raise ConfigError(
                f"wants table {spec.table!r} with {spec.rows} rows of {spec.dim}, but {user!r} has it with "
                f"{shape[0]} rows of {shape[1]}",
                where=where,
                hint="Features that share an embedding_name need the same id mapping and embedding_dim",
            )
    return shapes


def pool(rows: Tensor, bags: IdBags, pooling: str, *, is_sparse: bool = False) -> Tensor:
    """Pool each bag's rows, as this module's docstring defines it.

    Args:
        rows: float32[V, dim], the table.
        bags: B bags of ids.
        pooling: "sum" or "mean".
        is_sparse: give `rows` a sparse gradient.

    Returns:
        float32[B, dim].
    """
    is_known = (bags.ids >= 0) & (bags.ids < len(rows))
    ids, weights = bags.ids, bags.weights
    if not bool(is_known.all()):
        ids = torch.where(is_known, ids, 0)
        weights = is_known.to(rows.dtype) if weights is None else torch.where(is_known, weights, 0.0)
    pooled = functional.embedding_bag(
        ids, rows, bags.offsets, mode="sum", sparse=is_sparse, per_sample_weights=weights, include_last_offset=True
    )
    if pooling == "sum":
        return pooled
    sizes = bags.offsets.diff().clamp(min=1)
    return pooled / sizes.unsqueeze(1).to(rows.dtype)
