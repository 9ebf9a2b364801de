"""How calls are batched: TensorFlow Serving's batching file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recserve.errors import ConfigError

_WRAPPED: Final = (
    "max_batch_size",
    "max_enqueued_batches",
    "num_batch_threads",
    "enable_large_batch_splitting",
    "max_execution_batch_size",
)


@dataclass(frozen=True)
class BatchingParameters:
    """How calls are batched.

    Attributes:
        max_batch_size: rows of a batch, and of a call that is not split.
        batch_timeout_s: seconds that the first call of a batch waits for others.
        max_enqueued_batches: batches that may wait for a thread; a call that needs one more is refused.
        num_batch_threads: batches that run at once.
        allowed_batch_sizes: rows that a batch is filled up to, rising, the last one `max_batch_size` (or, where calls
            are split, `max_execution_batch_size`); empty for any.
        pad_variable_length_inputs: whether tensors of other inner sizes go into one batch, filled up with their first
            value; else each shape has batches of its own.
        enable_large_batch_splitting: whether a call of more rows than `max_execution_batch_size` is cut up.
        max_execution_batch_size: rows of a batch that runs, where calls are split; 0 for `max_batch_size`.
    """

    max_batch_size: int = 1000
    batch_timeout_s: float = 0.0
    max_enqueued_batches: int = 10
    num_batch_threads: int = os.cpu_count() or 1
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 0

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads"):
            if (value := getattr(self, name)) < 1:
                raise ConfigError(f"{name} is {value}", where="batching parameters", hint="It is at least 1.")
        if self.batch_timeout_s < 0:
            raise ConfigError(f"batch_timeout_micros is {self.batch_timeout_s * 1e6:.0f}", where="batching parameters")
        if self.enable_large_batch_splitting and not 0 <= self.max_execution_batch_size <= self.max_batch_size:
            raise ConfigError(
                f"max_execution_batch_size is {self.max_execution_batch_size}",
                where="batching parameters",
                hint=f"With enable_large_batch_splitting it is at most max_batch_size, {self.max_batch_size}.",
            )
        sizes = self.allowed_batch_sizes
        if sizes and (list(sizes) != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != self.rows):
            raise ConfigError(
                f"allowed_batch_sizes are {', '.join(map(str, sizes))}",
                where="batching parameters",
                hint=f"They rise, and the last one is {self.rows}.",
            )

    @property
    def rows(self) -> int:
        """Rows of a batch that runs."""
        splits = self.enable_large_batch_splitting and self.max_execution_batch_size
        return self.max_execution_batch_size if splits else self.max_batch_size

    def padded(self, rows: int) -> int:
        """Rows that a batch of `rows` is filled up to."""
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)


def read_batching(path: Path) -> BatchingParameters:
    """Read a text-format `tensorflow.serving.BatchingParameters`.

    Raises:
        ConfigError: the file cannot be read, or says what cannot be.
    """
    from google.protobuf import text_format

    from recserve.wire.tensorflow_serving import BatchingParameters as Message

    try:
        message = text_format.Parse(path.read_text(encoding="utf-8"), Message())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise ConfigError(
            f"cannot read batching parameters: {error}", where=str(path), hint="Write `max_batch_size { value: 32 }`."
        ) from None
    given = {name: getattr(message, name).value for name in _WRAPPED if message.HasField(name)}
    given["pad_variable_length_inputs"] = message.pad_variable_length_inputs
    if message.HasField("batch_timeout_micros"):
        given["batch_timeout_s"] = message.batch_timeout_micros.value / 1e6
    return BatchingParameters(**given, allowed_batch_sizes=tuple(message.allowed_batch_sizes))
