from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from recserve.cli.output import write_parquet
from recserve.cli.train import load_samples
from recserve.errors import ConfigError, DataError

TABLE = pa.table(
    {
        "request_id": ["q"],
        "time": pa.array([1], pa.int64()),
        "user_id": ["u"],
        "item_id": ["i"],
        "position": pa.array([0], pa.int32()),
        "score": [0.5],
        "label_ctr": pa.array([1], pa.int8()),
        "label_cvr": pa.array([0], pa.int8()),
        "age": [3],
    }
)


def test_samples_have_all_goals_or_the_named_ones(tmp_path: Path) -> None:
    file = tmp_path / "s.parquet"
    write_parquet(TABLE, file)
    assert load_samples(file).goals == ("ctr", "cvr")
    some = load_samples(file, ["cvr"])
    assert some.goals == ("cvr",)
    assert some.columns.column_names == ["user_id", "item_id", "age"]


def test_what_are_no_samples_or_no_goal_is_told(tmp_path: Path) -> None:
    file = tmp_path / "s.parquet"
    write_parquet(TABLE, file)
    with pytest.raises(ConfigError) as caught:
        load_samples(file, ["ctrr"])
    assert str(caught.value) == f"{file}: no goal 'ctrr'. Did you mean 'ctr'?"
    for dropped, message in ((["time"], "has no column 'time'"), (["label_ctr", "label_cvr"], "'label_<goal>'")):
        write_parquet(TABLE.drop_columns(dropped), file)
        with pytest.raises(DataError, match=message):
            load_samples(file)
