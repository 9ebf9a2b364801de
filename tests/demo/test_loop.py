import numpy as np
import pytest

from recserve.columns import Ragged
from recserve.demo.loop import differences, wait_for_records
from recserve.errors import DataError


def test_the_same_bits_do_not_differ():
    one = {"a": np.array([[1.0], [np.nan]], np.float32), "b": Ragged(np.array([1, 2]), np.array([2, 0]))}
    other = {"a": one["a"].copy(), "b": Ragged(np.array([1, 2]), np.array([2, 0]))}
    assert differences(one, other) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"a": np.array([0.0], np.float32), "b": Ragged(np.array([1]), np.array([1]))},
        {"a": np.array([-0.0], np.float64), "b": Ragged(np.array([1]), np.array([1]))},
        {"b": Ragged(np.array([1]), np.array([1]))},
        {"a": Ragged(np.array([1]), np.array([1])), "b": Ragged(np.array([1]), np.array([1]))},
    ],
)
def test_one_bit_one_type_or_one_missing_feature_differs(changed):
    served = {"a": np.array([-0.0], np.float32), "b": Ragged(np.array([1]), np.array([1]))}
    assert differences(changed, served) == ["a"]


def test_another_id_or_layout_of_a_ragged_feature_differs():
    served = {"b": Ragged(np.array([1, 2]), np.array([2]))}
    assert differences({"b": Ragged(np.array([1, 3]), np.array([2]))}, served) == ["b"]
    assert differences({"b": Ragged(np.array([1, 2]), np.array([2]), np.ones(2, np.float32))}, served) == ["b"]


def test_records_that_do_not_come_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("recserve.demo.loop._WAIT_S", 0.0)
    with pytest.raises(DataError, match="the log holds 0 of 3 records"):
        wait_for_records(tmp_path, 3)
