from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recserve.errors import DataError
from recserve.features.feature_set import FeatureSet
from recserve.features.plan import Plan

ENTRIES = [
    {"feature_type": "raw_feature", "feature_name": "a", "expression": "user:age", "use_mask": True},
    {"feature_type": "lookup_feature", "feature_name": "b", "map": "user:map", "key": "item:key"},
    {"feature_type": "raw_feature", "feature_name": "c", "expression": "item:vec", "value_dim": 2},
]
COLUMNS: dict[str, Any] = {
    "age": [7.0],
    "map": [{"x": 1.5}],
    "key": ["x", "y"],
    "vec": [[1.0, 2.0], [3.0, 4.0]],
}


@pytest.fixture(scope="module", params=[True, False], ids=["reference", "compiled"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return FeatureSet.from_fg_json({"features": ENTRIES}).compile(reference=request.param)


def check(out: dict[str, Any]) -> None:
    assert {name: value.tolist() for name, value in out.items()} == {
        "a": [[7.0], [7.0]],
        "b": [[1.5], [0.0]],
        "c": [[1.0, 2.0], [3.0, 4.0]],
    }


def test_a_column_of_one_row_stands_for_all_rows(plan: Plan) -> None:
    check(plan.run(COLUMNS))


def test_columns_may_be_numpy_or_arrow_arrays(plan: Plan) -> None:
    check(plan.run({**COLUMNS, "age": np.array([7], np.int32), "vec": np.array([[1, 2], [3, 4]], np.float32)}))
    maps = pa.array([[("x", 1.5)]], pa.map_(pa.string(), pa.float32()))
    check(plan.run({**COLUMNS, "map": maps, "key": pa.chunked_array([["x"], ["y"]])}))


def test_columns_may_be_an_arrow_table_or_record_batch(plan: Plan) -> None:
    whole = {**COLUMNS, "age": [7, 7], "map": pa.array([[("x", 1.5)]] * 2, pa.map_(pa.string(), pa.float64()))}
    check(plan.run(pa.table(whole)))
    check(plan.run(pa.table(whole).to_batches()[0]))


def test_unknown_columns_are_ignored(plan: Plan) -> None:
    check(plan.run({**COLUMNS, "other": [1, 2, 3]}))


def test_a_missing_column_names_the_feature(plan: Plan) -> None:
    with pytest.raises(DataError, match=r"feature 'b': column 'key' is missing\. Did you mean 'keys'"):
        plan.run({**{k: v for k, v in COLUMNS.items() if k != "key"}, "keys": ["x"]})
    with pytest.raises(DataError, match="feature 'a': column '__SAMPLE_MASK__' is missing"):
        plan.run(COLUMNS, training=True)


def test_columns_of_different_lengths_are_refused(plan: Plan) -> None:
    with pytest.raises(DataError, match="column 'vec' has 3 rows, where another has 4"):
        plan.run({**COLUMNS, "key": ["x"] * 4, "vec": [[1, 2]] * 3})


def test_no_rows_give_no_rows(plan: Plan) -> None:
    out = plan.run({name: [] for name in COLUMNS})
    assert {name: value.shape for name, value in out.items()} == {"a": (0, 1), "b": (0, 1), "c": (0, 2)}


def test_without_candidates_the_columns_of_the_request_have_no_rows_either(plan: Plan) -> None:
    out = plan.run({**COLUMNS, "key": [], "vec": []})
    assert {name: len(value) for name, value in out.items()} == {"a": 0, "b": 0, "c": 0}


def test_a_value_of_another_type_is_bad_data(plan: Plan) -> None:
    for cell in ({"x": 1}, [{"x": 1}]):
        with pytest.raises(DataError, match="feature 'a', column 'age'"):
            plan.run({**COLUMNS, "age": [cell]})


def test_a_plan_names_the_columns_it_reads(plan: Plan) -> None:
    assert plan.input_columns == ["age", "map", "key", "vec"]
    assert [spec.name for spec in plan.outputs] == ["a", "b", "c"]
