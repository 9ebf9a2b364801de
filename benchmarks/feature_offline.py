"""The task of `feature_task` over a flat table, as training reads it: one row for each impression, maps of 10 pairs.

Every form starts from one Arrow table in memory and ends with 38 columns. NumPy and pandas flatten the maps and compare
integer codes, Polars and DuckDB have maps of their own.

Axes: N rows, P pairs over all rows.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_task import BUCKETS, EDGES, ITEM_NUMBERS, USER_NUMBERS, Array, draw_items

PAIRS: Final = 10
Form = Callable[[pa.Table], Any]
_RATIOS: Final = (("price", "mean_price"), ("sales", "mean_sales"))
_COMBOS: Final = (("city_brand", "city", "brand"), ("segment_cat", "segment", "cat"))


def draw_rows(count: int, rng: np.random.Generator) -> pa.Table:
    """N impressions: the columns of the item, the user and two maps."""
    table = draw_items(count, rng).drop_columns(["item_id"])
    for name in USER_NUMBERS:
        table = table.append_column(name, pa.array(np.round(rng.normal(size=count), 6)))
    for name, size in (("city", 300), ("segment", 20)):
        codes = pa.array(rng.integers(0, size, size=count).astype(np.int32))
        words = pa.array([f"{name[0]}{i}" for i in range(size)])
        table = table.append_column(name, pa.DictionaryArray.from_arrays(codes, words).cast(pa.string()))
    table = table.append_column("mean_price", pa.array(np.round(rng.uniform(1, 4, size=count), 3)))
    table = table.append_column("mean_sales", pa.array(rng.integers(100_000, 1_000_000, size=count).astype(np.float64)))
    for name, size in (("cat", 500), ("brand", 5_000)):
        # Consecutive keys from a skewed start: no key occurs twice in a map.
        starts = (rng.zipf(1.3, size=count) - 1) % size
        codes = (starts[:, None] + np.arange(PAIRS)) % size
        words = pa.array([f"{name[0]}{i}" for i in range(size)])
        keys = pa.DictionaryArray.from_arrays(pa.array(codes.reshape(-1).astype(np.int32)), words).cast(pa.string())
        values = pa.array(np.round(rng.gamma(1.0, size=count * PAIRS), 3))
        offsets = pa.array(np.arange(count + 1, dtype=np.int32) * PAIRS)
        table = table.append_column(f"{name}_map", pa.MapArray.from_arrays(offsets, keys, values))
    return table


def _pairs(table: pa.Table, name: str, words: pa.Array) -> tuple[Array, Array, Array]:
    """(row, code of the key, value) of all pairs of a map column."""
    column = table.column(f"{name}_map").combine_chunks()
    lengths = np.diff(column.offsets.to_numpy())
    codes = pc.index_in(column.keys, value_set=words).to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(lengths)), lengths), codes, column.items.to_numpy()


def numpy_form(table: pa.Table) -> dict[str, Array]:
    """NumPy over codes from Arrow's dictionary encoding."""
    out = {name: table.column(name).to_numpy().astype(np.float32) for name in (*USER_NUMBERS, *ITEM_NUMBERS)}
    codes = {}
    for name in ("cat", "brand", "city", "segment"):
        encoded = table.column(name).combine_chunks().dictionary_encode()
        codes[name] = encoded.indices.to_numpy()
        if name in ("cat", "brand"):
            row, key, value = _pairs(table, name, encoded.dictionary)
            hit = key == codes[name][row]
            score = np.zeros(len(table), np.float32)
            score[row[hit]] = value[hit]
            out[f"{name}_score"] = score
    for name, left, right in _COMBOS:
        mixed = codes[left].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + codes[right].astype(np.uint64)
        mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
        out[name] = (mixed >> np.uint64(3)) % np.uint64(BUCKETS)
    edges = np.array(EDGES, np.float32)
    for column, mean in _RATIOS:
        ratio = (table.column(column).to_numpy().astype(np.float64) / table.column(mean).to_numpy()).astype(np.float32)
        out[f"{column}_ratio"] = np.searchsorted(edges, ratio, side="right")
    return out


def polars_form(table: pa.Table) -> Any:
    """Polars: one lazy query."""
    pl: Any = importlib.import_module("polars")

    frame = pl.from_arrow(table)
    scores = (
        pl.col(f"{name}_map").map.get(pl.col(name)).cast(pl.Float32).fill_null(0.0).alias(f"{name}_score")
        for name in ("cat", "brand")
    )
    edges = pl.lit(pl.Series(EDGES, dtype=pl.Float32))
    return (
        frame.lazy()
        .select(
            *(pl.col(name).cast(pl.Float32) for name in (*USER_NUMBERS, *ITEM_NUMBERS)),
            *scores,
            *((pl.col(a) + "_" + pl.col(b)).hash().mod(BUCKETS).alias(name) for name, a, b in _COMBOS),
            *(
                edges.search_sorted((pl.col(a).cast(pl.Float64) / pl.col(b)).cast(pl.Float32), side="right").alias(
                    f"{a}_ratio"
                )
                for a, b in _RATIOS
            ),
        )
        .collect()
    )


def pandas_form(table: pa.Table) -> Any:
    """Pandas over Arrow's columns; maps as one long frame."""
    pd: Any = importlib.import_module("pandas")

    maps = [name for name in table.column_names if name.endswith("_map")]
    frame = table.drop_columns(maps).to_pandas(strings_to_categorical=True)
    out: dict[str, Any] = {name: frame[name].astype(np.float32) for name in (*USER_NUMBERS, *ITEM_NUMBERS)}
    for name in ("cat", "brand"):
        key = frame[name].cat
        row, code, value = _pairs(table, name, pa.array(key.categories))
        pairs = pd.DataFrame({"row": row, "code": code, "value": value})
        hits = pairs[pairs["code"].to_numpy() == key.codes.to_numpy()[row]]
        out[f"{name}_score"] = hits.groupby("row")["value"].sum().reindex(frame.index, fill_value=0.0)
    for name, left, right in _COMBOS:
        parts = frame[[left, right]]
        out[name] = pd.util.hash_pandas_object(parts, index=False) % BUCKETS
    edges = np.array(EDGES, np.float32)
    for column, mean in _RATIOS:
        ratio = (frame[column].astype(np.float64) / frame[mean]).to_numpy(np.float32)
        out[f"{column}_ratio"] = np.searchsorted(edges, ratio, side="right")
    return pd.DataFrame(out)


def duckdb_form(table: pa.Table) -> Any:
    """DuckDB: one statement, Arrow in and NumPy out."""
    duckdb: Any = importlib.import_module("duckdb")

    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    connection.register("given", table)
    edges = ", ".join(f"{edge}::FLOAT" for edge in EDGES)
    columns = [
        *(f"{name}::FLOAT AS {name}" for name in (*USER_NUMBERS, *ITEM_NUMBERS)),
        *(f"coalesce({name}_map[{name}], 0)::FLOAT AS {name}_score" for name in ("cat", "brand")),
        *(f"hash({a} || '_' || {b}) % {BUCKETS} AS {name}" for name, a, b in _COMBOS),
        *(
            f"list_count(list_filter([{edges}], lambda edge: edge <= ({a}::DOUBLE / {b})::FLOAT)) AS {a}_ratio"
            for a, b in _RATIOS
        ),
    ]
    return connection.execute(f"SELECT {', '.join(columns)} FROM given").fetchnumpy()  # noqa: S608


PEERS: Final[Mapping[str, Form]] = {
    "numpy": numpy_form,
    "polars": polars_form,
    "pandas": pandas_form,
    "duckdb": duckdb_form,
}
