"""The time that a call has, and whether its caller still waits: checked before and between the parts of the work."""

from __future__ import annotations

from time import monotonic, perf_counter_ns

from recserve.errors import RequestError


class DeadlineExceededError(RequestError):
    """The caller's deadline has passed."""

    default_code = "deadline_exceeded"


class CallCancelledError(RequestError):
    """The caller has cancelled the call or is gone."""

    default_code = "cancelled"


class Turn:
    """One call from its arrival to its answer.

    Args:
        remaining_s: seconds until the caller's deadline; None where there is none.

    Attributes:
        arrived_ns: when the call arrived, by `perf_counter_ns`.
    """

    def __init__(self, remaining_s: float | None = None) -> None:
        self.arrived_ns = perf_counter_ns()
        self._expires_s = None if remaining_s is None else monotonic() + remaining_s
        self._is_cancelled = False

    def cancel(self) -> None:
        """Say that nobody waits for the answer any longer; from any thread."""
        self._is_cancelled = True

    def check(self) -> None:
        """Go on only while somebody waits.

        Raises:
            CallCancelledError: the call was cancelled.
            DeadlineExceededError: its deadline has passed.
        """
        if self._is_cancelled:
            raise CallCancelledError("the call was cancelled")
        if self._expires_s is not None and monotonic() >= self._expires_s:
            raise DeadlineExceededError("Deadline Exceeded", hint="Give more time, or ask for less.")
