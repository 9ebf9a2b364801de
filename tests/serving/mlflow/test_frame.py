from __future__ import annotations

from recserve.serving.mlflow.frame import BareTensor, Frame


def test_a_frame_says_whether_it_is_a_table() -> None:
    assert Frame({"a": [1]}, is_table=True) != Frame({"a": [1]}, is_table=False)
    assert BareTensor([1]).values == [1]
