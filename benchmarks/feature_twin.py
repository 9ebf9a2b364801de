"""E1 and E2 in NumPy, as one writes them when only speed counts: integer keys, one gather for all features of a kind.

What is of the item alone is taken from rows that were made before, as the staged path does. Maps are scattered into a
dense row for each map, and read by all keys at once; pairs of nested maps are searched as sorted 64-bit codes.

Axes: N candidates, M maps, K keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from feature_loads import BOUNDARIES, BUCKET_DIM, DIM, KEYS, ROWS, STEPS, FeatureLoad
from recserve.tables.table import Table

Array = np.ndarray[Any, Any]


class NumpyFeatures:
    """One load. `run` gives float32 blocks in the order of the features."""

    def __init__(self, load: FeatureLoad, tables: Mapping[str, Table], items: pa.Table) -> None:
        self.load: Final = load
        self.user_table = _stacked([tables[_named(tables, f"id{i}")] for i in range(load.user_ids)], DIM)
        names = [f"seq{s}__side{i}" for s in range(load.sequences) for i in range(load.side_infos)]
        self.sequence_names: Final = names
        self.sequence_table = _stacked([tables[_named(tables, name)] for name in names], DIM)
        item_ids = [items.column(f"id{i}").to_numpy() for i in range(load.user_ids, load.ids)]
        rows = [tables[_named(tables, f"id{i + load.user_ids}")].rows[ids] for i, ids in enumerate(item_ids)]
        raws = [items.column(f"raw{i}").to_numpy()[:, None] for i in range(load.user_raws, load.raws)]
        self.item_rows = np.concatenate([*rows, *raws], axis=1).astype(np.float32)
        self.keys = np.stack([items.column(f"key{k}").to_numpy() for k in range(load.key_columns)], axis=1)
        pairs = np.array([load.pair(p) for p in range(load.pairs)], np.int64).reshape(-1, 2)
        self.pairs = self.keys[:, pairs[:, 0]] * KEYS + self.keys[:, pairs[:, 1]]
        self.dense = np.full((load.maps, KEYS), np.nan, np.float32)
        numbers = [m * load.keys + k for m in range(load.maps) for k in range(load.keys)]
        self.bucketized = np.array([load.is_bucketized(i) for i in numbers], bool)
        buckets = [f"lookup{i // load.keys}_{i % load.keys}" for i in numbers if load.is_bucketized(i)]
        self.bucket_table = _stacked([tables[_named(tables, name)] for name in buckets], BUCKET_DIM, with_zero=True)
        self.boundaries = np.array(BOUNDARIES, np.float32)

    def run(self, user: Mapping[str, Any], candidates: Sequence[int]) -> dict[str, Array]:
        """Blocks of all features of a request."""
        load, slots = self.load, np.array(candidates)
        ids = np.array([user[f"id{i}"] for i in range(load.user_ids)])
        blocks = {
            "user_ids": self.user_table[ids + np.arange(load.user_ids) * ROWS],
            "user_raws": np.array([user[f"raw{i}"] for i in range(load.user_raws)], np.float32),
            "items": self.item_rows[slots],
        }
        if load.sequences:
            steps = np.array([user[name] for name in self.sequence_names])
            blocks["sequences"] = self.sequence_table[steps + (np.arange(len(steps)) * ROWS)[:, None]]
        if load.maps:
            blocks["lookups"], blocks["buckets"] = self._look_up(user, self.keys[slots, : load.keys])
        if load.nested:
            blocks["matches"] = self._match(user, self.pairs[slots])
        return blocks

    def _look_up(self, user: Mapping[str, Any], keys: Array) -> tuple[Array, Array]:
        places = []
        for m, row in enumerate(self.dense):
            cell = user[f"map{m}"]
            codes = np.array(list(map(int, cell)))
            row[codes] = list(cell.values())
            places.append(codes)
        found = self.dense[:, keys]  # [M, N, K]
        for row, codes in zip(self.dense, places, strict=True):
            row[codes] = np.nan
        found = found.transpose(1, 0, 2).reshape(len(keys), -1)
        cut = found[:, self.bucketized]
        rows = np.searchsorted(self.boundaries, cut, side="right")
        rows[np.isnan(cut)] = len(BOUNDARIES) + 1  # the row of zeros
        offsets = np.arange(cut.shape[1]) * (len(BOUNDARIES) + 2)
        return np.nan_to_num(found[:, ~self.bucketized]), self.bucket_table[rows + offsets]

    def _match(self, user: Mapping[str, Any], pairs: Array) -> Array:
        out = np.zeros((self.load.nested, *pairs.shape), np.float32)
        for m in range(self.load.nested):
            codes, values = [], []
            for part in user[f"nested{m}"].split("|"):
                outer, _, inner = part.partition("^")
                base = int(outer) * KEYS
                for pair in inner.split(","):
                    key, _, value = pair.partition(":")
                    codes.append(base + int(key))
                    values.append(float(value))
            sorted_codes, order = np.unique(np.array(codes), return_index=True)
            at = np.searchsorted(sorted_codes, pairs)
            at[at == len(sorted_codes)] = 0
            hits = sorted_codes[at] == pairs
            out[m][hits] = np.array(values, np.float32)[order][at[hits]]
        return out


def check_twin(load: FeatureLoad, tensors: Mapping[str, Array], blocks: Mapping[str, Array]) -> None:
    """Both must have made the same numbers.

    Raises:
        AssertionError: they differ.
    """
    numbers = [(m, k) for m in range(load.maps) for k in range(load.keys)]
    plain = [f"lookup{m}_{k}" for m, k in numbers if not load.is_bucketized(m * load.keys + k)]
    cut = [f"lookup{m}_{k}" for m, k in numbers if load.is_bucketized(m * load.keys + k)]
    for i, name in enumerate(plain):
        np.testing.assert_array_equal(tensors[name][:, 0], blocks["lookups"][:, i], err_msg=name)
    for i, name in enumerate(cut):
        np.testing.assert_array_equal(tensors[name], blocks["buckets"][:, i], err_msg=name)
    for m in range(load.nested):
        for p in range(load.pairs):
            np.testing.assert_array_equal(tensors[f"match{m}_{p}"][:, 0], blocks["matches"][m, :, p])
    for i in range(load.user_ids):
        np.testing.assert_array_equal(tensors[f"id{i}"][0], blocks["user_ids"][i])
    items = [f"id{i}" for i in range(load.user_ids, load.ids)] + [f"raw{i}" for i in range(load.user_raws, load.raws)]
    np.testing.assert_array_equal(np.concatenate([tensors[name] for name in items], axis=1), blocks["items"])
    for i in range(load.sequences * load.side_infos):
        name = f"seq{i // load.side_infos}__side{i % load.side_infos}"
        np.testing.assert_array_equal(tensors[name][0, :STEPS], blocks["sequences"][i])


def _named(tables: Mapping[str, Table], feature: str) -> str:
    """The table of a feature, however the config names it."""
    return feature if feature in tables else f"{feature}_emb"


def _stacked(tables: Sequence[Table], dim: int, with_zero: bool = False) -> Array:
    """All tables under one another, each followed by a row of zeros if asked."""
    parts = []
    for table in tables:
        parts += [table.rows] + ([np.zeros((1, dim), np.float32)] if with_zero else [])
    return np.concatenate(parts) if parts else np.zeros((1, dim), np.float32)
