"""Runs a split network end to end, for proofs and tests: obvious rather than fast.

Axis letters: I items, N candidates.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from recserve.dtypes import I64
from recserve.network.model import Network
from recserve.network.session import Array, Session
from recserve.network.split import SplitNetwork
from recserve.rates import Rate


class SplitSession:
    """The loaded parts of a split network."""

    def __init__(self, split: SplitNetwork, threads: int = 1) -> None:
        self.split = split
        self.item = None if split.item is None else Session(split.item.model, threads)
        self.request = None if split.request is None else Session(split.request.model, threads)
        self.candidate = Session(split.candidate.model, threads)

    def run(
        self,
        item_feeds: Mapping[str, Array],
        request_feeds: Mapping[str, Array],
        candidate_feeds: Mapping[str, Array],
        item_index: I64,
    ) -> dict[str, Array]:
        """Score candidates.

        Args:
            item_feeds: item inputs of the network, [I, ...].
            request_feeds: request inputs, [1, ...].
            candidate_feeds: candidate inputs, [N, ...].
            item_index: int64[N] in 0 .. I-1: the item of each candidate.

        Returns:
            The outputs of the network, [N, ...].
        """
        stored = dict(item_feeds) | _run(self.item, item_feeds)
        once = dict(request_feeds) | _run(self.request, request_feeds)
        feeds: dict[str, Array] = {}
        for name, rate in self.split.crossings.items():
            if rate is Rate.ITEM:
                feeds[name] = stored[name][item_index]
            else:
                feeds[name] = once[name] if rate is Rate.REQUEST else candidate_feeds[name]
        return self.candidate.run(feeds)


def run_split(
    split: SplitNetwork,
    item_feeds: Mapping[str, Array],
    request_feeds: Mapping[str, Array],
    candidate_feeds: Mapping[str, Array],
    item_index: I64,
) -> dict[str, Array]:
    """Load a split network and score candidates once; see `SplitSession.run`."""
    return SplitSession(split).run(item_feeds, request_feeds, candidate_feeds, item_index)


def run_flat(
    network: Network,
    item_feeds: Mapping[str, Array],
    request_feeds: Mapping[str, Array],
    candidate_feeds: Mapping[str, Array],
    item_index: I64,
) -> dict[str, Array]:
    """Score candidates with the flat network itself: every input is repeated to [N, ...]. Arguments as `run_split`."""
    feeds = {name: array[item_index] for name, array in item_feeds.items()}
    feeds |= {name: np.repeat(array, len(item_index), axis=0) for name, array in request_feeds.items()}
    feeds |= candidate_feeds
    session = Session(network.to_bytes())
    return session.run({name: feeds[name] for name in session.inputs})


def _run(session: Session | None, feeds: Mapping[str, Array]) -> dict[str, Array]:
    return {} if session is None else session.run({name: feeds[name] for name in session.inputs})
