"""A tiny shop whose users click on items of the category they looked at before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from recserve.columns import Ragged
from recserve.features.outputs import OutputKind, OutputSpec
from recserve.rates import Rate

ITEMS, CATEGORIES, DIM = 40, 4, 8

SHOP = (
    OutputSpec("user_id", OutputKind.SPARSE, DIM, Rate.REQUEST, "user_emb", 30),
    OutputSpec("item_id", OutputKind.SPARSE, DIM, Rate.ITEM, "item_emb", ITEMS),
    OutputSpec("category", OutputKind.SPARSE, DIM, Rate.ITEM, "category.emb", CATEGORIES),
    OutputSpec("tags", OutputKind.SPARSE, 4, Rate.ITEM, "tag_emb", 10, pooling="mean", is_weighted=True),
    OutputSpec("price", OutputKind.DENSE, 2, Rate.ITEM),
    OutputSpec("clicks__item_id", OutputKind.SPARSE_SEQUENCE, DIM, Rate.REQUEST, "item_emb", ITEMS, sequence="clicks"),
    OutputSpec(
        "clicks__category", OutputKind.SPARSE_SEQUENCE, DIM, Rate.REQUEST, "category.emb", CATEGORIES, sequence="clicks"
    ),
    OutputSpec("clicks__age", OutputKind.DENSE_SEQUENCE, 1, Rate.REQUEST, sequence="clicks"),
    OutputSpec("searches", OutputKind.SPARSE_SEQUENCE, 4, Rate.REQUEST, "word_emb", 12, sequence="searches"),
)


@dataclass
class FakePlan:
    """Takes finished features as columns, and counts how often it runs."""

    runs: list[tuple[int, bool]] = field(default_factory=list)

    def run(self, columns: Mapping[str, Any], _types: Any = None, training: bool = False) -> Mapping[str, Any]:
        self.runs.append((len(next(iter(columns.values()))), training))
        return columns


@dataclass
class FakeFeatures:
    outputs: tuple[OutputSpec, ...] = SHOP
    plan: FakePlan = field(default_factory=FakePlan)

    def compile(self) -> FakePlan:
        return self.plan


@dataclass
class Shop:
    columns: dict[str, Any]
    labels: dict[str, np.ndarray]
    groups: np.ndarray


def draw_shop(rows: int, seed: int) -> Shop:
    """Rows whose click is likely if the item's category is the one of the user's last clicks."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, 30, rows), rng.integers(0, ITEMS, rows)
    steps = rng.integers(0, 5, rows)
    row = np.repeat(np.arange(rows), steps)
    liked = user % CATEGORIES
    clicked = rng.integers(0, ITEMS // CATEGORIES, len(row)) * CATEGORIES + liked[row]
    ones = np.ones(rows, np.int64)
    tags, words = rng.integers(0, 3, rows), rng.integers(0, 3, rows)
    fits = item % CATEGORIES == liked
    click = (rng.random(rows) < np.where(fits, 0.9, 0.1)).astype(np.float32)
    buy = np.where(click == 1, (item < ITEMS // 2).astype(np.float32), np.nan).astype(np.float32)
    keys = np.ones(len(row), np.int64)
    columns = {
        "user_id": Ragged(user, ones),
        "item_id": Ragged(item, ones),
        "category": Ragged(item % CATEGORIES, ones),
        "tags": Ragged(rng.integers(0, 10, tags.sum()), tags, rng.random(tags.sum(), np.float32)),
        "price": rng.random((rows, 2), np.float32),
        "clicks__item_id": Ragged(clicked, steps, key_lengths=keys, seq_lengths=steps),
        "clicks__category": Ragged(clicked % CATEGORIES, steps, key_lengths=keys, seq_lengths=steps),
        "clicks__age": Ragged(rng.random((len(row), 1), np.float32), steps, seq_lengths=steps),
        "searches": Ragged(
            rng.integers(0, 12, 2 * words.sum()), 2 * words, key_lengths=np.full(words.sum(), 2), seq_lengths=words
        ),
    }
    return Shop(columns, {"ctr": click, "cvr": buy}, user)


@pytest.fixture(scope="session")
def shop_outputs() -> tuple[OutputSpec, ...]:
    return SHOP


@pytest.fixture
def shop_features() -> Callable[..., FakeFeatures]:
    return FakeFeatures


@pytest.fixture(scope="session")
def shop() -> Shop:
    return draw_shop(1200, 7)


@pytest.fixture(scope="session")
def later_shop() -> Shop:
    return draw_shop(500, 8)
