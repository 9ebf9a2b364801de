"""How much two lists of terms overlap: the definition of ops.Overlap, as plain Python."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Final

from recserve.errors import DataError
from recserve.features.op import MAX_COMPARISONS

Terms = Sequence[bytes]


def overlap(query: Terms, title: Terms, method: str) -> list[float]:
    """One number by `method`; none where a list is empty."""
    return [float(METHODS[method](query, title))] if query and title else []


def _common_ratio(terms: Terms, other: Terms) -> float:
    return sum(term in set(other) for term in terms) / len(terms)


def _contains(query: Terms, title: Terms) -> bool:
    rest = iter(title)
    return all(term in rest for term in query)


def _index(query: Terms, title: Terms) -> int:
    places = range(len(title) - len(query) + 1)
    return next((i for i in places if list(title[i : i + len(query)]) == list(query)), -1)


def _min_cover(query: Terms, title: Terms) -> int:
    wanted = set(query)
    lengths = [j - i for i in range(len(title)) for j in range(i + 1, len(title) + 1) if wanted <= set(title[i:j])]
    return min(lengths, default=0)


def _pair_distances(query: Terms, title: Terms) -> list[int]:
    """Of each pair of different terms the smallest distance between their positions; () if a term lacks."""
    terms = len(set(query))
    if terms * (terms + len(title)) > MAX_COMPARISONS:
        raise DataError(f"more than {MAX_COMPARISONS} comparisons", hint="Give fewer terms")
    places = {term: [i for i, other in enumerate(title) if other == term] for term in dict.fromkeys(query)}
    if not all(places.values()):
        return []
    return [min(abs(i - j) for i in a for j in b) for a, b in itertools.combinations(places.values(), 2)]


def _distance(fold: Callable[[list[int]], float]) -> Callable[[Terms, Terms], float]:
    def distance(query: Terms, title: Terms) -> float:
        found = _pair_distances(query, title)
        return fold(found) if found else len(title) + 1

    return distance


METHODS: Final[dict[str, Callable[[Terms, Terms], float]]] = {
    "query_common_ratio": _common_ratio,
    "title_common_ratio": lambda query, title: _common_ratio(title, query),
    "is_contain": _contains,
    "is_equal": lambda query, title: list(query) == list(title),
    "index_of": _index,
    "proximity_min_cover": _min_cover,
    "proximity_min_dist": _distance(min),
    "proximity_max_dist": _distance(max),
    "proximity_avg_dist": _distance(lambda found: sum(found) / len(found)),
}
