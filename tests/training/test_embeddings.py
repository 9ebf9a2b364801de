from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recserve.columns import Ragged
from recserve.errors import ConfigError
from recserve.features.outputs import OutputKind, OutputSpec
from recserve.rates import Rate
from recserve.training.batches import FeatureData, IdBags
from recserve.training.embeddings import Embeddings, pool

ROWS = np.arange(1, 11, dtype=np.float32).reshape(5, 2)
BAGS = st.lists(st.lists(st.tuples(st.integers(-2, 7), st.integers(0, 4)), max_size=4), max_size=4)
PLAIN = OutputSpec("a", OutputKind.SPARSE, 4, Rate.ITEM, "t", 7)


def slow_pool(bag: list[tuple[int, int]], pooling: str, is_weighted: bool) -> np.ndarray:
    total = np.zeros(2, np.float32)
    for number, weight in bag:
        if 0 <= number < len(ROWS):
            total += (weight if is_weighted else 1) * ROWS[number]
    return total / len(bag) if pooling == "mean" and bag else total


@given(BAGS, st.sampled_from(["sum", "mean"]), st.booleans(), st.booleans())
def test_pooling_equals_its_definition(
    bags: list[list[tuple[int, int]]], pooling: str, is_weighted: bool, is_sparse: bool
) -> None:
    flat = [pair for bag in bags for pair in bag]
    weights = torch.tensor([float(w) for _, w in flat]) if is_weighted else None
    offsets = torch.tensor(np.cumsum([0, *map(len, bags)]))
    ids = torch.tensor([i for i, _ in flat], dtype=torch.int64)
    table = torch.tensor(ROWS, requires_grad=True)
    pooled = pool(table, IdBags(ids, offsets, weights, None), pooling, is_sparse=is_sparse)
    expected = [slow_pool(bag, pooling, is_weighted) for bag in bags]
    np.testing.assert_allclose(pooled.detach().numpy(), np.array(expected, np.float32).reshape(-1, 2), rtol=1e-6)
    if flat:
        pooled.sum().backward()
        assert table.grad is not None
        gradient = table.grad.to_dense() if is_sparse else table.grad
        assert gradient.shape == ROWS.shape


def test_a_batch_becomes_the_flat_form(shop: Any, shop_outputs: tuple[OutputSpec, ...]) -> None:
    data = FeatureData(shop.columns, shop_outputs)
    embeddings = Embeddings(shop_outputs, sparse_from_rows=30)
    rows = np.array([5, 1, 5, 9])
    inputs = embeddings(data.take(rows))
    longest = int(shop.columns["clicks__age"].lengths[rows].max())
    assert {name: list(value.shape) for name, value in inputs.items()} == {
        "user_id": [4, 8],
        "item_id": [4, 8],
        "category": [4, 8],
        "tags": [4, 4],
        "price": [4, 2],
        "clicks__item_id": [4, longest, 8],
        "clicks__category": [4, longest, 8],
        "clicks__age": [4, longest, 1],
        "searches": [4, int(inputs["searches.lengths"].max()), 4],
        "clicks.lengths": [4],
        "searches.lengths": [4],
    }
    tables = embeddings.tables()
    row = shop.columns["clicks__item_id"].row(9)
    np.testing.assert_array_equal(inputs["clicks__item_id"][3, : len(row)].detach(), tables["item_emb"][row])
    assert not inputs["clicks__item_id"][3, len(row) :].detach().any()


def test_features_share_the_table_they_name(shop_outputs: tuple[OutputSpec, ...]) -> None:
    embeddings = Embeddings(shop_outputs)
    assert list(embeddings.tables()) == ["user_emb", "item_emb", "category.emb", "tag_emb", "word_emb"]
    assert len(list(embeddings.parameters())) == 5


def test_a_batch_without_any_step_has_no_steps() -> None:
    spec = dataclasses.replace(PLAIN, kind=OutputKind.SPARSE_SEQUENCE, sequence="a")
    none = np.zeros(0, np.int64)
    zeros = np.zeros(2, np.int64)
    data = FeatureData({"a": Ragged(none, zeros, key_lengths=none, seq_lengths=zeros)}, (spec,))
    assert Embeddings((spec,))(data.take(np.arange(2)))["a"].shape == (2, 0, 4)


def test_shapes_of_a_shared_table_must_agree() -> None:
    with pytest.raises(
        ConfigError, match=r"feature 'b': wants table 't' with 7 rows of 5, but 'a' has it with 7 rows of 4"
    ):
        Embeddings((PLAIN, dataclasses.replace(PLAIN, name="b", dim=5)))


def test_a_table_needs_a_number_of_rows() -> None:
    with pytest.raises(ConfigError, match=r"feature 'a': table 't' has no known number of rows. Declare num_buckets"):
        Embeddings((dataclasses.replace(PLAIN, rows=None),))


def test_dynamic_ids_are_trained_elsewhere() -> None:
    with pytest.raises(ConfigError, match=r"feature 'a': has dynamic ids, .* Train with hash_bucket_size, or bring"):
        Embeddings((dataclasses.replace(PLAIN, is_dynamic=True),))
