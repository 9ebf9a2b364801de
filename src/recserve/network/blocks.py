"""Runs the candidate part in blocks of candidates, and pads calls to the shapes that an engine knows.

Axis letters: N candidates, L steps of a sequence.

A part whose rows do not mix may run on any slices of its candidates, one after the other: activations of a small slice
stay in the cache (a fifth of DIN's time at blocks of 32). Python loops over blocks, a few a request, never over rows.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import numpy as np

from recserve.dtypes import DTYPES
from recserve.errors import InvariantError
from recserve.network.engines import Array, Engine, EngineChoice
from recserve.network.model import TensorSpec
from recserve.network.parts import SIZE_PREFIX
from recserve.network.split import Part

ROW_AXIS: Final = "N"
_Tails = dict[str, Array]


class BlockRunner:
    """A candidate part in its engine. Calls from several threads are safe.

    Args:
        part: the candidate part.
        engine: that loaded its model.
        choice: how it runs; one that slices or pads needs a part whose rows do not mix.

    Attributes:
        observe: called with the inputs of each run, before it; None, as it is when serving: nobody looks.
    """

    observe: Callable[[Mapping[str, Array]], None] | None = None

    def __init__(self, part: Part, engine: Engine, choice: EngineChoice) -> None:
        self.choice: Final = choice
        self.engine: Final = engine
        self._part: Final = part
        self._names: Final = tuple(part.inputs)
        self._tall: Final = tuple(name for name, spec in part.inputs.items() if spec.dims[0] == ROW_AXIS)
        self._idle: deque[_Tails] = deque()

    def run(self, feeds: Mapping[str, Array], rows: int) -> dict[str, Array]:
        """{output: [N, ...]}.

        Args:
            feeds: inputs of the part by name, [N, ...] or [1, ...]; more than those are ignored. One of
                `padded_rows(N)` rows, of which the first N count, is not copied to be padded.
            rows: N, at least 1.
        """
        if self.observe is not None:
            self.observe(feeds)
        choice = self.choice
        block = choice.block or rows
        if not choice.buckets and rows <= block:
            return self.engine.run({name: feeds[name] for name in self._names})
        call = {name: feeds[name] for name in self._names}
        answers: dict[str, Array] = {}
        for start in range(0, rows, block):
            count = min(block, rows - start)
            size = choice.buckets[bisect_left(choice.buckets, count)] if choice.buckets else count
            if size == count:
                call.update((name, feeds[name][start : start + count]) for name in self._tall)
                found = self.engine.run(call)
            else:
                found = self._run_padded(feeds, call, (start, count, size))
            for name, answer in found.items():
                if len(answer) != size:
                    raise InvariantError(f"output {name!r} has {len(answer)} rows for {size} candidates")
            if count == rows:
                return {name: answer[:count] for name, answer in found.items()}
            for name, answer in found.items():
                if start == 0:
                    answers[name] = np.empty((rows, *answer.shape[1:]), answer.dtype)
                answers[name][start : start + count] = answer[:count]
        return answers

    def padded_rows(self, rows: int) -> int:
        """Rows that the calls for N candidates read: N, and those that the last call is padded with."""
        if not self.choice.buckets:
            return rows
        whole = rows // self.choice.block * self.choice.block
        return whole + self.choice.buckets[bisect_left(self.choice.buckets, rows - whole)] if rows > whole else rows

    def _run_padded(
        self, feeds: Mapping[str, Array], call: dict[str, Array], window: tuple[int, int, int]
    ) -> dict[str, Array]:
        """Run rows [start, start + count) in a call of `size` rows; what the rows behind them hold does not matter."""
        start, count, size = window
        try:
            tails = self._idle.pop()
        except IndexError:
            tails = {}
        try:
            for name in self._tall:
                feed = feeds[name]
                if len(feed) >= start + size:
                    call[name] = feed[start : start + size]
                    continue
                if name not in tails or tails[name].shape[1:] != feed.shape[1:]:
                    tails[name] = np.zeros((self.choice.buckets[-1], *feed.shape[1:]), feed.dtype)
                tails[name][:count] = feed[start : start + count]
                call[name] = tails[name][:size]
            return self.engine.run(call)
        finally:
            self._idle.append(tails)

    def warm(self) -> int:
        """Meet every shape that a request can bring; their number. An engine that takes any shape meets none."""
        count = 0
        for sizes in self._sizes():
            self.engine.run(make_feeds(self._part, sizes))
            count += 1
        return count

    def _sizes(self) -> Iterator[dict[str, int]]:
        axes = step_axes(self._part)
        for rows in self.choice.buckets:
            for steps in itertools.product(self.choice.step_buckets, repeat=len(axes)):
                yield {ROW_AXIS: rows, **dict(zip(axes, steps, strict=True))}


def step_axes(part: Part) -> tuple[str, ...]:
    """Names of the symbolic sizes of the inputs besides N."""
    found = [dim for spec in part.inputs.values() for dim in spec.dims if isinstance(dim, str) and dim != ROW_AXIS]
    return tuple(dict.fromkeys(found))


def can_pad(part: Part) -> bool:
    """Calls of the part can be padded: each axis of its inputs is static, N, or has a name."""
    return all(dim is not None for spec in part.inputs.values() for dim in spec.dims)


def make_feeds(part: Part, sizes: Mapping[str, int], rng: np.random.Generator | None = None) -> dict[str, Array]:
    """Inputs of a part: drawn floats, or zeros without a generator; ones of any other dtype, but for handed-over sizes.

    Args:
        part: the candidate part.
        sizes: of each symbolic axis.
        rng: source of randomness.

    Raises:
        InvariantError: a size is not given.
    """
    feeds: dict[str, Array] = {}
    for name, spec in part.inputs.items():
        shape, dtype = _shape(spec, sizes), _dtype(spec)
        axis = name.removeprefix(SIZE_PREFIX)
        if axis != name and axis in sizes:
            feeds[name] = np.full(shape, sizes[axis], dtype)
        elif dtype.kind == "f":
            feeds[name] = np.zeros(shape, dtype) if rng is None else rng.normal(size=shape, scale=0.3).astype(dtype)
        else:
            feeds[name] = np.ones(shape, dtype)
    return feeds


def _shape(spec: TensorSpec, sizes: Mapping[str, int]) -> tuple[int, ...]:
    shape = []
    for dim in spec.dims:
        if isinstance(dim, int):
            shape.append(dim)
        elif dim is None or dim not in sizes:
            raise InvariantError(f"input {spec.name!r}: no size for the axis {dim!r}", where="network")
        else:
            shape.append(sizes[dim])
    return tuple(shape)


def _dtype(spec: TensorSpec) -> np.dtype[np.generic]:
    return np.dtype(DTYPES[spec.dtype].numpy)
