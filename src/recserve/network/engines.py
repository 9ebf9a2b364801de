"""Which engine runs the candidate part of a network, and how: plain data, and the engines by name.

Axis letters: N candidates, L steps of a sequence.

An engine is anything with `run(feeds) -> {output: array}` that releases the GIL. Two kinds are known: ONNX Runtime, on
the CPU or through its CUDA and TensorRT providers, takes any shape at once; OpenVINO prepares code for each shape that
it meets, so that its calls are padded to shapes that were warmed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

import numpy.typing as npt

from recserve.errors import ConfigError, suggest

Array = npt.NDArray[Any]

ENGINES: Final = ("onnxruntime", "openvino", "cuda", "tensorrt")
"""Names of engines, the default first. `cuda` and `tensorrt` are providers of ONNX Runtime."""
PRECISIONS: Final = ("fp32", "bf16", "int8")
"""In which the network computes: exactly, with products in bfloat16, or with large products in 8-bit integers."""
_MAX_ROWS: Final = 1 << 16
_MAX_WARM_SHAPES: Final = 256


class Engine(Protocol):
    """A loaded graph. Calls from several threads are safe."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """One array per output, valid until the caller drops it."""
        ...


@dataclass(frozen=True)
class EngineChoice:
    """How the candidate part runs.

    Attributes:
        engine: of `ENGINES`.
        precision: of `PRECISIONS`.
        block: most candidates of one call, so that activations stay in the cache; 0: all in one call.
        buckets: numbers of candidates that calls are padded to, rising; empty: any number.
        step_buckets: lengths that sequences of a request are padded to, rising; empty: any length.
        ranges: (tensor, least, largest) of the tensors that are rounded in int8, as calibrated; empty otherwise.

    Raises:
        ConfigError: an unknown name, numbers that are not positive, not rising or too large, or ranges that are none.
    """

    engine: str = ENGINES[0]
    precision: str = PRECISIONS[0]
    block: int = 0
    buckets: tuple[int, ...] = ()
    step_buckets: tuple[int, ...] = ()
    ranges: tuple[tuple[str, float, float], ...] = ()

    def __post_init__(self) -> None:
        check_word("engine", self.engine, ENGINES)
        check_word("precision", self.precision, PRECISIONS)
        if not 0 <= self.block <= _MAX_ROWS:
            raise ConfigError(f"block {self.block} is not in 0 .. {_MAX_ROWS}", where="engine")
        for name, sizes, least in (("buckets", self.buckets, 1), ("step_buckets", self.step_buckets, 0)):
            rising = list(sizes) == sorted(set(sizes))
            if not rising or any(not least <= size <= _MAX_ROWS for size in sizes):
                raise ConfigError(
                    f"{name} {list(sizes)} are not rising numbers in {least} .. {_MAX_ROWS}", where="engine"
                )
        if self.buckets and self.block != self.buckets[-1]:
            raise ConfigError(f"block {self.block} is not the last of the buckets {list(self.buckets)}", where="engine")
        if bool(self.ranges) != (self.precision == "int8"):
            raise ConfigError(f"precision {self.precision} with {len(self.ranges)} calibrated tensors", where="engine")
        for name, low, high in self.ranges:
            if not -math.inf < low <= high < math.inf:
                raise ConfigError(f"{low} .. {high} is no range of the tensor {name!r}", where="engine")

    @property
    def label(self) -> str:
        """For people and as a key, such as `onnxruntime fp32 block 32`."""
        return f"{self.engine} {self.precision}" + (f" block {self.block}" if self.block else "")

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        lists = {"buckets": list(self.buckets), "step_buckets": list(self.step_buckets)}
        return asdict(self) | lists | {"ranges": [list(entry) for entry in self.ranges]}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> EngineChoice:
        """What `as_dict` gave.

        Raises:
            ConfigError: a field is missing or unknown, or of a wrong type or value.
        """
        try:
            fields = dict(document)
            for name in ("buckets", "step_buckets"):
                fields[name] = tuple(int(size) for size in fields.get(name, ()))
            ranges = fields.get("ranges", ())
            fields["ranges"] = tuple((str(name), float(low), float(high)) for name, low, high in ranges)
            return cls(**fields)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"is no choice of an engine: {error}", where="engine") from error


def check_word(what: str, word: str, known: tuple[str, ...]) -> None:
    """Refuse a word that is not known.

    Raises:
        ConfigError: with the nearest known word, or all of them.
    """
    if word not in known:
        hint = suggest(str(word), known) or f"Known: {', '.join(known)}"
        raise ConfigError(f"unknown {what} {word!r}", code=f"unknown_{what}", where="engine", hint=hint)


def rising_buckets(block: int) -> tuple[int, ...]:
    """Numbers of candidates up to `block`: 1, 4, 8, then two to each doubling. A tail wastes at most half of itself."""
    sizes = {1, 4, 8, block}
    size = 16
    while size < block:
        sizes |= {size, size * 3 // 2}
        size *= 2
    return tuple(sorted(s for s in sizes if s <= block))


def rising_steps(longest: int) -> tuple[int, ...]:
    """Lengths up to `longest`: 0, which stays what it is, then quarters of the longest."""
    return tuple(sorted({0, *(-(-longest * quarter // 4) for quarter in (1, 2, 3, 4))}))


def is_warmable(choice: EngineChoice, axes: int) -> bool:
    """The shapes that calls are padded to are few enough to be met before the first request.

    Args:
        choice: with its buckets.
        axes: number of step axes of independent length among the inputs.
    """
    shapes: int = len(choice.buckets) * max(1, len(choice.step_buckets)) ** axes
    return shapes <= _MAX_WARM_SHAPES


def open_engine(model: bytes, choice: EngineChoice, threads: int = 1) -> Engine:
    """Load a graph into the engine of a choice.

    Args:
        model: a serialised ONNX model.
        choice: its engine and precision are used.
        threads: inside one op; 1 keeps a call on one core.

    Raises:
        ConfigError: the engine is not installed, cannot compute in that precision, or cannot load the graph.
    """
    if choice.precision == "int8":
        from recserve.network.quantise import quantise

        model = quantise(model, choice.ranges, is_fused=choice.engine == "onnxruntime")
    if choice.engine == "openvino":
        from recserve.network.session_openvino import OpenVinoSession

        return OpenVinoSession(model, choice.precision, threads)
    if choice.precision == "bf16":
        raise ConfigError(
            f"engine {choice.engine!r} does not compute in bf16",
            code="unsupported_precision",
            where="engine",
            hint="Choose the engine openvino, or precision fp32 or int8",
        )
    from recserve.network.session import Session

    return Session(model, threads, provider=choice.engine)
