"""What is known of a request while it runs: who asked for what, which version answered, and where the time went.

A front end begins an `Observation` and makes it current; whatever works on the request notes on it what it knows: rank
threads when they begin and end, the model call which version it was. At the end metrics, logs and traces read it. Code
that runs without a front end finds no current observation, and notes nothing.

The rank threads run a request in the context of its caller, so that `current()` works there too.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from time import perf_counter_ns, time_ns
from types import MappingProxyType
from typing import Any, Final


class _Ids:
    """Ids of this process: a random part, and a number."""

    def __init__(self) -> None:
        self.prefix = os.urandom(6).hex()
        self.numbers = itertools.count(1)


_ids: Final = _Ids()
os.register_at_fork(after_in_child=_ids.__init__)  # type: ignore[misc] # a child draws its own


def draw_request_id() -> str:
    """20 hexadecimal digits that no other request of any process has; cheaper than random ones for each request."""
    return f"{_ids.prefix}{next(_ids.numbers):08x}"


class Observation:
    """One request, from its arrival to its answer. Times are `perf_counter_ns`; 0 where it did not come so far.

    Attributes:
        protocol: dialect of the port, such as `tfs`, or `grpc`.
        route: method and path, or the path of a gRPC method.
        request_id: the caller's, or one that was drawn.
        began_ns: when it arrived.
        arrived_us: the same since the epoch, in microseconds.
        work_began_ns, work_ended_ns: on the rank thread.
        run_began_ns, run_ended_ns: in the model.
        received_ns: when its body was there.
        model: name of the model that answers; empty as long as none was leased.
        version: of that model.
        signature: that was called, or `rank`.
        examples: that TensorFlow Serving's classify and regress counted.
        rows: rows or candidates of the call.
        code: status of the answer: HTTP's number, or gRPC's name.
        refusal: code of the error that was answered; empty where there was none.
        stages_us: stage of the model → microseconds; of rankers.
        allows_model: whether the caller may ask a model; None where all may.
        trace: what the tracer keeps of it.
    """

    # What few requests change is the class's: one is made for each request.
    received_ns = work_began_ns = work_ended_ns = run_began_ns = run_ended_ns = 0
    model = signature = code = refusal = ""
    version = examples = rows = 0
    stages_us: Mapping[str, float] = MappingProxyType({})
    allows_model: Callable[[str], None] | None = None
    trace: Any = None

    def __init__(self, protocol: str, route: str, request_id: str) -> None:
        self.protocol, self.route, self.request_id = protocol, route, request_id
        self.began_ns = perf_counter_ns()
        self.arrived_us = time_ns() // 1000

    def stages(self) -> list[tuple[str, int, int]]:
        """(stage, begin, end) of what the request went through, in order; stages that it did not reach are left out.

        `receive`: the body comes in; `queue`: waiting for a rank thread; `parse`: on the thread, before the model;
        `run`: in the model, from its first call to its last; `encode`: after the model.
        """
        found = []
        if self.received_ns:
            found.append(("receive", self.began_ns, self.received_ns))
        if self.work_began_ns:
            found.append(("queue", self.received_ns or self.began_ns, self.work_began_ns))
        if self.run_ended_ns:
            if self.work_began_ns:
                found.append(("parse", self.work_began_ns, self.run_began_ns))
            found.append(("run", self.run_began_ns, self.run_ended_ns))
            if self.work_ended_ns:
                found.append(("encode", self.run_ended_ns, self.work_ended_ns))
        return found


_current: Final[ContextVar[Observation | None]] = ContextVar("recserve_observation", default=None)

current: Final = _current.get
"""The observation of the request that runs here, or None."""

observe: Final = _current.set
"""Make an observation the current one of this task or thread."""


def begin_work() -> None:
    """Say that a rank thread begins with the request."""
    if (observation := _current.get()) is not None and not observation.work_began_ns:
        observation.work_began_ns = perf_counter_ns()


def end_work() -> None:
    """Say that a rank thread has done the request."""
    if (observation := _current.get()) is not None:
        observation.work_ended_ns = perf_counter_ns()


def note_refusal(code: str) -> None:
    """Say which error is answered; of several the first is it."""
    if (observation := _current.get()) is not None:
        observation.refusal = observation.refusal or code


def note_received() -> None:
    """Say that the body is there."""
    if (observation := _current.get()) is not None:
        observation.received_ns = perf_counter_ns()


def note_run(model: str, version: int, signature: str, began_ns: int, rows: int = 0) -> None:
    """Say which version was called, from `began_ns` to now. Of several calls the last names the version."""
    if (observation := _current.get()) is not None:
        observation.run_began_ns = observation.run_began_ns or began_ns
        observation.run_ended_ns = perf_counter_ns()
        observation.model, observation.version, observation.signature = model, version, signature
        observation.rows += rows


def note_stages(stages_us: Mapping[str, float]) -> None:
    """Keep the stage times of a ranker."""
    if (observation := _current.get()) is not None:
        observation.stages_us = stages_us


def note_examples(count: int) -> None:
    """Count examples of classify or regress."""
    if (observation := _current.get()) is not None:
        observation.examples += count


def check_model(name: str) -> None:
    """Whether the caller of the current request may ask this model.

    Raises:
        ForbiddenError: the caller's token does not allow it.
    """
    observation = _current.get()
    if observation is not None and observation.allows_model is not None:
        observation.allows_model(name)
