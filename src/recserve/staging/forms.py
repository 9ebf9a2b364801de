"""Rewritten or as exported: a rewrite saves operations, and on some shapes costs time all the same, so both are timed.

Most rewrites split products, which are then narrower, and sums, which are then more. Where that does not pay on this
machine, the network is cut by rate as it was exported: whatever depends on one side alone still leaves the candidates.

Axis letters: N candidates, L steps of a sequence.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from recserve.errors import RecserveError
from recserve.network.blocks import ROW_AXIS, make_feeds, step_axes
from recserve.network.engine_choice import ASSUMED_STEPS, WORTH_MEASURING, EngineOptions
from recserve.network.session import Session
from recserve.network.split import Part, SplitNetwork
from recserve.rates import Rate
from recserve.staging.cuts import NetworkInput
from recserve.staging.tensors import longest_steps

_log: Final = logging.getLogger("recserve.network")
_WORTH_UNDOING: Final = 0.9
"""The network as exported has to be so much faster to be taken: the other one gains more from blocks and engines."""
_ROUNDS: Final = 7


def keep_faster(
    rewritten: SplitNetwork,
    split_plainly: Callable[[], SplitNetwork],
    inputs: Sequence[NetworkInput],
    options: EngineOptions,
) -> SplitNetwork:
    """The rewritten network, or the one that is only cut by rate where that answers a request faster.

    Args:
        rewritten: by all passes.
        split_plainly: makes the other; called where measuring is worth it.
        inputs: of the flat network.
        options: for how many candidates and how long to measure; 0 seconds: the rewritten one is taken.
    """
    work = rewritten.report.flops.get(Rate.CANDIDATE, 0) * options.candidates
    if not options.seconds or not rewritten.report.changes or work < WORTH_MEASURING:
        return rewritten
    longest = longest_steps([entry for entry in inputs if entry.rate is not Rate.ITEM])
    steps = max((most for most in longest if most is not None), default=ASSUMED_STEPS)
    try:
        plain = split_plainly()
        us = measure_forms([rewritten, plain], options.candidates, steps, options.seconds)
    except RecserveError as error:
        _log.info("the network as exported is not measured: %s", error)
        return rewritten
    if us[1] >= _WORTH_UNDOING * us[0]:
        return rewritten
    _log.info("the network as exported takes %.0f us, rewritten %.0f: it stays as it is", us[1], us[0])
    return plain


def measure_forms(forms: Sequence[SplitNetwork], candidates: int, steps: int, seconds: float) -> list[float]:
    """Best µs of the request and the candidate part of each, in ONNX Runtime, in turns.

    Args:
        forms: of one network.
        candidates: N of the request.
        steps: of each sequence of no fixed length.
        seconds: after which no further round begins; there are three at least.

    Raises:
        RecserveError: a part cannot run on drawn inputs.
    """
    runs = [[_bind(part, candidates, steps) for part in (form.request, form.candidate) if part] for form in forms]
    best = [np.inf] * len(runs)
    end = time.perf_counter() + seconds
    for number in range(_ROUNDS):
        if number >= 3 and time.perf_counter() > end:
            break
        for at, parts in enumerate(runs):
            start = time.perf_counter()
            for run in parts:
                run()
            best[at] = min(best[at], 1e6 * (time.perf_counter() - start))
    return best


def _bind(part: Part, candidates: int, steps: int) -> Callable[[], Any]:
    session = Session(part.model)
    sizes = {ROW_AXIS: candidates} | dict.fromkeys(step_axes(part), steps)
    drawn = make_feeds(part, sizes, np.random.default_rng(0))
    feeds = {name: drawn[name] for name in session.inputs}
    return lambda: session.run(feeds)
