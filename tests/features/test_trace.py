from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recserve.columns import Ragged
from recserve.errors import DataError
from recserve.features import ops
from recserve.features.feature_set import FeatureSet
from recserve.features.trace import explain_row, op_text, show

CONFIG = {
    "features": [
        {"feature_name": "tags", "feature_type": "id_feature", "expression": "item:tags", "vocab_list": ["x", "y"]}
        | {"weighted": True, "separator": ","},
        {"feature_name": "clicks", "feature_type": "lookup_feature", "map": "user:clicks", "key": "item:kind"},
        {"feature_name": "seen", "feature_type": "sequence_id_feature", "expression": "user:seen", "num_buckets": 9}
        | {"value_dim": 0, "separator": ","},
        {"feature_name": "price", "feature_type": "raw_feature", "expression": "item:price"},
        {"feature_name": "name", "feature_type": "id_feature", "expression": "item:kind"},
    ]
}
COLUMNS: dict[str, list[Any]] = {
    "tags": ["y:0.5,z", "x"],
    "clicks": [{"shoes": 2.0, "hats": 1.0}],
    "kind": ["hats", "shoes"],
    "seen": ["1,2;3", "7"],
    "price": [1.5, None],
}


def as_lists(value: Any) -> Any:
    """What a plan gives for one row, as `FeatureTrace` has it."""
    if not isinstance(value, Ragged):
        return value[0].tolist()
    values = value.values.tolist()
    if value.key_lengths is None:
        return values
    return [part.tolist() for part in np.split(value.values, np.cumsum(value.key_lengths)[:-1])]


@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize("form", [dict, pa.table])
def test_the_last_value_of_a_trace_is_the_feature(row: int, form: Any) -> None:
    plan = FeatureSet.from_fg_json(CONFIG).compile()
    columns = COLUMNS | {"clicks": COLUMNS["clicks"] * 2}
    if form is pa.table:
        pairs = pa.array([list(cell.items()) for cell in columns["clicks"]], pa.map_(pa.string(), pa.float64()))
        columns = pa.table(columns | {"clicks": pairs})
    traces = explain_row(plan, columns, row)
    want = plan.run(
        {name: cells[row : row + 1] for name, cells in (COLUMNS | {"clicks": [*COLUMNS["clicks"] * 2]}).items()}
    )
    assert [trace.name for trace in traces] == list(want)
    for trace in traces:
        assert trace.values[-1].elements == as_lists(want[trace.name]), trace.name
    assert traces[0].values[-1].weights == want["tags"].weights.tolist()


def test_a_trace_reads_from_the_cell_to_the_id() -> None:
    (trace,) = explain_row(FeatureSet.from_fg_json(CONFIG).compile(), COLUMNS, 0, ["tags"])
    assert trace.inputs == {"item:tags": "y:0.5,z"}
    texts = [value.text() for value in trace.values]
    assert "['y', 'z']" in texts
    assert texts[-1] == "[3:0.5, 1:1]"
    lines = trace.lines()
    assert lines[0] == "tags = [3:0.5, 1:1]  (item)"
    assert lines[1] == "  item:tags = 'y:0.5,z'"
    assert any("PairKeys" in line and line.endswith("['y', 'z']") for line in lines)


def test_values_read_as_one_line() -> None:
    assert show([[1, None], []]) == "[[1, -], []]"
    assert show([[1], [2]], [[0.5], [1.0]]) == "[[1:0.5], [2:1]]"
    assert show({"a": 1 / 3}) == "{'a': 0.3333333}"
    assert len(show(["x"] * 100)) == 200
    assert show(["x"] * 100).endswith("...")


def test_long_options_of_an_op_are_cut() -> None:
    text = op_text(ops.VocabIds(3, tuple((letter, 1) for letter in "abcdefghijklmnopqrstuvwxyz")), 4)
    assert text.startswith("%4 = VocabIds(source=%3, vocabulary=(('a', 1), ('b', 1), ")
    assert text.endswith("..., unknown=-1)")
    assert "'z'" not in text


def test_rows_and_features_that_are_not_there_are_told() -> None:
    plan = FeatureSet.from_fg_json(CONFIG).compile()
    with pytest.raises(DataError, match=r"there is no row 2\. There are 2, counted from 0"):
        explain_row(plan, COLUMNS, 2)
    with pytest.raises(DataError, match=r"there is no feature 'tag'\. Did you mean 'tags'\?"):
        explain_row(plan, COLUMNS, 0, ["tag"])
    with pytest.raises(DataError, match="there is no column 'price'"):
        explain_row(plan, {name: cells for name, cells in COLUMNS.items() if name != "price"})
