"""Requests with candidates against the same plan on tiled columns."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recserve.columns import Ragged
from recserve.errors import DataError
from recserve.features import grouped
from recserve.features.compiled import CompiledPlan
from recserve.features.feature_set import FeatureSet
from recserve.features.grouped import GroupedPlan
from recserve.staging.draw import column_sides, draw_columns

FEATURES = {
    "features": [
        {"feature_name": "user", "feature_type": "id_feature", "expression": "user:id", "hash_bucket_size": 9},
        {"feature_name": "age", "feature_type": "raw_feature", "expression": "user:age"},
        {"feature_name": "price", "feature_type": "raw_feature", "expression": "item:price"},
        {"feature_name": "one", "feature_type": "combo_feature", "expression": ["const:1", "user:id"]}
        | {"hash_bucket_size": 9},
        {"feature_name": "gap", "feature_type": "expr_feature", "expression": "age - price"}
        | {"variables": ["user:age", "item:price"]},
        {"feature_name": "clicks", "feature_type": "lookup_feature", "map": "user:clicks", "key": "item:kind"},
        {"feature_name": "seen", "feature_type": "sequence_id_feature", "expression": "user:seen"}
        | {"hash_bucket_size": 9},
        {
            "sequence_name": "past",
            "features": [
                {"feature_name": "kind", "feature_type": "combo_feature", "hash_bucket_size": 99}
                | {"expression": ["user:kind", "item:kind"], "sequence_fields": ["kind"]},
                {"feature_name": "price", "feature_type": "raw_feature", "expression": "user:price"},
            ],
        },
    ]
}
REQUESTS = {
    "id": ["a", None, "b"],
    "age": [30.0, 40.0, None],
    "clicks": ["x:1\x1dy:2", "", "x:5"],
    "seen": ["p;q", "", "r"],
    "past__kind": ["x;y", "z", ""],
    "past__price": ["1;2", "3", ""],
}
CANDIDATES = {"price": [1.0, 2.0, 3.0, 4.0, 5.0], "kind": ["x", "y", None, "x", "z"]}


def drawn_plans() -> Any:
    """The strategies of the tests of the compiled plan; test files import one another by path only."""
    spec = importlib.util.spec_from_file_location("drawn_plans", Path(__file__).with_name("test_compiled.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["drawn_plans"] = module
    spec.loader.exec_module(module)
    return module


DRAWN = drawn_plans()


def tile(requests: dict[str, Any], candidates: dict[str, Any], index: Any) -> dict[str, Any]:
    tiled = {name: column if len(column) == 1 else [column[r] for r in index] for name, column in requests.items()}
    return tiled | candidates


def assert_identical(got: Any, want: Any, name: str) -> None:
    if isinstance(want, Ragged):
        for part in ("values", "lengths", "weights", "key_lengths", "seq_lengths"):
            assert_identical(getattr(got, part), getattr(want, part), f"{name}.{part}")
    elif want is None or got is None:
        assert got is want, name
    else:
        assert (got.dtype, got.shape) == (want.dtype, want.shape), name
        same = got.tolist() == want.tolist() if want.dtype == object else got.tobytes() == want.tobytes()
        assert same, f"{name}: {got} is not {want}"


@pytest.mark.parametrize("index", [[0, 0, 1, 2, 2], [2, 0, 2, 1, 0], [1, 1, 1, 1, 1]])
@pytest.mark.parametrize("reference", [False, True])
def test_requests_with_candidates_equal_tiled_rows(index: list[int], reference: bool) -> None:
    plan = FeatureSet.from_fg_json(FEATURES).compile(reference=reference)
    got = plan.run_grouped(REQUESTS, CANDIDATES, index)
    want = plan.run(tile(REQUESTS, CANDIDATES, index))
    assert list(got) == list(want)
    for name, value in want.items():
        assert_identical(got[name], value, name)


def test_offsets_say_the_same_as_an_index() -> None:
    plan = FeatureSet.from_fg_json(FEATURES).compile()
    got = plan.run_grouped(pa.table(REQUESTS), pa.table(CANDIDATES), offsets=[0, 2, 2, 5])
    want = plan.run_grouped(REQUESTS, CANDIDATES, [0, 0, 2, 2, 2])
    for name, value in want.items():
        assert_identical(got[name], value, name)


def test_no_candidates_give_no_rows() -> None:
    plan = FeatureSet.from_fg_json(FEATURES).compile()
    none: dict[str, list[Any]] = {name: [] for name in CANDIDATES}
    for requests, offsets in ((REQUESTS, [0, 0, 0, 0]), ({name: [] for name in REQUESTS}, [0])):
        assert {len(value) for value in plan.run_grouped(requests, none, offsets=offsets).values()} == {0}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_drawn_plans_give_the_same_grouped_and_tiled(data: st.DataObject) -> None:
    rows = data.draw(st.sampled_from([1, 2, 5]))
    graph, cells = data.draw(DRAWN.drawn(rows))
    count = data.draw(st.integers(1, 4))
    index = data.draw(st.lists(st.integers(0, count - 1), min_size=rows, max_size=rows))
    if data.draw(st.booleans()):
        index.sort()
    kinds = {name: DRAWN.CELLS[name[2:]] for name in cells if name.startswith("u_")}
    requests = {name: data.draw(st.lists(st.none() | k, min_size=count, max_size=count)) for name, k in kinds.items()}
    candidates = {name: column for name, column in cells.items() if name not in requests}
    plan, tiled = CompiledPlan(graph), tile(requests, candidates, index)
    try:
        want = plan.run(tiled)
        plan.run(tile(requests, {name: column * count for name, column in candidates.items()}, range(count)))
    except DataError:
        return
    if not tiled or max(map(len, tiled.values())) != rows:
        return
    try:
        got = GroupedPlan(graph).run(requests, candidates, index)
    except DataError:
        assert set(index) != set(range(count)), "only a request without candidates may fail alone"
        return
    for name, value in want.items():
        assert_identical(got[name], value, f"{name} of {graph.ops}")


@pytest.mark.parametrize("rises", [True, False])
def test_many_requests_run_in_blocks(monkeypatch: pytest.MonkeyPatch, rises: bool) -> None:
    monkeypatch.setattr(grouped, "CHUNK_ROWS", 4)
    rng = np.random.default_rng(3)
    index = rng.integers(0, 20, 50)
    index = np.sort(np.where(index == 7, 8, index)) if rises else index
    requests = {"age": rng.random(20), "id": [str(n) for n in range(20)], "clicks": ["x:1"] * 20}
    requests |= {name: [f"{n};{n}" for n in range(20)] for name in ("seen", "past__kind", "past__price")}
    candidates = {"price": rng.random(50), "kind": ["x"]}
    plan = FeatureSet.from_fg_json(FEATURES).compile()
    got = plan.run_grouped(requests, candidates, index)
    for name, value in plan.run(tile(requests, candidates, index)).items():
        assert_identical(got[name], value, name)


def test_errors_name_the_request_or_the_candidate() -> None:
    plan = FeatureSet.from_fg_json(FEATURES).compile()
    with pytest.raises(DataError, match=r"feature 'age', column 'age', request 1: 'x' is not a number"):
        plan.run_grouped(REQUESTS | {"age": ["1", "x", "2"]}, CANDIDATES, [0, 0, 1, 2, 2])
    with pytest.raises(DataError, match=r"feature 'price', column 'price', candidate 4: 'x' is not a number"):
        plan.run_grouped(REQUESTS, CANDIDATES | {"price": ["1", "1", "1", "1", "x"]}, [0, 0, 1, 2, 2])
    with pytest.raises(DataError, match="there is no column 'id'"):
        plan.run_grouped({}, CANDIDATES, [0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("groups", "problem"),
    [
        ({}, "give either request_index or offsets"),
        ({"request_index": [0], "offsets": [0, 1]}, "give either request_index or offsets"),
        ({"request_index": [0, 0, 0, 0, 3]}, r"request_index\[4\] is 3, but there are 3 requests"),
        ({"request_index": [0, -1, 0, 0, 0]}, r"request_index\[1\] is -1"),
        ({"request_index": [0.5]}, r"request_index is float64\[1\], not integers"),
        ({"offsets": [0, 3, 2]}, r"offsets\[2\] is 2. Offsets start at 0 and never fall"),
        ({"offsets": []}, "there are no offsets"),
    ],
)
def test_wrong_groups_are_refused(groups: dict[str, Any], problem: str) -> None:
    plan = FeatureSet.from_fg_json(FEATURES).compile()
    with pytest.raises(DataError, match=problem):
        plan.run_grouped(REQUESTS, CANDIDATES, **groups)


ALL_TYPES: dict[str, Any] = {
    "features": [
        *FEATURES["features"],
        {
            "feature_name": "w",
            "feature_type": "id_feature",
            "expression": "user:w",
            "weighted": True,
            "num_buckets": 50,
        },
        {"feature_name": "tag", "feature_type": "tag_feature", "expression": ["user:tag"], "hash_bucket_size": 50},
        {"feature_name": "sum", "feature_type": "combine_feature", "expression": "user:sum", "combiner": "gap_max"},
        {"feature_name": "hit", "feature_type": "match_feature", "nested_map": "user:nested", "hash_bucket_size": 50}
        | {"pkey": "item:kind", "skey": "ALL", "need_discrete": True},
        {"feature_name": "lap", "feature_type": "overlap_feature", "query": "context:query", "title": "item:title"}
        | {"method": "proximity_min_cover", "separator": ","},
        {"feature_name": "dot", "feature_type": "kv_dot_product", "query": "user:vector", "document": "item:tastes"},
        {"feature_name": "mask", "feature_type": "bool_mask_feature", "expression": ["user:list", "item:flags"]}
        | {"num_buckets": 50},
        {"feature_name": "re", "feature_type": "regex_replace_feature", "expression": "user:id", "replacement": "z"}
        | {"regex_pattern": ["[0-3]"], "hash_bucket_size": 50},
        {"feature_name": "typos", "feature_type": "custom_feature", "operator_name": "EditDistance"}
        | {"expression": ["user:id", "item:kind"]},
        {"feature_name": "again", "feature_type": "combo_feature", "expression": ["feature:user", "feature:lap"]}
        | {"hash_bucket_size": 50},
    ]
}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), requests=st.integers(1, 5), rows=st.integers(1, 9), rises=st.booleans())
def test_every_type_gives_the_same_grouped_and_tiled(seed: int, requests: int, rows: int, rises: bool) -> None:
    features = FeatureSet.from_fg_json(ALL_TYPES)
    rng = np.random.default_rng(seed)
    counts = {"user": requests, "context": requests, "item": rows, "candidate": rows}
    columns = draw_columns(features.graph, counts, rng)
    sides = column_sides(features.graph)
    once = {name: cells for name, cells in columns.items() if sides[name] in ("user", "context")}
    each = {name: cells for name, cells in columns.items() if name not in once}
    index = rng.integers(0, requests, rows)
    index = np.sort(index) if rises else index
    plan = features.compile()
    got = plan.run_grouped(once, each, index)
    tiled = {name: [cells[r] for r in index] for name, cells in once.items()}
    for name, value in plan.run(tiled | each).items():
        assert_identical(got[name], value, name)
