"""Functions of yours as operators of custom features: plain Python, or compiled by Numba.

    from recserve.features import custom

    def ratio(clicks, views):                      # float64 arrays: the row's numbers of each input
        return clicks.sum() / max(views.sum(), 1)

    custom.register("ratio", ratio, compiled=True)

A config then names it: `{"feature_type": "custom_feature", "operator_name": "ratio", "expression": [...]}`. The program
that loads the config registers the functions, in training and in serving alike: a config and a bundle hold only the
name and a digest of the source, which is part of the digest of the feature set.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from recserve.errors import ConfigError, DataError

Values = Literal["numbers", "texts"]
MAX_COMPILED_INPUTS: Final = 4
BUILT_IN: Final = ("EditDistance", "RegexReplace", "SeqExpr")


@dataclass(frozen=True)
class Function:
    """A registered function.

    Attributes:
        name: operator_name of features.
        call: see `register`.
        reads: what it is given of each input.
        returns: what it makes.
        is_compiled: runs as machine code.
        version: SHA-256 of its source, or what was given.
    """

    name: str
    call: Callable[..., Any]
    reads: Values
    returns: Values
    is_compiled: bool
    version: str


_FUNCTIONS: Final[dict[str, Function]] = {}


def register(
    name: str,
    function: Callable[..., Any],
    *,
    reads: Values = "numbers",
    returns: Values = "numbers",
    compiled: bool = False,
    version: str | None = None,
) -> None:
    """Register a function under the operator_name that features use; a later one of the same name replaces it.

    It is called once for each row (or step of a sequence) in which no input is missing, with the values of each input
    in order: a float64 array of "numbers", a list of str of "texts". `operator_params` come as keywords. It returns one
    value or a sequence of them; None, an empty sequence and NaN leave the row to `default_value`.

    Args:
        name: not that of a built-in operator.
        function: takes as many positional arguments as the feature has inputs.
        reads: "numbers" or "texts", of all inputs.
        returns: "numbers" or "texts".
        compiled: compile it with Numba. It then reads and returns numbers, has at most 4 inputs and no keywords, and
            returns one number. Other functions run as Python: offline, at item and at request rate, not for each
            candidate of a request.
        version: changes with what the function computes; the digest of its source where not given.

    Raises:
        ConfigError: the name is taken, or a compiled function would read or return texts.
    """
    if name in BUILT_IN:
        raise ConfigError(f"operator {name!r} is built in", hint="Choose another name")
    if compiled and (reads != "numbers" or returns != "numbers"):
        raise ConfigError(f"function {name!r} is to be compiled, and reads or returns texts")
    _FUNCTIONS[name] = Function(name, function, reads, returns, compiled, version or _digest(name, function))


def unregister(name: str) -> None:
    """Forget a function; plans that were compiled with it keep it."""
    _FUNCTIONS.pop(name, None)


def _digest(name: str, function: Callable[..., Any]) -> str:
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        raise ConfigError(f"function {name!r} has no source to take a digest of", hint="Give `version`") from None
    return hashlib.sha256(source.encode()).hexdigest()


def registered() -> list[str]:
    """Names of all functions."""
    return list(_FUNCTIONS)


def function_of(name: str | None) -> Function | None:
    """The function of that name, or None."""
    return _FUNCTIONS.get(name or "")


def results(function: Function, inputs: Sequence[Any], parameters: dict[str, Any]) -> list[Any]:
    """What the function makes of one row, as a list of float or of bytes.

    Raises:
        DataError: the function fails; names the function and its error.
    """
    try:
        with np.errstate(all="ignore"):
            found = function.call(*inputs, **parameters)
    except Exception as error:
        raise DataError(f"function {function.name!r} failed: {type(error).__name__}: {error}") from error
    if found is None:
        return []
    values = [found] if isinstance(found, (str, bytes)) or not hasattr(found, "__len__") else list(found)
    if function.returns == "numbers":
        return [float(value) for value in values]
    return [value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape") for value in values]
