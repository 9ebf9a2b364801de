"""What all tests share: drawn inputs, the folders beside the clone, and models over every kind of feature."""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from recserve.features.feature_set import FeatureSet
    from recserve.staging.flat import FlatPipeline

# No deadline: the first example of a test may compile kernels. RECSERVE_EXAMPLES=2000 searches longer.
# CI draws the same inputs each time, so that a red run is about the change; every other run draws new ones.
# How long drawing takes is about the machine and what else it does, never about the test.
settings.register_profile(
    "recserve",
    deadline=None,
    max_examples=int(os.environ.get("RECSERVE_EXAMPLES", "100")),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,
)
settings.load_profile("recserve")


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Name bytes after their argument: what a library packs may differ by process, and all must collect alike."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, then those with most tests, so that no process is left alone with a long one."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    count = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path not in slow, -count[item.path]))  # stable: a file stays together


def pytest_runtest_setup() -> None:
    """Keep torch's table of ONNX operators: each export makes it again, from the source of 500 functions."""
    made = sys.modules.get("torch.onnx._internal.exporter._registration")
    if made is not None and not hasattr(made.ONNXRegistry.from_torchlib, "cache_info"):
        made.ONNXRegistry.from_torchlib = staticmethod(functools.cache(made.ONNXRegistry.from_torchlib))


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} names no folder")
    folder = Path(value)
    if not folder.is_dir():
        pytest.fail(f"{variable} is {value!r}, which is no folder")
    return folder.resolve()


@pytest.fixture(scope="session")
def conformance() -> Path:
    """The folder of answers of other systems, named by RECSERVE_CONFORMANCE; without it the test is skipped."""
    return _folder("RECSERVE_CONFORMANCE")


@pytest.fixture(scope="session")
def movielens() -> Path:
    """The folder of MovieLens 100K under the one that RECSERVE_DATA names; without it the test is skipped."""
    return _folder("RECSERVE_DATA") / "ml-100k"


MARKET: dict[str, Any] = {
    "features": [
        {"feature_name": "user_id", "feature_type": "id_feature", "expression": "user:user_id", "hash_bucket_size": 50},
        {"feature_name": "item_id", "feature_type": "id_feature", "expression": "item:item_id", "num_buckets": 60}
        | {"embedding_name": "item_emb", "default_value": "0"},
        {"feature_name": "category", "feature_type": "id_feature", "expression": "item:category"}
        | {"vocab_list": ["red", "green", "blue"], "default_value": "red", "embedding_name": "category_emb"},
        {"feature_name": "tags", "feature_type": "id_feature", "expression": "item:tags", "separator": ","}
        | {"weighted": True, "hash_bucket_size": 30, "pooling": "mean"},
        {"feature_name": "price", "feature_type": "raw_feature", "expression": "item:price"}
        | {"normalizer": "method=log10,threshold=0.001"},
        {"feature_name": "price_level", "feature_type": "raw_feature", "expression": "item:price"}
        | {"boundaries": [1, 5, 10.5]},
        {"feature_name": "size", "feature_type": "raw_feature", "expression": "item:size"}
        | {"value_dim": 2, "separator": "x", "default_value": "1"},
        {"feature_name": "hour", "feature_type": "id_feature", "expression": "context:hour"}
        | {"num_buckets": 24, "default_value": "0"},
        {"feature_name": "recall", "feature_type": "raw_feature", "expression": "candidate:recall"},
        {"feature_name": "gender_category", "feature_type": "combo_feature", "hash_bucket_size": 40}
        | {"expression": ["user:gender", "item:category"]},
        {"feature_name": "category_clicks", "feature_type": "lookup_feature"}
        | {"map": "user:category_clicks", "key": "item:category"},
        {"feature_name": "category_level", "feature_type": "lookup_feature", "hash_bucket_size": 20}
        | {"map": "user:category_levels", "key": "item:category", "need_discrete": True},
        {"feature_name": "price_gap", "feature_type": "expr_feature", "expression": "price - budget"}
        | {"variables": ["item:price", "user:budget"]},
        {
            "sequence_name": "clicks",
            "sequence_length": 5,
            "features": [
                {"feature_name": "item_id", "feature_type": "id_feature", "expression": "user:item_id"}
                | {"num_buckets": 60, "default_value": "0", "embedding_name": "item_emb"},
                {"feature_name": "category", "feature_type": "id_feature", "expression": "user:category"}
                | {"vocab_list": ["red", "green", "blue"], "default_value": "red", "embedding_name": "category_emb"},
                {"feature_name": "age", "feature_type": "raw_feature", "expression": "user:age"},
                {"feature_name": "pair", "feature_type": "combo_feature", "hash_bucket_size": 40}
                | {"expression": ["user:category", "item:style"], "sequence_fields": ["category"]},
                {"feature_name": "related", "feature_type": "lookup_feature", "sequence_fields": ["item_id"]}
                | {"map": "item:related", "key": "user:item_id"},
            ],
        },
    ]
}
"""A feature of each kind that first-wave models read, at every rate."""
DIM = 4
COLORS = ("red", "green", "blue", "mauve")


