"""The published feature loads E1 and E2 as generated features, items and requests.

EasyRec Processor's CPU settings name how many features of each type a model has, nothing more: E1 has 67 id, 170 raw,
756 lookup features and 4 sequences of 32 side infos and length 50, for 100 items a request; E2 has 306 id, 77 raw, 60
lookup and 1,000 match features, for 150. **Everything else is our declaration:**

- half of the id and raw features are of the user, half of the item; all sequences and maps are of the user;
- lookups are every key of the item (18 columns, E2: 10) in every map of the user (42, E2: 6), the sum of the hits as a
  number; every fourth is cut at ten boundaries and embedded;
- matches are 20 pairs of the item's columns in 50 nested maps;
- maps hold about 30 pairs (20 to 50), nested maps about 8 outer keys with 5 inner ones; sequences have 50 steps;
- ids follow a Zipf law over 50,000 (keys of items and of maps: over 2,000, so that a good part of the lookups hits);
- embeddings have 8 numbers, those of buckets 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

ROWS: Final = 50_000
KEYS: Final = 2_000
STEPS: Final = 50
DIM: Final = 8
BUCKET_DIM: Final = 4
BOUNDARIES: Final = tuple(round(0.25 * (i + 1), 2) for i in range(10))
Entry = dict[str, Any]
Ids = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class FeatureLoad:
    """Numbers of features.

    Attributes:
        name: as in result files.
        items: candidates of a request.
        ids, raws: features of each type, half of them of the user.
        maps, keys: maps of the user and key columns of the item; each with each is a lookup feature.
        sequences, side_infos: sequence groups and features of each.
        nested, pairs: nested maps and pairs of item columns; each with each is a match feature.
        published: items a second and core of EasyRec Processor, whole model, another CPU.
    """

    name: str
    items: int
    ids: int
    raws: int
    maps: int
    keys: int
    sequences: int
    side_infos: int
    nested: int
    pairs: int
    published: int

    @property
    def user_ids(self) -> int:
        """Id features of the user."""
        return self.ids // 2

    @property
    def user_raws(self) -> int:
        """Raw features of the user."""
        return self.raws // 2

    @property
    def key_columns(self) -> int:
        """Columns of the item that lookups and matches read."""
        return max(self.keys, 2 * self.pairs and 20)

    def entries(self) -> list[Entry]:
        """The feature config."""
        sides = ["user" if i < self.user_ids else "item" for i in range(self.ids)]
        found: list[Entry] = [
            {
                "feature_type": "id_feature",
                "feature_name": f"id{i}",
                "expression": f"{side}:id{i}",
                "num_buckets": ROWS,
                "embedding_dim": DIM,
            }
            for i, side in enumerate(sides)
        ]
        sides = ["user" if i < self.user_raws else "item" for i in range(self.raws)]
        found += [
            {"feature_type": "raw_feature", "feature_name": f"raw{i}", "expression": f"{side}:raw{i}"}
            for i, side in enumerate(sides)
        ]
        found += [self._lookup(m, k) for m in range(self.maps) for k in range(self.keys)]
        found += [self._match(m, p) for m in range(self.nested) for p in range(self.pairs)]
        return found + [self._sequence(s) for s in range(self.sequences)]

    def is_bucketized(self, number: int) -> bool:
        """Whether lookup `number` is cut at boundaries."""
        return number % 4 == 3

    def _lookup(self, m: int, k: int) -> Entry:
        entry = {"feature_type": "lookup_feature", "map": f"user:map{m}", "key": f"item:key{k}", "combiner": "sum"}
        entry["feature_name"] = f"lookup{m}_{k}"
        if self.is_bucketized(m * self.keys + k):
            return entry | {"boundaries": list(BOUNDARIES), "embedding_dim": BUCKET_DIM, "default_value": ""}
        return entry

    def pair(self, p: int) -> tuple[int, int]:
        """The key columns of pair `p` of a match."""
        return p % self.key_columns, (p + 1) % self.key_columns

    def _match(self, m: int, p: int) -> Entry:
        outer, inner = self.pair(p)
        return {
            "feature_type": "match_feature",
            "feature_name": f"match{m}_{p}",
            "nested_map": f"user:nested{m}",
            "pkey": f"item:key{outer}",
            "skey": f"item:key{inner}",
        }

    def _sequence(self, s: int) -> Entry:
        steps = [
            {
                "feature_type": "id_feature",
                "feature_name": f"side{i}",
                "expression": f"user:side{i}",
                "num_buckets": ROWS,
                "embedding_dim": DIM,
            }
            for i in range(self.side_infos)
        ]
        return {"sequence_name": f"seq{s}", "sequence_delim": ";", "sequence_length": STEPS, "features": steps}

    def draw_items(self, count: int, rng: np.random.Generator) -> pa.Table:
        """An item table with the column item_id, 0 to count - 1."""
        table: dict[str, Any] = {"item_id": np.arange(count)}
        for i in range(self.user_ids, self.ids):
            table[f"id{i}"] = draw_ids(count, ROWS, rng)
        for i in range(self.user_raws, self.raws):
            table[f"raw{i}"] = rng.normal(size=count).astype(np.float32)
        for k in range(self.key_columns):
            table[f"key{k}"] = draw_ids(count, KEYS, rng)
        return pa.table(table)

    def draw_user(self, rng: np.random.Generator) -> dict[str, Any]:
        """The user's columns of one request, as decoded from JSON."""
        user: dict[str, Any] = {f"id{i}": int(draw_ids(1, ROWS, rng)[0]) for i in range(self.user_ids)}
        user |= {f"raw{i}": round(float(rng.normal()), 6) for i in range(self.user_raws)}
        for m in range(self.maps):
            keys = draw_ids(int(rng.integers(25, 65)), KEYS, rng).tolist()
            user[f"map{m}"] = {str(key): round(float(rng.gamma(1.0)), 3) for key in keys}
        for m in range(self.nested):
            user[f"nested{m}"] = _draw_nested(rng)
        for s in range(self.sequences):
            for i in range(self.side_infos):
                user[f"seq{s}__side{i}"] = draw_ids(STEPS, ROWS, rng).tolist()
        return user


def _draw_nested(rng: np.random.Generator) -> str:
    parts = []
    for outer in dict.fromkeys(draw_ids(14, KEYS, rng).tolist()):
        inner = dict.fromkeys(draw_ids(8, KEYS, rng).tolist())
        parts.append(f"{outer}^" + ",".join(f"{key}:{rng.gamma(1.0):.3f}" for key in inner))
    return "|".join(parts)


def draw_ids(count: int, rows: int, rng: np.random.Generator) -> Ids:
    """int64[count] in [0, rows), skewed as ids are."""
    return ((rng.zipf(1.2, size=count) - 1) % rows).astype(np.int64)


LOADS: Final = (
    FeatureLoad("E1", 100, 67, 170, 42, 18, 4, 32, 0, 0, 550),
    FeatureLoad("E2", 150, 306, 77, 6, 10, 0, 0, 50, 20, 2260),
)
