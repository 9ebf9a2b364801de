"""When and how often a call is sent again."""

from __future__ import annotations

import random
from dataclasses import dataclass

from recserve.client.failures import CallFailedError
from recserve.errors import ConfigError


@dataclass(frozen=True)
class Retries:
    """A call is sent again where the server was overloaded or not reached, never beyond the call's deadline.

    Attributes:
        attempts: how often at most, the first time included; 1 for never again.
        first_wait_s: before the second attempt; it doubles each time, and is drawn from its upper half.
        longest_wait_s: the most of it. Where the server asks for a longer wait, it gets it.
    """

    attempts: int = 3
    first_wait_s: float = 0.05
    longest_wait_s: float = 2.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ConfigError(f"attempts is {self.attempts}", hint="It is at least 1.")
        if not 0 <= self.first_wait_s <= self.longest_wait_s:
            raise ConfigError(
                f"first_wait_s is {self.first_wait_s} and longest_wait_s {self.longest_wait_s}",
                hint="Give 0 <= first_wait_s <= longest_wait_s.",
            )

    def wait_s(self, attempt: int, error: CallFailedError, remaining_s: float) -> float | None:
        """Seconds to wait before the next attempt, or None to give up.

        Args:
            attempt: how many there were.
            error: of the last one.
            remaining_s: until the call's deadline.
        """
        if not error.is_retryable or attempt >= self.attempts:
            return None
        drawn = min(self.longest_wait_s, self.first_wait_s * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1)  # noqa: S311
        wait_s = max(drawn, error.retry_after_s or 0.0)
        return wait_s if wait_s < remaining_s else None