@dataclass(frozen=True)
class Market:
    """Features, items and tables that all models of a session share, and the bundles made of them.

    Attributes:
        features: of `MARKET`, with embeddings of `DIM`.
        items: 64 rows; about one cell in six is missing.
        tables: rows by table.
        folder: where bundles are built.
    """

    features: FeatureSet
    items: list[dict[str, Any]]
    tables: dict[str, Any]
    folder: Path

    def bundle(self, model: str) -> Path:
        """The bundle of a model of the zoo with drawn weights; built once."""
        from recserve.bundle import Bundle

        path = self.folder / model / "1"
        if not path.exists():
            Bundle.build(
                features=self.features,
                tables=self.tables,
                network=self.network(model),
                out=path,
                score="ctr * cvr" if model == "mmoe" else None,
            )
        return path

    def network(self, model: str) -> Path:
        """The network of a model of the zoo, exported once."""
        if (path := self.folder / "networks" / model / "network.onnx").exists():
            return path
        torch = pytest.importorskip("torch")
        from recserve.training.export import export_module
        from recserve.training.zoo import MODELS, build_model

        small = {"hidden": (8,), "attention": (6,), "expert_hidden": (8,), "tower_hidden": (4,), "dim": 5, "experts": 2}
        small |= {"user_hidden": (8,), "item_hidden": (8,), "leave_out_candidate_features": True}
        config = MODELS[model].config
        known = {field.name for field in dataclasses.fields(config)}
        torch.manual_seed(len(model))
        goals = ("ctr", "cvr") if model == "mmoe" else ("ctr",)
        module = build_model(
            model, self.features.outputs, goals, config(**{k: v for k, v in small.items() if k in known})
        )
        return export_module(module, self.features.outputs, self.folder / "networks" / model)

    def flat(self, path: Path) -> FlatPipeline:
        """The flat twin of a bundle."""
        from recserve.bundle import Bundle
        from recserve.network.model import Network
        from recserve.staging.cuts import match_inputs
        from recserve.staging.flat import FlatPipeline

        bundle = Bundle.open(path)
        network = Network.load(path / "network" / "flat.onnx")
        return FlatPipeline(
            bundle.features.compile(), match_inputs(bundle.features.graph, network), bundle.tables, network
        )

    def tile(self, user: dict[str, Any], context: dict[str, Any], candidates: dict[str, list[Any]]) -> dict[str, Any]:
        """The columns of one request as training has them: a row for each candidate."""
        from recserve.staging.draw import column_sides

        rows = len(candidates["item_id"])
        by_id = {item["item_id"]: item for item in self.items}
        items = [by_id[i] for i in candidates["item_id"]]
        columns: dict[str, Any] = {}
        for column, side in column_sides(self.features.graph).items():
            if side == "item":
                columns[column] = [item.get(column) for item in items]
            elif side == "candidate":
                columns[column] = candidates.get(column, [None] * rows)
            else:
                columns[column] = [(user if side == "user" else context).get(column)] * rows
        return columns


