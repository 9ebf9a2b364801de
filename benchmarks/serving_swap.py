"""Versions of a ranker with large tables, for the swap of the serving benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import torch

from recserve import Bundle, FeatureSet
from recserve.training.export import export_module

ITEMS = 5000


class _Dot(torch.nn.Module):
    """A score of a user's and an item's embedding."""

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """{ctr: float32[N]}."""
        return {"ctr": torch.sigmoid((inputs["user_id"] * inputs["item_key"]).sum(-1))}


def build_version(out: Path, rows: int, folder: Path) -> Path:
    """Write a bundle whose two tables have `rows` rows of 16 numbers in all; returns the file of its items.

    Args:
        out: the directory of the version.
        rows: 64 bytes each.
        folder: for what is written beside it.
    """
    half = rows // 2
    entries = [
        {
            "feature_name": name,
            "feature_type": "id_feature",
            "expression": source,
            "num_buckets": half,
            "embedding_dim": 16,
        }
        for name, source in (("user_id", "user:user_id"), ("item_key", "item:key"))
    ]
    features = FeatureSet.from_fg_json({"features": entries})
    rng = np.random.default_rng(0)
    block = rng.normal(size=(min(half, 1 << 16), 16), scale=0.1).astype(np.float32)
    table = np.resize(block, (half, 16))
    tables = {o.table: table for o in features.outputs if o.table is not None}
    network = export_module(_Dot(), features.outputs, folder)
    named = folder / "building" / "rank" / out.name
    Bundle.build(features=features, tables=tables, network=network, out=named, score="ctr")
    out.parent.mkdir(parents=True, exist_ok=True)
    named.rename(out)
    items = folder / "items.parquet"
    keys = rng.integers(0, half, size=ITEMS)
    pa_parquet.write_table(pa.table({"item_id": [f"i{n}" for n in range(ITEMS)], "key": keys}), items)
    return items
