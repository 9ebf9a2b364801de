"""Fixed parts are stored in their precision, and read as the slow twin says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.dtypes import F32
from recserve.rows import reference
from recserve.rows.formats import PRECISIONS
from recserve.store.items import ItemStore
from recserve.store.layout import PayloadLayout


def as_stored(layout: PayloadLayout, rows: F32) -> dict[str, F32]:
    """The parts of float32[N, W] after a way through their precisions."""
    parts, start = {}, 0
    for (name, width), precision in zip(layout.fixed, layout.precisions, strict=True):
        part = np.ascontiguousarray(rows[:, start : start + width])
        parts[name] = reference.load_rows(reference.store_rows(part, precision), precision)
        start += width
    return parts


@settings(max_examples=40, deadline=None)
@given(
    parts=st.lists(st.tuples(st.integers(1, 40), st.sampled_from(PRECISIONS)), min_size=1, max_size=5),
    batches=st.lists(st.integers(0, 30), min_size=1, max_size=4),
    seed=st.integers(0, 2**32),
)
def test_the_store_reads_what_the_twin_reads(parts: list[tuple[int, str]], batches: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    fixed = tuple((f"p{n}", width) for n, (width, _) in enumerate(parts))
    layout = PayloadLayout(fixed, precisions=tuple(precision for _, precision in parts))
    store = ItemStore(layout, "int64", capacity=1)
    kept: dict[int, F32] = {}
    for count in batches:
        ids = rng.integers(0, 40, count)
        rows = (rng.standard_normal((count, layout.width)) * 10.0 ** rng.integers(-44, 6)).astype(np.float32)
        store.upsert_rows(ids, rows)
        kept |= dict(zip(ids.tolist(), rows, strict=True))
    for _ in range(2):
        queries = [*kept, 99]
        with store.read() as view:
            found = view.fixed(view.find(queries))
        expected = as_stored(layout, np.array([*kept.values()], np.float32).reshape(len(kept), layout.width))
        for name, rows in expected.items():
            assert np.array_equal(found[name][:-1], rows)
            assert not found[name][-1].any()
        store.compact()


def test_a_number_too_large_becomes_the_largest() -> None:
    layout = PayloadLayout((("a", 4), ("b", 4)), precisions=("fp16", "bf16"))
    store = ItemStore(layout, "int64")
    store.upsert_rows([1], np.array([[1e6, -1e6, 1, 2, 3.4e38, -3.4e38, 1, 2]], np.float32))
    with store.read() as view:
        found = view.fixed(view.find([1]))
    assert found["a"].tolist() == [[65504, -65504, 1, 2]]
    assert np.isfinite(found["b"]).all()


@pytest.mark.parametrize(("precision", "size"), [("fp32", 512), ("fp16", 256), ("bf16", 256), ("int8", 132)])
def test_the_memory_of_rows_shrinks_with_their_precision(precision: str, size: int) -> None:
    store = ItemStore(PayloadLayout((("a", 128),), precisions=(precision,)), "int64", capacity=1000)
    store.upsert_rows(np.arange(1000), np.ones((1000, 128), np.float32))
    assert store.bytes_per_item()["rows"] == size
    store.compact()
    assert store.bytes_per_item()["rows"] == size * 1.125
