"""Chooses how the candidate part runs, by measuring the ways on the machine that will serve.

A choice is measured once for a part, a processor and versions of the engines, and kept in the cache folder. Where
nothing is measured (the part is small, time is not granted, no way but one is allowed), the default is ONNX Runtime
with all candidates in one call: the same on every machine.

Axis letters: N candidates, L steps of a sequence.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from recserve.errors import ConfigError, RecserveError
from recserve.kernel_cache import cache_folder
from recserve.network import session, session_openvino
from recserve.network.blocks import ROW_AXIS, BlockRunner, can_pad, make_feeds, step_axes
from recserve.network.engines import (
    ENGINES,
    EngineChoice,
    check_word,
    is_warmable,
    open_engine,
    rising_buckets,
    rising_steps,
)
from recserve.network.quantise import Range
from recserve.network.row_independence import has_independent_rows
from recserve.network.split import Part

_log: Final = logging.getLogger("recserve.network")
_ORT_BLOCKS: Final = (0, 32, 64, 128)
_OPENVINO_BLOCKS: Final = (128, 32, 512)
WORTH_MEASURING: Final = 20_000_000
"""Operations of a request below which no engine saves what a call of it costs."""
WORTH_LEAVING: Final = 0.95
"""A way has to be so much faster than the default to be chosen."""
ASSUMED_STEPS: Final = 64
"""Of sequences without a bound, where they are measured."""
_CPU_FLAGS: Final = (
    "avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8", "bf16", "asimddp", "i8mm",
)  # fmt: skip
"""What /proc/cpuinfo calls the instructions that decide over engines, of x86 and of ARM."""
_GAINS: Final = {
    "bf16": frozenset({"avx512_bf16", "amx_bf16", "bf16"}),
    "int8": frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}),
}
AUTO: Final = "auto"


@dataclass(frozen=True)
class EngineOptions:
    """What a config says about engines.

    Attributes:
        engine: a name of `ENGINES`, or "auto": the fastest as measured.
        block: most candidates of one call, 0 for all at once; None: as measured.
        seconds: to measure with, at most; 0: nothing is measured.
        candidates: expected in a request.

    Raises:
        ConfigError: an unknown engine, or a number out of range.
    """

    engine: str = AUTO
    block: int | None = None
    seconds: float = 2.0
    candidates: int = 300

    def __post_init__(self) -> None:
        check_word("engine", self.engine, (AUTO, *ENGINES))
        for name, value, most in (("block", self.block or 0, 1 << 16), ("seconds", self.seconds, 600.0)):
            if not 0 <= value <= most:
                raise ConfigError(f"{name} {value!r} is not in 0 .. {most:g}", where="engine")
        if not 1 <= self.candidates <= 1 << 16:
            raise ConfigError(f"candidates {self.candidates!r} is not in 1 .. {1 << 16}", where="engine")


@dataclass(frozen=True)
class Measured:
    """A choice and how it came about.

    Attributes:
        choice: how the part runs.
        cpu: the processor it was measured on; empty where nothing was measured.
        us: {way: µs for the expected candidates}, as far as measured.
    """

    choice: EngineChoice
    cpu: str = ""
    us: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"choice": self.choice.as_dict(), "cpu": self.cpu, "us": self.us}

    @classmethod
    def from_dict(cls, document: Any) -> Measured:
        """What `as_dict` gave.

        Raises:
            ConfigError: it is something else.
        """
        try:
            us = {str(label): float(value) for label, value in document["us"].items()}
            return cls(EngineChoice.from_dict(document["choice"]), str(document["cpu"]), us)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"is no measured choice of an engine: {error!r}", where="engine") from error


def describe_cpu() -> str:
    """The processor: its model and what decides over engines, such as `AMD EPYC avx512_bf16 avx512_vnni`."""
    info = Path("/proc/cpuinfo")
    words: dict[str, str] = {}
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            words.setdefault(key.strip(), value.strip())
    flags = set(words.get("flags", words.get("Features", "")).split())
    kept = [flag for flag in _CPU_FLAGS if flag in flags]
    return " ".join([words.get("model name") or platform.processor() or platform.machine(), *kept])


def can_gain(precision: str, cpu: str) -> bool:
    """A processor has instructions for a precision: without them it is no faster, and int8 may be less exact.

    Args:
        precision: of `PRECISIONS`.
        cpu: as `describe_cpu` says.
    """
    return precision == "fp32" or bool(_GAINS[precision] & set(cpu.split()))


def list_ways(
    part: Part,
    options: EngineOptions,
    precision: str = "fp32",
    longest_steps: Sequence[int | None] = (),
    ranges: Sequence[Range] = (),
) -> list[EngineChoice]:
    """The ways in which a part can run, the default first.

    Args:
        part: the candidate part.
        options: what the config allows.
        precision: of `PRECISIONS`.
        longest_steps: of each sequence group of a request or a candidate; None where it has no bound.
        ranges: of the tensors that int8 rounds; needed for it.

    Raises:
        ConfigError: the config names a way that the part or the machine cannot go.
    """
    is_sliceable = has_independent_rows(part)
    engines = list(ENGINES[:2]) if options.engine == AUTO else [options.engine]
    if precision == "bf16" and options.engine == AUTO:
        engines = ["openvino"]
    if precision == "bf16" and engines != ["openvino"]:
        raise ConfigError(
            f"engine {options.engine!r} does not compute in bf16", code="unsupported_precision", where="engine",
            hint="Choose the engine openvino, or precision fp32 or int8",
        )  # fmt: skip
    ways: list[EngineChoice] = []
    for engine in engines:
        blocks = (_ORT_BLOCKS if engine == "onnxruntime" else (0,)) if is_sliceable else (0,)
        blocks = blocks if options.block is None else (options.block,)
        if engine == "openvino":
            padded = _padded_ways(part, options, precision, longest_steps, ranges, is_sliceable=is_sliceable)
            ways += padded
        elif any(blocks) and not is_sliceable:
            raise ConfigError(
                "the network mixes candidates, so they cannot run in blocks", code="not_sliceable", where="engine",
                hint="Leave the block out",
            )  # fmt: skip
        else:
            ways += [EngineChoice(engine, precision, block, ranges=tuple(ranges)) for block in blocks]
    if not ways:
        raise ConfigError(
            f"engine openvino, which computes in {precision}, cannot run the candidate part: "
            + ("the network mixes candidates" if not is_sliceable else "its sequences have no bounded lengths"),
            code="not_paddable",
            where="engine",
            hint="Use the engine onnxruntime in fp32, or give the sequences a sequence_length",
        )
    return ways


def _padded_ways(
    part: Part,
    options: EngineOptions,
    precision: str,
    longest_steps: Sequence[int | None],
    ranges: Sequence[Range],
    *,
    is_sliceable: bool,
) -> list[EngineChoice]:
    """Those of OpenVINO, whose calls are padded; none where that is not possible."""
    if not session_openvino.is_available():
        if options.engine != AUTO or precision == "bf16":
            open_engine(b"", EngineChoice("openvino"))
        return []
    axes = step_axes(part)
    longest = [steps for steps in longest_steps if steps is not None]
    if not is_sliceable or not can_pad(part) or (axes and (None in longest_steps or not longest)):
        return []
    steps = tuple(sorted({size for most in longest for size in rising_steps(most)})) if axes else ()
    blocks = (options.block or 512,) if options.block is not None else _OPENVINO_BLOCKS
    ways = [EngineChoice("openvino", precision, block, rising_buckets(block), steps, tuple(ranges)) for block in blocks]
    return [way for way in ways if is_warmable(way, len(axes))]


def choose(
    part: Part, ways: Sequence[EngineChoice], options: EngineOptions, flops: int, longest: Sequence[int | None] = ()
) -> Measured:
    """The fastest of some ways; the first of them where measuring is off or not worth it.

    Args:
        part: the candidate part, in the precision of the ways.
        ways: at least one, the default first.
        options: how long and for how many candidates to measure.
        flops: of one candidate.
        longest: steps of the sequence groups, as far as they are bounded.
    """
    if len(ways) == 1 or not options.seconds or flops * options.candidates < WORTH_MEASURING:
        return Measured(ways[0])
    cpu = describe_cpu()
    file = _cache_file(part, ways, options, cpu)
    kept = _read_kept(file, ways)
    if kept is not None:
        return kept
    steps = max((most for most in longest if most is not None), default=ASSUMED_STEPS)
    us = measure(part, ways, options, steps)
    if not us:
        return Measured(ways[0])
    best = min(us, key=us.__getitem__)
    first = us.get(ways[0].label)
    label = ways[0].label if first is not None and us[best] > WORTH_LEAVING * first else best
    found = Measured(next(way for way in ways if way.label == label), cpu, us)
    _write_kept(file, found)
    return found


def measure(part: Part, ways: Sequence[EngineChoice], options: EngineOptions, steps: int) -> dict[str, float]:
    """{way: best µs of one request's candidates} within the granted time; a way that fails is left out.

    Args:
        part: the candidate part.
        ways: to measure, in turns.
        options: candidates and seconds.
        steps: of each sequence.
    """
    sizes = {ROW_AXIS: options.candidates} | dict.fromkeys(step_axes(part), steps)
    feeds = make_feeds(part, sizes, np.random.default_rng(0))
    end = time.perf_counter() + options.seconds
    best: dict[str, float] = {}
    runners: dict[str, BlockRunner] = {}
    engines: dict[str, Any] = {}
    for way in ways:
        try:
            engine = engines.get(way.engine) or open_engine(part.model, way)
            engines[way.engine] = engine
            runners[way.label] = BlockRunner(part, engine, way)
            runners[way.label].run(feeds, options.candidates)
        except RecserveError as error:
            runners.pop(way.label, None)
            _log.info("%s cannot run the candidate part: %s", way.label, error)
    rounds = 0
    while rounds < 3 or (time.perf_counter() < end and rounds < 50):
        for label, runner in runners.items():
            if rounds and time.perf_counter() > end:
                return best
            start = time.perf_counter()
            runner.run(feeds, options.candidates)
            best[label] = min(best.get(label, np.inf), 1e6 * (time.perf_counter() - start))
        rounds += 1
    return best


def _cache_file(part: Part, ways: Sequence[EngineChoice], options: EngineOptions, cpu: str) -> Path:
    digest = hashlib.sha256(part.model)
    for word in (cpu, session.version(), session_openvino.version(), str(options.candidates), *map(str, ways)):
        digest.update(b"\0" + word.encode())
    return cache_folder() / "engines" / f"{digest.hexdigest()[:40]}.json"


def _read_kept(file: Path, ways: Sequence[EngineChoice]) -> Measured | None:
    try:
        found = Measured.from_dict(orjson.loads(file.read_bytes()))
    except (OSError, ValueError, RecserveError):
        return None
    return found if found.choice in ways else None


def _write_kept(file: Path, found: Measured) -> None:
    """By one rename; a folder that cannot be written only costs the next start its measuring."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as draft:
            draft.write(orjson.dumps(found.as_dict(), option=orjson.OPT_INDENT_2))
        os.replace(draft.name, file)
    except OSError as error:
        _log.warning("cannot keep the measured engine in %s: %s", file.parent, error)
