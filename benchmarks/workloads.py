"""The published model shapes as workloads: features, network, items and requests.

Shapes are those of DeepRecSys (W&D, MT-WnD), BARS / FuxiCTR (DIN on taobaoad_x1, DeepFM on criteo_x4, MMoE) and a
two-tower model of common size. Criteo's fields are anonymous and DeepRecSys' inputs synthetic, so **which field is of
the user and which of the item is our declaration**. Tables are cut to `ROWS` rows each (published: up to 10 M) so that
all models fit into memory side by side; a lookup still misses the caches. Ids are drawn with a Zipf law.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from recserve.features.outputs import OutputSpec
from recserve.training.zoo import DeepFmConfig, DinConfig, MmoeConfig, TwoTowerConfig, WideDeepConfig, build_model

ROWS: Final = 100_000
HISTORY: Final = 50
Entry = dict[str, Any]
Outputs = Sequence[OutputSpec]


@dataclass(frozen=True)
class Workload:
    """One model with its data.

    Attributes:
        name: as in result files.
        entries: of the feature config.
        build: makes the network's module from the features.
        score: ranking expression.
    """

    name: str
    entries: list[Entry]
    build: Callable[[Outputs], nn.Module]
    score: str = "ctr"

    def columns(self, side: str) -> dict[str, str]:
        """{column: "id" | "raw" | "vector <width>" | "sequence" | "map"} of one side."""
        found: dict[str, str] = {}
        for entry in self.entries:
            for feature in entry.get("features", [entry]):
                prefix = f"{entry['sequence_name']}__" if "sequence_name" in entry else ""
                width = feature.get("value_dim", 1)
                kind = "raw" if width == 1 else f"vector {width}"
                kind = "sequence" if prefix else kind if feature["feature_type"] == "raw_feature" else "id"
                for key in ("expression", "map", "key"):
                    for source in np.atleast_1d(feature.get(key, [])).tolist():
                        of, _, column = str(source).partition(":")
                        of = "user" if prefix else of
                        if of == side:
                            found.setdefault(prefix + column, "map" if key == "map" else kind)
        return found

    def draw_items(self, count: int, rng: np.random.Generator) -> pa.Table:
        """An item table with the column item_id, 0 to count - 1."""
        table: dict[str, Any] = {"item_id": np.arange(count)}
        for column, kind in self.columns("item").items():
            if kind.startswith("vector"):
                width = int(kind.split()[1])
                flat = pa.array(rng.normal(size=count * width).astype(np.float32))
                table[column] = pa.FixedSizeListArray.from_arrays(flat, width).cast(pa.list_(pa.float32()))
            else:
                table[column] = rng.normal(size=count).astype(np.float32) if kind == "raw" else draw_ids(count, rng)
        return pa.table(table)

    def draw_user(self, rng: np.random.Generator) -> dict[str, Any]:
        """The user's columns of one request, as decoded from JSON."""
        user: dict[str, Any] = {}
        for column, kind in self.columns("user").items():
            if kind == "sequence":
                user[column] = draw_ids(HISTORY, rng).tolist()
            elif kind.startswith("vector"):
                user[column] = rng.normal(size=int(kind.split()[1])).round(6).tolist()
            elif kind == "map":
                user[column] = {str(k): round(float(rng.gamma(1.0)), 3) for k in draw_ids(50, rng).tolist()}
            else:
                user[column] = round(float(rng.normal()), 6) if kind == "raw" else int(draw_ids(1, rng)[0])
        return user


def draw_ids(count: int, rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.int64]]:
    """int64[count] in [0, ROWS), skewed as ids are."""
    return ((rng.zipf(1.2, size=count) - 1) % ROWS).astype(np.int64)


def id_features(side: str, count: int, dim: int, prefix: str = "f") -> list[Entry]:
    """`count` id features of one side."""
    return [
        {
            "feature_type": "id_feature",
            "feature_name": f"{side}_{prefix}{i}",
            "expression": f"{side}:{side}_{prefix}{i}",
            "num_buckets": ROWS,
            "embedding_dim": dim,
        }
        for i in range(count)
    ]


def raw_features(side: str, count: int) -> list[Entry]:
    """`count` dense features of one side."""
    return [
        {"feature_type": "raw_feature", "feature_name": f"{side}_d{i}", "expression": f"{side}:{side}_d{i}"}
        for i in range(count)
    ]


def vector_features(side: str, width: int) -> list[Entry]:
    """One dense vector of one side."""
    name = f"{side}_dense"
    return [{"feature_type": "raw_feature", "feature_name": name, "expression": f"{side}:{name}", "value_dim": width}]


