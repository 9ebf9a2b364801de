"""The rewrites of a flat network, in the one list `PASSES`.

A rewrite replaces values by equal ones (up to float summation order) so that more of the work has a rarer rate. It is
a function that changes a draft in one walk over its nodes, calls `Draft.replace` for each match, and answers nothing;
passes run in order, again and again, until a whole round changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from recserve.network.draft import Draft

Rewrite = Callable[[Draft], None]

PASSES: Final[tuple[Rewrite, ...]] = ()

_MAX_ROUNDS = 12


def rewrite(draft: Draft, passes: Sequence[Rewrite] = PASSES) -> None:
    """Apply passes in place until nothing changes."""
    for _ in range(_MAX_ROUNDS):
        before = len(draft.changes)
        for apply in passes:
            count = len(draft.changes)
            apply(draft)
            if len(draft.changes) > count:
                draft.refresh()
        if len(draft.changes) == before:
            return