def _draw_item(number: int, rng: np.random.Generator) -> dict[str, Any]:
    words = [f"w{n}:{rng.random():.3f}" for n in rng.integers(0, 9, rng.integers(1, 4))]
    related = {str(n): float(n) / 32 for n in rng.integers(0, 60, rng.integers(1, 30)).tolist()}
    item = {
        "category": COLORS[rng.integers(4)],
        "style": ",".join(COLORS[n] for n in rng.integers(0, 4, rng.integers(1, 3))),
        "tags": ",".join(words),
        "price": float(rng.gamma(2, 2)),
        "size": f"{rng.integers(1, 4)}x{rng.integers(1, 4)}",
        "related": "\x1d".join(f"{key}:{value}" for key, value in related.items()),
    }
    kept = {name: cell for name, cell in item.items() if rng.random() > 0.16}
    return {"item_id": number, **kept}


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    from recserve.features.feature_set import FeatureSet

    rng = np.random.default_rng(5)
    document = copy.deepcopy(MARKET)
    for entry in document["features"]:
        for feature in entry.get("features", [entry]):
            is_id = {"hash_bucket_size", "num_buckets", "vocab_list", "boundaries"} & set(feature)
            if is_id:
                feature["embedding_dim"] = DIM
    features = FeatureSet.from_fg_json(document)
    tables = {
        spec.table: rng.standard_normal((spec.rows or 1, spec.dim)).astype(np.float32) / 2
        for spec in features.outputs
        if spec.table is not None
    }
    items = [_draw_item(number, rng) for number in range(64)]
    return Market(features, items, tables, tmp_path_factory.mktemp("market"))


SumModel = Callable[..., Path]


@pytest.fixture
def sum_model(tmp_path: Path) -> SumModel:
    """Builds a bundle whose outputs are sums of features: what it answers can be told by hand.

    Called with the features, {output: features that it adds up}, and what else `Bundle.build` takes.
    """
    import onnx
    from onnx import TensorProto, helper

    from recserve.bundle import Bundle
    from recserve.features.feature_set import FeatureSet
    from recserve.network.model import Network

    def build(
        features: list[dict[str, Any]], outputs: dict[str, list[str]], out: str = "sums/1", **options: Any
    ) -> Path:
        known = FeatureSet.from_fg_json({"features": features}, asset_dir=tmp_path)
        specs = {spec.name: spec for spec in known.outputs}
        used = list(dict.fromkeys(name for names in outputs.values() for name in names))
        inputs = [
            helper.make_tensor_value_info(
                name,
                TensorProto.FLOAT,
                ["N", "L", specs[name].dim] if specs[name].is_sequence else ["N", specs[name].dim],
            )
            for name in used
        ]
        axes = [
            helper.make_tensor("rows", TensorProto.INT64, [1], [1]),
            helper.make_tensor("steps", TensorProto.INT64, [2], [1, 2]),
        ]
        nodes = [
            helper.make_node(
                "ReduceSum", [name, "steps" if specs[name].is_sequence else "rows"], [f"{name}_sum"], keepdims=0
            )
            for name in used
        ]
        nodes += [
            helper.make_node("Sum", [f"{name}_sum" for name in names], [output]) for output, names in outputs.items()
        ]
        goals = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N"]) for output in outputs]
        graph = helper.make_graph(nodes, "sums", inputs, goals, axes)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.checker.check_model(model)
        path = tmp_path / out
        tables = options.pop("tables", {})
        Bundle.build(features=known, tables=tables, network=Network(model, "sums"), out=path, **options)
        return path

    return build
