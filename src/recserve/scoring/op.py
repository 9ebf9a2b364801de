"""The registry of ops: for each its arguments, parameters, results, and the function that defines it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from recserve.dtypes import F64, U8
from recserve.errors import ConfigError, InvariantError, suggest
from recserve.scoring.cells import DTYPES, DType
from recserve.scoring.params import Param

Results = Callable[[Sequence[DType], Mapping[str, Any]], tuple[DType, ...]]
Block = Callable[[Mapping[str, Any], F64, U8], tuple[F64, U8]]
Check = Callable[[Sequence[DType], Mapping[str, Any]], str | None]


@dataclass(frozen=True)
class OpSpec:
    """One kind of op.

    Attributes:
        name: what graphs call it.
        args: dtypes of the arguments: a dtype, `any`, or `T` (all `T` of a call are equal); a trailing `*` on the last
            one means any number of them, none too.
        results: dtypes of the results, of argument dtypes and parameters.
        params: by name.
        is_strict: the function gets values, and only where all arguments are valid; else it gets cells.
        function: (params, ...), without params where the op has none. Strict: (params, *values) → value, or a tuple of
            values where there are many results; None is missing, and RowFailure fails the cell. Not strict:
            (params, *cells) → cell, or a tuple of cells.
        has_many: it may have several results, so that the function gives a tuple.
        block: the same for many rows with NumPy, for the compiled run of ops that have no kernel: (params, xs, states)
            → (results, states), float64[arguments or results, rows] and uint8 of the same shape (VALID or
            MISSING_STATE; no row with a failed argument is handed in, and for strict ops none with a missing one).
            Arguments and results must be numbers or booleans. Without it the function runs once for each distinct row
            of arguments.
        check: what is wrong with parameters and arguments together, or None.
    """

    name: str
    args: tuple[str, ...]
    results: Results
    params: Mapping[str, Param]
    is_strict: bool
    function: Callable[..., Any]
    has_many: bool = False
    check: Check | None = None
    block: Block | None = None


OPS: Final[dict[str, OpSpec]] = {}
"""Every op by name; the `ops_*` modules fill it."""


def constant_results(result: str) -> Results:
    """Results that do not depend on parameters: a dtype, or `T`, that of the argument that the name `T` stands for."""

    def results(dtypes: Sequence[DType], params: Mapping[str, Any]) -> tuple[DType, ...]:  # noqa: ARG001
        return (result,)  # type: ignore[return-value]  # checked where `T` is resolved

    return results


def of_dtype(dtypes: Sequence[DType], params: Mapping[str, Any]) -> tuple[DType, ...]:  # noqa: ARG001
    """The dtype that the parameter `dtype` names."""
    dtype: DType = params["dtype"]
    return (dtype,)


def same_as_first(dtypes: Sequence[DType], params: Mapping[str, Any]) -> tuple[DType, ...]:  # noqa: ARG001
    """That of the first argument."""
    return (dtypes[0],)


def numbers(count: Callable[[Mapping[str, Any]], int]) -> Results:
    """As many numbers as `count` says for the parameters."""

    def results(dtypes: Sequence[DType], params: Mapping[str, Any]) -> tuple[DType, ...]:  # noqa: ARG001
        one: tuple[DType, ...] = ("number",)
        return one * count(params)

    return results


def define(
    name: str,
    args: str,
    result: str | Results,
    *,
    params: Mapping[str, Param] | None = None,
    is_strict: bool = True,
    has_many: bool = False,
    check: Check | None = None,
    block: Block | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator that registers a function as an op; see `OpSpec` for the arguments."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        if name in OPS:
            raise InvariantError(f"op {name!r} is defined twice")
        results = constant_results(result) if isinstance(result, str) else result
        OPS[name] = OpSpec(
            name, tuple(args.split()), results, params or {}, is_strict, function, has_many, check, block
        )
        return function

    return register


def spec_of(name: str) -> OpSpec:
    """The op of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in OPS:
        raise ConfigError(f"there is no op {name!r}", code="unknown_op", hint=suggest(name, OPS))
    return OPS[name]


def result_dtypes(spec: OpSpec, dtypes: Sequence[DType], params: Mapping[str, Any]) -> tuple[DType, ...]:
    """Dtypes of the results for these arguments and canonical parameters.

    Raises:
        ConfigError: number or dtypes of the arguments are wrong, or the parameters do not fit them.
    """
    expected = list(spec.args)
    if expected and expected[-1].endswith("*"):
        rest = expected.pop().removesuffix("*")
        expected += [rest] * max(0, len(dtypes) - len(expected))
    if len(expected) != len(dtypes):
        raise ConfigError(f"op {spec.name!r} takes {len(expected)} arguments, not {len(dtypes)}")
    same: DType | None = None
    for i, (want, got) in enumerate(zip(expected, dtypes, strict=True)):
        if want == "T":
            same = same or got
            want = same  # noqa: PLW2901
        if want not in {"any", got}:
            raise ConfigError(f"argument {i} of op {spec.name!r} is a {got}, not a {want}")
    if spec.check is not None and (problem := spec.check(dtypes, params)):
        raise ConfigError(f"op {spec.name!r}: {problem}")
    results = spec.results(dtypes, params)
    return tuple(same if same and dtype not in DTYPES else dtype for dtype in results)
