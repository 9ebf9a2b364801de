"""The stand-in for a leased model that sees its calls: protocols call it as they would the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from recserve.errors import OverloadedError, RequestError
from recserve.serving.traffic.comparison import F64, Difference, compare_ranked, compare_tensors, flat_scores


@dataclass(frozen=True)
class SeenCall:
    """One call of a model, and its answer.

    Attributes:
        verb: `rank` or `run`, the method that was called.
        args, kwargs: its arguments.
        answer: what it returned.
        time_us: that it took, in microseconds.
    """

    verb: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    answer: Any
    time_us: float

    def repeat(self, model: Any) -> SeenCall:
        """The same call of another model; raises what it raises."""
        begin_s = perf_counter()
        answer = getattr(model, self.verb)(*self.args, **self.kwargs)
        return SeenCall(self.verb, self.args, self.kwargs, answer, (perf_counter() - begin_s) * 1e6)

    def scores(self) -> F64:
        """The finite numbers of the answer."""
        if self.verb == "rank":
            found = flat_scores(self.answer.scores)
        else:
            parts = [flat_scores(tensor) for tensor in self.answer.values()]
            found = np.concatenate(parts) if parts else np.empty(0)
        return found[np.isfinite(found)]

    def compare(self, other: SeenCall) -> Difference:
        """How far the other's answer is from this one."""
        if self.verb == "rank":
            a, b = self.answer, other.answer
            return compare_ranked(a.item_ids, a.scores, b.item_ids, b.scores)
        return compare_tensors(self.answer, other.answer)


class SeenModel:
    """Has every attribute of the model; its calls are told.

    Args:
        model: a ranker, a plain model, or both.
        saw: called with each answered call, and with None for one that failed without the caller's fault.
    """

    __slots__ = ("_model", "_saw")

    def __init__(self, model: Any, saw: Callable[[SeenCall | None], None]) -> None:
        self._model = model
        self._saw = saw

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._model, name)
        return self._watched(name, found) if name in ("rank", "run") else found

    def _watched(self, verb: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            begin_s = perf_counter()
            try:
                answer = method(*args, **kwargs)
            except (RequestError, OverloadedError):
                raise
            except Exception:
                self._saw(None)
                raise
            self._saw(SeenCall(verb, args, kwargs, answer, (perf_counter() - begin_s) * 1e6))
            return answer

        return call
