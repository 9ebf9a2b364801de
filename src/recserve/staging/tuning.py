"""How the candidate part of a model runs here: measured at build, and again where another processor serves."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from recserve.errors import ConfigError
from recserve.network.engine_choice import (
    AUTO,
    WORTH_LEAVING,
    EngineOptions,
    Measured,
    can_gain,
    choose,
    describe_cpu,
    list_ways,
)
from recserve.network.engines import EngineChoice
from recserve.network.quantise import Range
from recserve.network.split import SplitNetwork
from recserve.rates import Rate
from recserve.staging.cuts import NetworkInput
from recserve.staging.tensors import longest_steps

_log: Final = logging.getLogger("recserve.network")


def tune(
    inputs: Sequence[NetworkInput],
    split: SplitNetwork,
    options: EngineOptions,
    precision: str = "fp32",
    ranges: Sequence[Range] = (),
) -> Measured:
    """Choose how the candidate part runs.

    Args:
        inputs: of the flat network.
        split: the network by rate.
        options: what the config says.
        precision: of `recserve.network.engines.PRECISIONS`.
        ranges: of the tensors that int8 rounds; needed for it.

    Raises:
        ConfigError: the config names a way that the part or the machine cannot go.
    """
    longest = longest_steps([entry for entry in inputs if entry.rate is not Rate.ITEM])
    ways = list_ways(split.candidate, options, precision, longest, ranges)
    found = choose(split.candidate, ways, options, split.report.flops.get(Rate.CANDIDATE, 0), longest)
    return found if precision == "fp32" or found.cpu else replace(found, cpu=describe_cpu())


def is_gain(measured: Measured, exact: Measured) -> bool:
    """An inexact choice was measured to be faster than the exact one, by more than measuring errs."""
    if not measured.us or not exact.us:
        return False
    return min(measured.us.values()) < WORTH_LEAVING * min(exact.us.values())


def adopt(
    inputs: Sequence[NetworkInput], split: SplitNetwork, recorded: Measured, options: EngineOptions | None = None
) -> EngineChoice:
    """The choice on the machine that serves.

    That of the build where the processor is the same, or where nothing was measured. On another processor the ways of
    the engines that the build proved are measured again, in the precision that it proved. A machine that cannot go the
    way of an inexact precision, or has no instructions for it, computes in float32, which every gate admits.

    Args:
        inputs: of the flat network.
        split: the network by rate.
        recorded: what the build chose.
        options: of the one who serves; None: as the build chose.

    Raises:
        ConfigError: the options name an engine that cannot run here.
    """
    precision, cpu = recorded.choice.precision, describe_cpu()
    if options is None and recorded.cpu in ("", cpu) and _can_run(recorded.choice):
        return recorded.choice
    wanted = options or EngineOptions()
    if wanted.engine == AUTO and recorded.choice.engine == "onnxruntime":
        wanted = replace(wanted, engine="onnxruntime")
    try:
        if not can_gain(precision, cpu):
            raise ConfigError(f"the processor has no instructions for it: {cpu}", code="no_instructions")
        return tune(inputs, split, wanted, precision, recorded.choice.ranges).choice
    except ConfigError as error:
        if precision == "fp32" or wanted.engine not in (AUTO, "onnxruntime"):
            raise
        _log.warning("the candidate network runs in fp32, not in %s: %s", precision, error)
        return tune(inputs, split, replace(wanted, engine="onnxruntime"), "fp32").choice


def _can_run(choice: EngineChoice) -> bool:
    if choice.engine != "openvino":
        return True
    from recserve.network import session_openvino

    return session_openvino.is_available()
