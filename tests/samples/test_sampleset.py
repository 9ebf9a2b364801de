import numpy as np
import pyarrow as pa
import pytest

from recserve.errors import ConfigError
from recserve.samples.sampleset import Samples


def samples(times=(1, 2, 3, 3), users=("u", "v", "u", None)) -> Samples:
    count = len(times)
    table = pa.table(
        {
            "request_id": [f"r{time}" for time in times],
            "time": pa.array(times, pa.int64()),
            "user_id": pa.array(users, pa.string()),
            "item_id": ["a"] * count,
            "position": pa.nulls(count, pa.int32()),
            "score": pa.nulls(count, pa.float64()),
            "label_ctr": pa.array([1, 0, 1, 0][:count], pa.int8()),
            "age": [5] * count,
        }
    )
    return Samples(table, ("ctr",))


def test_columns_hold_neither_bookkeeping_nor_labels():
    assert samples().columns.column_names == ["user_id", "item_id", "age"]


def test_labels_times_and_groups_are_arrays():
    assert samples().labels["ctr"].tolist() == [1, 0, 1, 0]
    assert samples().times.tolist() == [1, 2, 3, 3]
    assert samples().groups.tolist() == [0, 1, 0, 2]
    assert samples(users=["v", "u", "v", "v"]).groups.tolist() == [0, 1, 0, 0]
    assert samples().request_groups.tolist() == [0, 1, 2, 2]
    assert samples().label("ctr").dtype == np.float32


def test_an_unknown_goal_is_refused():
    with pytest.raises(ConfigError, match=r"there is no goal 'ctrr'\. Did you mean 'ctr'\?"):
        samples().label("ctrr")


def test_rows_are_taken_by_number_or_by_mask():
    assert samples().take(np.array([3, 0])).times.tolist() == [3, 1]
    assert samples().take(np.array([True, False, False, True])).times.tolist() == [1, 3]
    assert len(samples().take(np.zeros(4, np.bool_))) == 0
