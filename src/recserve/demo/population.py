"""Who lives in the simulated shop: users and items, with what features see of them and what they hide.

Axes: U users, I items, K categories, D hidden factors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from recserve.dtypes import F64, I64

FACTORS: Final = 8
CATEGORIES: Final = (
    "shoes", "boots", "sandals", "shirts", "dresses", "coats", "jeans", "sportswear", "phones", "laptops", "cameras",
    "headphones", "games", "books", "toys", "baby", "kitchen", "garden", "furniture", "lamps", "tools", "bikes",
    "tents", "cosmetics",
)  # fmt: skip
CITIES: Final = (
    "Aachen", "Bergen", "Cadiz", "Dover", "Essen", "Faro", "Gdansk", "Hull", "Izmir", "Jena", "Kiel", "Lund", "Metz",
    "Nice", "Oulu", "Porto",
)  # fmt: skip
WORDS: Final = (
    "light", "classic", "compact", "urban", "soft", "pro", "mini", "eco", "bold", "smart", "outdoor", "retro", "slim",
    "kids", "deluxe", "basic",
)  # fmt: skip
GENDERS: Final = ("f", "m", "x")
_BRANDS_PER_CATEGORY: Final = 4
BRANDS: Final = len(CATEGORIES) * _BRANDS_PER_CATEGORY
"""Number of brands; each belongs to one category."""


@dataclass(frozen=True, eq=False)
class Users:
    """U users; the first block is what features see."""

    age: I64
    gender: I64
    city: I64
    interests: I64
    """int64[U, 3] categories; the first two are declared."""
    vectors: F64
    budget: F64
    """float64[U] log price that the user likes best."""
    sensitivity: F64


@dataclass(frozen=True, eq=False)
class Items:
    """I items; the first block is what features see."""

    category: I64
    brand: I64
    """int64[I] in 0 … BRANDS − 1; a brand belongs to one category."""
    price: F64
    quality: F64
    age_days: I64
    words: I64
    """int64[I, 2]."""
    vectors: F64
    appeal: F64


def draw_items(rng: np.random.Generator, count: int, categories: F64) -> Items:
    """Draw items around their categories' hidden vectors, float64[K, D]."""
    category = rng.integers(0, len(CATEGORIES), count)
    brand = category * _BRANDS_PER_CATEGORY + rng.integers(0, _BRANDS_PER_CATEGORY, count)
    brand_vectors = rng.normal(size=(BRANDS, FACTORS))
    level = rng.normal(3.2, 0.7, len(CATEGORIES))[category] + rng.normal(0.0, 0.5, len(brand_vectors))[brand]
    return Items(
        category=category,
        brand=brand,
        price=np.exp(level + rng.normal(0.0, 0.3, count)).round(2).clip(0.5),
        quality=rng.normal(3.0, 0.8, count).clip(1.0, 5.0).round(1),
        age_days=rng.integers(0, 365, count),
        words=rng.integers(0, len(WORDS), (count, 2)),
        vectors=0.8 * categories[category] + 0.6 * brand_vectors[brand] + 0.4 * rng.normal(size=(count, FACTORS)),
        appeal=rng.normal(0.0, 0.3, count),
    )


def draw_users(rng: np.random.Generator, count: int, categories: F64) -> Users:
    """Draw users whose interests follow from gender and age, as much as from chance."""
    age = rng.integers(16, 75, count)
    gender = rng.choice(len(GENDERS), count, p=[0.48, 0.48, 0.04])
    groups = rng.normal(size=(len(GENDERS), 4, FACTORS))
    group = groups[gender, np.digitize(age, [25, 40, 55])]
    liking = group @ categories.T / np.sqrt(FACTORS)
    interests = np.argsort(-(liking + rng.gumbel(size=liking.shape)), axis=1)[:, :3]
    taste = categories[interests].mean(axis=1)
    return Users(
        age=age,
        gender=gender,
        city=rng.integers(0, len(CITIES), count),
        interests=interests,
        vectors=0.8 * taste + 0.4 * group + 0.5 * rng.normal(size=(count, FACTORS)),
        budget=rng.normal(3.2, 0.7, count) + (age - 45) * 0.01,
        sensitivity=rng.gamma(4.0, 0.12, count),
    )


def brand_name(brand: int) -> str:
    """Such as "shoes-b"."""
    return f"{CATEGORIES[brand // _BRANDS_PER_CATEGORY]}-{'abcd'[brand % _BRANDS_PER_CATEGORY]}"
