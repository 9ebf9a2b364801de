"""One task in five libraries: 38 features of one user and 500 items, or of a million rows.

Features: 20 numbers of the user, 12 of the item (7 floats, 3 integers, 2 ids hashed before), 2 look-ups (`cat` and
`brand` in maps of the user with 50 pairs), 2 combinations of texts hashed into 1,000,000 buckets, 2 ratios cut at 19
edges. The result of a request is float32[N, 38] or 38 columns; offline 38 columns.

Each library hashes in its own way, so hashed columns are not compared; all others are, and must be equal. Each form was
written to be fast: integer keys and one matrix in NumPy, one lazy expression with a gather in Polars, arrays of codes
in pandas, one prepared statement with native maps in DuckDB.

Axes: N items or rows.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

Array = np.ndarray[Any, Any]
Request = tuple[dict[str, Any], list[int]]
Form = Callable[[dict[str, Any], list[int]], Any]

CATS: Final = 500
BRANDS: Final = 5_000
CITIES: Final = 300
SEGMENTS: Final = 20
BUCKETS: Final = 1_000_000
EDGES: Final = tuple(round(0.1 * (i + 1), 1) for i in range(19))
USER_NUMBERS: Final = tuple(f"u{i}" for i in range(20))
ITEM_NUMBERS: Final = ("price", *(f"f{i}" for i in range(6)), "stock", "age", "sales", "shop_hash", "seller_hash")
CROSS: Final = ("cat_score", "brand_score", "city_brand", "segment_cat", "price_ratio", "sales_ratio")
CHECKED: Final = ("price", "u0", "cat_score", "brand_score", "price_ratio", "sales_ratio")


def draw_items(count: int, rng: np.random.Generator) -> pa.Table:
    """The item table; `item_id` is 0 to count - 1."""
    table: dict[str, Any] = {"item_id": np.arange(count)}
    for name in ITEM_NUMBERS[:7]:
        table[name] = np.round(rng.gamma(2.0, size=count), 3).astype(np.float32)
    for name in ITEM_NUMBERS[7:]:
        table[name] = rng.integers(0, BUCKETS, size=count).astype(np.float32)
    for name, size in (("cat", CATS), ("brand", BRANDS)):
        table[name] = [f"{name[0]}{i}" for i in ((rng.zipf(1.3, size=count) - 1) % size).tolist()]
    return pa.table(table)


def draw_user(rng: np.random.Generator, pairs: int = 50) -> dict[str, Any]:
    """The user's columns of one request."""
    user: dict[str, Any] = {name: round(float(rng.normal()), 6) for name in USER_NUMBERS[:10]}
    user |= {name: int(rng.integers(0, 1000)) for name in USER_NUMBERS[10:]}
    user |= {"city": f"x{rng.integers(CITIES)}", "segment": f"s{rng.integers(SEGMENTS)}"}
    user |= {"mean_price": round(float(rng.uniform(1, 4)), 3), "mean_sales": float(rng.integers(100_000, 1_000_000))}
    for name, size in (("cat", CATS), ("brand", BRANDS)):
        keys = (rng.zipf(1.3, size=4 * pairs) - 1) % size
        kept = list(dict.fromkeys(keys.tolist()))[:pairs]
        user[f"{name}_map"] = {f"{name[0]}{key}": round(float(rng.gamma(1.0)), 3) for key in kept}
    return user


