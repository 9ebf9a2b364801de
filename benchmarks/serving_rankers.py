"""Models B and C as rankers in stages: the wire on which a request brings ids, and the server has the items' columns.

The network is the peers', weight by weight, and so are the scores. What differs is where its inputs come from:

- B: `user` comes with the request, once; `item` is a column of the item; `cross` is four embeddings of crosses of a
  user's and an item's id, which the server looks up. In `b_sent` the request brings `cross` for each candidate.
- C: `q` is the embedding of the item's key, `k` the embeddings of 40 keys that the request brings as the history, out
  of the same table; `fields` is a column of the item.

`RankTask.flat_inputs` gives what a peer has to be sent for the same scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pa_parquet

from recserve import Bundle, FeatureSet
from recserve.network.engine_choice import EngineOptions
from recserve.staging.precision import Precision
from recserve.staging.quality import QualityGate
from recserve.wire.ranking import RankRequest
from serving_models import DIM, STEPS, USED_STEPS, Array, save_b, save_c

ITEMS: Final = 20_000
KEYS: Final = 100_000
ENGINE_SECONDS: Final = 2.0
"""In which the build measures engines."""
_CROSSES: Final = ("gender_cate", "city_cate", "gender_brand", "city_brand")
_CROSS_DIM: Final = 16
_WIDE: Final = {"user": 352, "item": 192, "cross": 64, "fields": 320}
PRECISIONS: Final = ("fp32", "bf16", "int8")
KINDS: Final = ("b", "b_sent", "c")


@dataclass(frozen=True)
class RankTask:
    """A ranker and one request to it.

    Attributes:
        name: of the kind: "b", "b_sent" or "c".
        rows: candidates of the request.
        user: columns of the user, by name.
        item_ids: int64[rows].
        sent: columns that the request brings for each candidate, float32[rows, width] by name.
    """

    name: str
    rows: int
    user: Mapping[str, Any]
    item_ids: Array
    sent: Mapping[str, Array]

    def as_json(self) -> bytes:
        """The body of a `:rank` request."""
        candidates: Any = self.item_ids
        if self.sent:
            candidates = {"item_id": self.item_ids, **self.sent}
        return orjson.dumps({"user": dict(self.user), "candidates": candidates}, option=orjson.OPT_SERIALIZE_NUMPY)

    def as_grpc(self, model: str) -> bytes:
        """A `RankRequest` with packed ids and columns."""
        request = RankRequest(model=model)
        request.item_ids.int64_le = self.item_ids.tobytes()
        for name, cell in self.user.items():
            if not isinstance(cell, np.ndarray):
                request.user[name].text = cell
            elif cell.dtype == np.float32:
                request.user[name].list.float_le = cell.tobytes()
            else:
                request.user[name].list.int64_le = cell.tobytes()
        for name, column in self.sent.items():
            request.candidates[name].values.float_le = column.tobytes()
            request.candidates[name].lengths.extend([column.shape[1]] * len(column))
        return bytes(request.SerializeToString())

    def flat_inputs(self) -> Mapping[str, Array]:
        """What the peers' graph takes for the same scores, by input name."""
        items = _draw_items(self.name).take(self.item_ids)
        features = FeatureSet.from_fg_json({"features": _entries(self.name)})

        def column(name: str) -> Array:
            return np.stack(items.column(name).to_numpy())

        if self.name == "c":
            table = _draw_tables(features)["item_emb"]
            history = np.zeros((STEPS, DIM), np.float32)
            history[:USED_STEPS] = table[self.user["k__key"]]
            k = np.repeat(history[None], self.rows, axis=0)
            lengths = np.full(self.rows, USED_STEPS, np.int64)
            return {"q": table[column("key")], "k": k, "lengths": lengths, "fields": column("fields")}
        user = np.repeat(self.user["user"][None], self.rows, axis=0)
        cross = self.sent["cross"] if self.sent else _look_up_crosses(features, self, items)
        return {"user": user, "item": column("item"), "cross": cross}


def build_rankers(base: Path, only: str = "bc", precisions: tuple[str, ...] = PRECISIONS) -> list[str]:
    """Write `<base>/<kind>_<precision>/1` and `<base>/<kind>.parquet`, their items; returns the names of the models.

    Args:
        base: directory; what stands there already is kept.
        only: letters of the models to build.
        precisions: those of the network to build.
    """
    names = []
    for kind in (kind for kind in KINDS if kind[0] in only):
        features = FeatureSet.from_fg_json({"features": _entries(kind)})
        network = base / f"{kind}.onnx"
        if not network.exists():
            base.mkdir(parents=True, exist_ok=True)
            save = save_c if kind == "c" else save_b
            save(network, _network_inputs(kind))
        for precision in precisions:
            name = f"{kind}_{precision}"
            names.append(name)
            out = base / name / "1"
            if out.exists():
                continue
            Bundle.build(
                features=features,
                tables=_draw_tables(features),
                network=network,
                out=out,
                score="y",
                samples=_draw_samples(kind),
                engine=EngineOptions(seconds=ENGINE_SECONDS, candidates=500),
                precision=Precision(network=precision),
                gate=QualityGate(
                    max_difference=100.0
                ),  # its own drawn rows are wilder than ours, which are compared later
            )
        items = base / f"{kind}.parquet"
        if not items.exists():
            pa_parquet.write_table(_draw_items(kind), items)
    return names


