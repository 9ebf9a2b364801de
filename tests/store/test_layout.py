"""Layouts of payloads."""

import pytest

from recserve.errors import ConfigError, InvariantError
from recserve.store.layout import PayloadLayout


def test_columns_follow_one_another() -> None:
    layout = PayloadLayout(fixed=(("a", 3), ("b", 1), ("c", 20)))
    assert layout.columns.tolist() == [[0, 3], [3, 1], [4, 20]]
    assert layout.width == 24


@pytest.mark.parametrize(
    ("width", "stride"), [(1, 4), (3, 16), (9, 64), (16, 64), (17, 68), (20, 80), (50, 200), (60, 256), (64, 256)]
)
def test_rows_do_not_straddle_cache_lines_needlessly(width: int, stride: int) -> None:
    layout = PayloadLayout(fixed=(("a", width),))
    assert layout.row_stride == stride
    for row in range(100):
        lines = (stride * row + 4 * width - 1) // 64 - stride * row // 64 + 1
        assert lines == -(-4 * width // 64)


def test_parts_of_each_precision_lie_side_by_side() -> None:
    fixed = (("a", 3), ("b", 1), ("c", 20), ("d", 6))
    layout = PayloadLayout(fixed, precisions=("bf16", "fp32", "int8", "fp16"))
    assert layout.places.tolist() == [[0, 3, 2], [8, 1, 0], [12, 20, 3], [36, 6, 1]]
    assert (layout.width, layout.fixed_bytes, layout.row_stride) == (30, 48, 64)


def test_an_empty_layout_is_fine() -> None:
    layout = PayloadLayout()
    assert layout.width == layout.row_stride == 0
    assert layout.columns.shape == (0, 2)
    assert layout.places.shape == (0, 3)


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


def test_wrong_precisions_are_refused() -> None:
    with pytest.raises(InvariantError, match=r"^1 precisions for 2 fixed payload parts$"):
        PayloadLayout((("a", 1), ("b", 1)), precisions=("fp32",))
    with pytest.raises(ConfigError, match=r"^payload part 'a': unknown precision 'fp61'. Did you mean 'fp16'\?$"):
        PayloadLayout((("a", 1),), precisions=("fp61",))