def entries(joins_user: bool = False) -> list[dict[str, Any]]:
    """The task as a feature config. The tables of the id features say that row i is the number i."""
    item = "user" if joins_user else "item"

    def raw(side: str, name: str) -> dict[str, Any]:
        return {"feature_type": "raw_feature", "feature_name": name, "expression": f"{side}:{name}"}

    def lookup(name: str) -> dict[str, Any]:
        source = {"map": f"user:{name}_map", "key": f"{item}:{name}"}
        return {"feature_type": "lookup_feature", "feature_name": f"{name}_score", **source, "combiner": "sum"}

    def combo(name: str, left: str, right: str) -> dict[str, Any]:
        source = {"expression": [f"user:{left}", f"{item}:{right}"], "hash_bucket_size": BUCKETS}
        return {"feature_type": "combo_feature", "feature_name": name, **source, "embedding_dim": 1}

    def ratio(name: str, column: str, mean: str) -> dict[str, Any]:
        source = {"expression": f"{column} / {mean}", "variables": [f"{item}:{column}", f"user:{mean}"]}
        cut = {"boundaries": list(EDGES), "embedding_dim": 1}
        return {"feature_type": "expr_feature", "feature_name": name, **source, **cut}

    return [
        *(raw("user", name) for name in USER_NUMBERS),
        *(raw(item, name) for name in ITEM_NUMBERS),
        lookup("cat"),
        lookup("brand"),
        combo("city_brand", "city", "brand"),
        combo("segment_cat", "segment", "cat"),
        ratio("price_ratio", "price", "mean_price"),
        ratio("sales_ratio", "sales", "mean_sales"),
    ]


def numpy_form(items: pa.Table) -> Form:
    """NumPy: keys as integers, one matrix."""
    numbers = np.stack([items.column(name).to_numpy() for name in ITEM_NUMBERS], axis=1)
    price, sales = numbers[:, 0].astype(np.float64), numbers[:, ITEM_NUMBERS.index("sales")].astype(np.float64)
    cat, brand = (_codes(items.column(name).to_pylist()) for name in ("cat", "brand"))
    maps = np.zeros(CATS, np.float32), np.zeros(BRANDS, np.float32)
    edges = np.array(EDGES, np.float32)

    def run(user: dict[str, Any], candidates: list[int]) -> Array:
        at = np.array(candidates)
        out = np.empty((len(at), 38), np.float32)
        out[:, :20] = [user[name] for name in USER_NUMBERS]
        out[:, 20:32] = numbers[at]
        cats, brands = cat[at], brand[at]
        for column, dense, keys, cell in ((32, maps[0], cats, "cat_map"), (33, maps[1], brands, "brand_map")):
            found = user[cell]
            codes = [int(key[1:]) for key in found]
            dense[codes] = list(found.values())
            out[:, column] = dense[keys]
            dense[codes] = 0
        out[:, 34] = _mixed(hash(user["city"]), brands)
        out[:, 35] = _mixed(hash(user["segment"]), cats)
        out[:, 36] = np.searchsorted(edges, (price[at] / user["mean_price"]).astype(np.float32), side="right")
        out[:, 37] = np.searchsorted(edges, (sales[at] / user["mean_sales"]).astype(np.float32), side="right")
        return out

    return run


def _mixed(seed: int, codes: Array) -> Array:
    """Buckets of integer codes combined with a seed."""
    mixed = (codes.astype(np.uint64) + np.uint64(seed & (2**64 - 1))) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(32)
    return mixed % np.uint64(BUCKETS)


def _codes(keys: Sequence[str]) -> Array:
    return np.array([int(key[1:]) for key in keys])


def polars_form(items: pa.Table) -> Form:
    """Polars: gather the rows, one lazy expression, one collect."""
    pl: Any = importlib.import_module("polars")

    frame = pl.from_arrow(items)
    edges = pl.lit(pl.Series(EDGES, dtype=pl.Float32))

    def bucket(column: str, mean: float) -> Any:
        ratio = (pl.col(column).cast(pl.Float64) / mean).cast(pl.Float32)
        return edges.search_sorted(ratio, side="right")

    def run(user: dict[str, Any], candidates: list[int]) -> Any:
        def score(name: str) -> Any:
            found = user[f"{name}_map"]
            return pl.col(name).replace_strict(list(found), list(found.values()), default=0.0, return_dtype=pl.Float32)

        return (
            frame[candidates]
            .lazy()
            .select(
                *(pl.lit(user[name], pl.Float32).alias(name) for name in USER_NUMBERS),
                *ITEM_NUMBERS,
                score("cat").alias("cat_score"),
                score("brand").alias("brand_score"),
                ((pl.lit(user["city"] + "_") + pl.col("brand")).hash() % BUCKETS).alias("city_brand"),
                ((pl.lit(user["segment"] + "_") + pl.col("cat")).hash() % BUCKETS).alias("segment_cat"),
                bucket("price", user["mean_price"]).alias("price_ratio"),
                bucket("sales", user["mean_sales"]).alias("sales_ratio"),
            )
            .collect()
        )

    return run