def combo_features(count: int, dim: int) -> list[Entry]:
    """`count` crosses of a user id and an item id, hashed: candidate-rate features."""
    return [
        {
            "feature_type": "combo_feature",
            "feature_name": f"combo{i}",
            "expression": [f"user:user_f{i}", f"item:item_f{i}"],
            "hash_bucket_size": ROWS,
            "embedding_dim": dim,
        }
        for i in range(count)
    ]


def lookup_features(count: int) -> list[Entry]:
    """`count` dense lookups of an item id in a map of the user: candidate-rate features."""
    return [
        {
            "feature_type": "lookup_feature",
            "feature_name": f"lookup{i}",
            "map": f"user:user_map{i}",
            "key": f"item:item_f{i}",
        }
        for i in range(count)
    ]


class MultiTaskWideDeep(nn.Module):
    """MT-WnD of DeepRecSys: one trunk, then a tower for each task."""

    def __init__(self, outputs: Outputs, goals: Sequence[str]) -> None:
        super().__init__()
        self.names = [o.name for o in outputs]
        self.goals = list(goals)
        width = sum(o.dim for o in outputs)
        self.trunk = nn.Sequential(nn.Linear(width, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU())
        self.towers = nn.ModuleList(
            nn.Sequential(
                nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU()
            )
            for _ in goals
        )
        self.heads = nn.ModuleList(nn.Linear(128, 1) for _ in goals)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """{goal: float32[N]}."""
        hidden = self.trunk(torch.cat([inputs[name] for name in self.names], 1))
        pairs = zip(self.goals, self.towers, self.heads, strict=True)
        return {goal: torch.sigmoid(head(tower(hidden)))[:, 0] for goal, tower, head in pairs}


def _din_entries() -> list[Entry]:
    names = ("cate", "brand", "btag")
    item = [
        {
            "feature_type": "id_feature",
            "feature_name": name,
            "expression": f"item:{name}",
            "num_buckets": ROWS,
            "embedding_dim": 32,
            "embedding_name": f"{name}_emb",
        }
        for name in names
    ]
    steps = [
        {
            "feature_type": "id_feature",
            "feature_name": name,
            "expression": f"user:{name}",
            "num_buckets": ROWS,
            "embedding_dim": 32,
            "embedding_name": f"{name}_emb",
        }
        for name in names
    ]
    sequence = {"sequence_name": "click", "sequence_delim": ";", "sequence_length": HISTORY, "features": steps}
    return [*id_features("user", 9, 32), *id_features("item", 4, 32), *item, sequence]


WORKLOADS: Final[tuple[Workload, ...]] = (
    Workload(
        "wide_deep",
        [
            *id_features("user", 14, 32),
            *id_features("item", 11, 32),
            *combo_features(2, 32),
            *vector_features("user", 320),
            *vector_features("item", 192),
        ],
        lambda o: build_model("wide_deep", o, ("ctr",), WideDeepConfig(hidden=(1024, 512, 256))),
    ),
    Workload(
        "mt_wide_deep",
        [
            *id_features("user", 24, 32),
            *id_features("item", 17, 32),
            *combo_features(2, 32),
            *vector_features("user", 320),
            *vector_features("item", 192),
        ],
        lambda o: MultiTaskWideDeep(o, ("ctr", "cvr")),
        "ctr * cvr",
    ),
    Workload(
        "din",
        _din_entries(),
        lambda o: build_model("din", o, ("ctr",), DinConfig(attention=(512, 256), hidden=(512, 256))),
    ),
    Workload(
        "deepfm",
        [
            *id_features("user", 15, 16),
            *id_features("item", 9, 16),
            *combo_features(2, 16),
            *raw_features("user", 7),
            *raw_features("item", 4),
            *lookup_features(2),
        ],
        lambda o: build_model("deepfm", o, ("ctr",), DeepFmConfig(factor_dim=16, hidden=(1000,) * 5)),
    ),
    Workload(
        "mmoe",
        [*id_features("user", 11, 64), *id_features("item", 8, 64), *combo_features(1, 64)],
        lambda o: build_model(
            "mmoe",
            o,
            ("ctr", "cvr"),
            MmoeConfig(experts=8, expert_hidden=(512, 256, 128), gate_hidden=(128, 64), tower_hidden=(128, 64)),
        ),
        "ctr * cvr",
    ),
    Workload(
        "two_tower",
        [*id_features("user", 10, 64), *id_features("item", 10, 64)],
        lambda o: build_model(
            "two_tower", o, ("ctr",), TwoTowerConfig(dim=128, user_hidden=(512, 256), item_hidden=(512, 256))
        ),
    ),
)