def make_rank_task(kind: str, rows: int) -> RankTask:
    """A request of so many candidates, all different."""
    rng = np.random.default_rng(2)
    ids = rng.choice(ITEMS, size=rows, replace=False)
    if kind == "c":
        keys = rng.integers(0, KEYS, size=USED_STEPS)
        return RankTask(kind, rows, {"k__key": keys}, ids, {})
    user = {"user": rng.normal(size=_WIDE["user"]).astype(np.float32), "gender": "f", "city": "c17"}
    cross = rng.normal(size=(rows, _WIDE["cross"])).astype(np.float32)
    return RankTask(kind, rows, user, ids, {"cross": cross} if kind == "b_sent" else {})


def _look_up_crosses(features: FeatureSet, task: RankTask, items: pa.Table) -> Array:
    columns = {name: items.column(name) for name in ("item", "cate", "brand")}
    columns |= {name: [cell] * task.rows for name, cell in task.user.items()}
    tables, found = _draw_tables(features), features.compile().run(columns)
    return np.concatenate([tables[name + "_emb"][found[name].values] for name in _CROSSES], axis=1)


def _draw_samples(kind: str) -> dict[str, Any]:
    """Columns of requests, on which int8 finds the range of what goes through the network."""
    task = make_rank_task(kind, 256)
    items = _draw_items(kind).take(task.item_ids)
    columns: dict[str, Any] = {name: items.column(name) for name in items.column_names if name != "item_id"}
    columns |= {name: [cell] * task.rows for name, cell in task.user.items()}
    return columns | {name: list(cells) for name, cells in task.sent.items()}


def _entries(kind: str) -> list[dict[str, Any]]:
    if kind == "c":
        key = {"feature_type": "id_feature", "num_buckets": KEYS, "embedding_dim": DIM, "embedding_name": "item_emb"}
        steps = [key | {"feature_name": "key", "expression": "user:key"}]
        return [
            key | {"feature_name": "q", "expression": "item:key"},
            _vector("item", "fields"),
            {"sequence_name": "k", "sequence_delim": ";", "sequence_length": STEPS, "features": steps},
        ]
    if kind == "b_sent":
        return [_vector("user", "user"), _vector("item", "item"), _vector("candidate", "cross")]
    crosses = [
        {
            "feature_type": "combo_feature",
            "feature_name": name,
            "expression": [f"user:{name.split('_')[0]}", f"item:{name.split('_')[1]}"],
            "hash_bucket_size": KEYS,
            "embedding_dim": _CROSS_DIM,
        }
        for name in _CROSSES
    ]
    return [_vector("user", "user"), _vector("item", "item"), *crosses]


def _vector(side: str, name: str) -> dict[str, Any]:
    expression = f"{side}:{name}"
    return {"feature_type": "raw_feature", "feature_name": name, "expression": expression, "value_dim": _WIDE[name]}


def _network_inputs(kind: str) -> dict[str, tuple[str, ...]]:
    """What each input of the peers' graph is joined from."""
    match kind:
        case "b":
            return {"user": ("user",), "item": ("item",), "cross": _CROSSES}
        case "b_sent":
            return {"user": ("user",), "item": ("item",), "cross": ("cross",)}
        case _:
            return {"q": ("q",), "k": ("k__key",), "lengths": ("k.lengths",), "fields": ("fields",)}


def _draw_tables(features: FeatureSet) -> dict[str, Array]:
    rng = np.random.default_rng(3)
    shapes = {o.table: (o.rows or 0, o.dim) for o in features.outputs if o.table is not None}
    return {name: rng.standard_normal(size=shape, dtype=np.float32) for name, shape in shapes.items()}


def _draw_items(kind: str) -> pa.Table:
    rng = np.random.default_rng(4)
    table: dict[str, Any] = {"item_id": np.arange(ITEMS)}
    if kind == "c":
        table["key"] = rng.integers(0, KEYS, size=ITEMS)
    else:
        table |= {name: [f"{name}{n}" for n in rng.integers(0, 500, size=ITEMS)] for name in ("cate", "brand")}
    name = "fields" if kind == "c" else "item"
    flat = pa.array(rng.standard_normal(size=ITEMS * _WIDE[name], dtype=np.float32))
    table[name] = pa.FixedSizeListArray.from_arrays(flat, _WIDE[name]).cast(pa.list_(pa.float32()))
    return pa.table(table)