def pandas_form(items: pa.Table) -> Form:
    """Pandas: gather the rows, keys as categories."""
    pd: Any = importlib.import_module("pandas")

    frame = items.to_pandas()
    edges = np.array(EDGES, np.float32)
    numbers = frame[list(ITEM_NUMBERS)]

    def run(user: dict[str, Any], candidates: list[int]) -> Any:
        out = numbers.take(candidates)
        keys = {name: frame[name].take(candidates) for name in ("cat", "brand")}
        more: dict[str, Any] = {name: np.full(len(out), user[name], np.float32) for name in USER_NUMBERS}
        for name, key in keys.items():
            more[f"{name}_score"] = key.map(user[f"{name}_map"]).fillna(0.0).to_numpy(np.float32)
        for name, side, key in (("city_brand", "city", "brand"), ("segment_cat", "segment", "cat")):
            texts = (user[side] + "_" + keys[key]).to_numpy(object)
            more[name] = pd.util.hash_array(texts, categorize=False) % BUCKETS
        for column, mean in (("price", "mean_price"), ("sales", "mean_sales")):
            ratio = (out[column].to_numpy(np.float64) / user[mean]).astype(np.float32)
            more[f"{column}_ratio"] = np.searchsorted(edges, ratio, side="right")
        return pd.concat([out, pd.DataFrame(more, index=out.index)], axis=1)

    return run


def duckdb_form(items: pa.Table) -> Form:
    """DuckDB: one prepared statement over an indexed table; maps are native."""
    duckdb: Any = importlib.import_module("duckdb")

    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    connection.register("given", items)
    connection.execute("CREATE TABLE items AS SELECT * FROM given")
    connection.execute("CREATE UNIQUE INDEX by_id ON items (item_id)")
    edges = ", ".join(f"{edge}::FLOAT" for edge in EDGES)

    def bucket(column: str) -> str:
        value = f"({column}::DOUBLE / $mean_{column})::FLOAT"
        return f"list_count(list_filter([{edges}], lambda edge: edge <= {value})) AS {column}_ratio"

    columns = [
        *(f"${name}::FLOAT AS {name}" for name in USER_NUMBERS),
        *ITEM_NUMBERS,
        *(f"coalesce($map_{name}[{name}], 0)::FLOAT AS {name}_score" for name in ("cat", "brand")),
        f"hash($city || '_' || brand) % {BUCKETS} AS city_brand",
        f"hash($segment || '_' || cat) % {BUCKETS} AS segment_cat",
        bucket("price"),
        bucket("sales"),
    ]
    asked = "SELECT unnest($ids) AS item_id, generate_subscripts($ids, 1) AS place"
    query = f"WITH asked AS ({asked}) SELECT {', '.join(columns)} FROM asked JOIN items USING (item_id) ORDER BY place"  # noqa: S608

    def run(user: dict[str, Any], candidates: list[int]) -> Any:
        given = {name: user[name] for name in (*USER_NUMBERS, "city", "segment", "mean_price", "mean_sales")}
        for name in ("cat", "brand"):
            found = user[f"{name}_map"]
            given[f"map_{name}"] = {"key": list(found), "value": list(found.values())}
        return connection.execute(query, given | {"ids": candidates}).fetchnumpy()

    return run


PEERS: Final[Mapping[str, Callable[[pa.Table], Form]]] = {
    "numpy": numpy_form,
    "polars": polars_form,
    "pandas": pandas_form,
    "duckdb": duckdb_form,
}


def checked_columns(result: Any) -> dict[str, Array]:
    """The columns that all forms must agree on, float64[N]."""
    if isinstance(result, np.ndarray):
        names = [*USER_NUMBERS, *ITEM_NUMBERS, *CROSS]
        return {name: result[:, names.index(name)].astype(np.float64) for name in CHECKED}
    return {name: np.asarray(result[name], np.float64).reshape(-1) for name in CHECKED}
