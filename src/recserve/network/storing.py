"""What is known of the traffic and the machine when a build decides what to store for each item."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from recserve.errors import ConfigError, suggest
from recserve.rows.formats import check_precision, effective, row_bytes


@dataclass(frozen=True)
class StoreOptions:
    """Expectations that price storing against computing again, and the limits of both.

    Attributes:
        item_count: items in the store.
        candidates_per_request: of a typical request.
        requests_per_s: of one process.
        item_updates_per_s: of one process.
        rebuilds_per_day: how often a new model version makes all payloads again.
        max_payload_bytes_per_item: of the tensors that are stored for an item; None for no limit.
        max_rebuild_s: seconds that making all payloads may keep a new version from serving; what would take longer is
            made lazily.
        payload_precision: of what is stored: fp32, fp16, bf16 or int8.

    Raises:
        ConfigError: a number is out of its range, or an unknown precision.
    """

    item_count: int = 100_000
    candidates_per_request: int = 300
    requests_per_s: float = 100.0
    item_updates_per_s: float = 10.0
    rebuilds_per_day: float = 24.0
    max_payload_bytes_per_item: int | None = None
    max_rebuild_s: float = 600.0
    payload_precision: str = "fp32"

    def __post_init__(self) -> None:
        for name in ("item_count", "candidates_per_request"):
            _check(name, getattr(self, name), 1, is_whole=True)
        for name in ("requests_per_s", "item_updates_per_s", "rebuilds_per_day", "max_rebuild_s"):
            _check(name, getattr(self, name), 0, is_whole=False)
        if self.max_payload_bytes_per_item is not None:
            _check("max_payload_bytes_per_item", self.max_payload_bytes_per_item, 0, is_whole=True)
        check_precision(self.payload_precision, "storing.payload_precision")

    @classmethod
    def parse(cls, texts: Sequence[str], candidates_per_request: int = 300) -> StoreOptions:
        """Options of texts such as `item_count=2000000`; all but the precision, which is that of the payload.

        Raises:
            ConfigError: a text has another form, names no option, or a number is out of its range.
        """
        known = [field.name for field in fields(cls) if field.name != "payload_precision"]
        options: dict[str, Any] = {"candidates_per_request": candidates_per_request}
        for text in texts:
            name, _, number = text.partition("=")
            if name not in known:
                hint = suggest(name, known) or f"Known: {', '.join(known)}"
                raise ConfigError(f"{text!r} names no expectation", code="bad_storing", where="storing", hint=hint)
            try:
                options[name] = int(number) if number.lstrip("-").isdecimal() else float(number)
            except ValueError:
                raise ConfigError(
                    f"{text!r} is not NAME=NUMBER", code="bad_storing", where="storing", hint=f"Write {name}=1000"
                ) from None
        return cls(**options)

    @property
    def candidates_per_s(self) -> float:
        """Candidates a second."""
        return self.candidates_per_request * self.requests_per_s

    @property
    def item_runs_per_s(self) -> float:
        """How often the item part runs for some item: updates, and rebuilds spread over the day."""
        return self.item_updates_per_s + self.item_count * self.rebuilds_per_day / 86400

    def stored_bytes(self, numbers: int) -> int:
        """Bytes of a stored tensor of so many numbers."""
        return row_bytes(effective(self.payload_precision, numbers), numbers)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def _check(name: str, value: Any, least: int, *, is_whole: bool) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or (is_whole and not isinstance(value, int)) or value < least:
        what = "a whole number" if is_whole else "a number"
        raise ConfigError(f"{name} is {value!r}, expected {what} from {least}", code="bad_storing", where="storing")
