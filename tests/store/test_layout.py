"""Layouts of payloads."""

import pytest

from recserve.errors import InvariantError
from recserve.store.layout import PayloadLayout


def test_columns_follow_one_another() -> None:
    layout = PayloadLayout(fixed=(("a", 3), ("b", 1), ("c", 20)))
    assert layout.columns.tolist() == [[0, 3], [3, 1], [4, 20]]
    assert layout.width == 24


@pytest.mark.parametrize(("width", "stride"), [(1, 1), (3, 4), (9, 16), (16, 16), (17, 32), (50, 64)])
def test_rows_do_not_straddle_cache_lines_needlessly(width: int, stride: int) -> None:
    assert PayloadLayout(fixed=(("a", width),)).row_stride == stride


def test_an_empty_layout_is_fine() -> None:
    layout = PayloadLayout()
    assert layout.width == layout.row_stride == 0
    assert layout.columns.shape == (0, 2)


@pytest.mark.parametrize(
    ("fixed", "ragged", "message"),
    [
        ((("a", 1),), (("a", "ids"),), "payload part 'a' occurs twice"),
        ((("a", 0),), (), "payload part 'a' has width 0"),
        ((), (("a", "token"),), "payload part 'a' has unknown kind 'token'. Did you mean 'tokens'?"),
    ],
)
def test_a_wrong_layout_is_refused(
    fixed: tuple[tuple[str, int], ...], ragged: tuple[tuple[str, str], ...], message: str
) -> None:
    with pytest.raises(InvariantError) as caught:
        PayloadLayout(fixed, ragged)
    assert str(caught.value) == message
