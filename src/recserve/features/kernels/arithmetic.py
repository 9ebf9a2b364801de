"""Operators and functions of expressions over blocks of float64. See `expressions` for their meaning."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from recserve.dtypes import F64
from recserve.features.kernels.jit import inner

NUMBER: Final = 0
VARIABLE: Final = 1
SELECT: Final = 2
FIRST_ONE: Final = 10
FIRST_TWO: Final = 60
FIRST_VECTOR: Final = 100

_ONE: Final = (  # noqa: SIM905  (a table that is easier to read)
    "negate sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh log log2 log10 exp sqrt sign abs sigmoid isnan "
    "rint floor ceil trunc round radians"
).split()
_TWO: Final = "+ - * / ^ <= >= != == > < || && | & min max mod roundp".split()  # noqa: SIM905
_VECTOR: Final = (  # noqa: SIM905
    "len l2_norm squared_norm std_dev pop_std_dev variance pop_variance reduce_min reduce_max reduce_sum reduce_mean "
    "reduce_prod dot euclid_dist corr"
).split()
OPCODES: Final = {
    **{name: FIRST_ONE + i for i, name in enumerate(_ONE)},
    **{name: FIRST_TWO + i for i, name in enumerate(_TWO)},
    **{name: FIRST_VECTOR + i for i, name in enumerate(_VECTOR)},
}
"""{operator or function: opcode}; `ln` is `log`, and what takes more arguments is made of these."""


@inner
def _round_away(x: float) -> Any:
    whole = np.trunc(x)
    return whole + np.sign(x) if abs(x - whole) >= 0.5 else whole


@inner
def _round_places(x: float, places: float) -> Any:
    scale = np.power(10.0, np.trunc(places))
    return _round_away(x * scale) / scale


@inner
def _trigonometry(opcode: int, x: float) -> Any:
    if opcode == 11:
        return np.sin(x)
    if opcode == 12:
        return np.cos(x)
    if opcode == 13:
        return np.tan(x)
    if opcode == 14:
        return np.arcsin(x)
    if opcode == 15:
        return np.arccos(x)
    if opcode == 16:
        return np.arctan(x)
    if opcode == 17:
        return np.sinh(x)
    if opcode == 18:
        return np.cosh(x)
    if opcode == 19:
        return np.tanh(x)
    if opcode == 20:
        return np.arcsinh(x)
    if opcode == 21:
        return np.arccosh(x)
    return np.arctanh(x)


@inner
def _function(opcode: int, x: float) -> Any:
    if opcode <= 22:
        return _trigonometry(opcode, x)
    if opcode == 23:
        return np.log(x)
    if opcode == 24:
        return np.log2(x)
    if opcode == 25:
        return np.log10(x)
    if opcode == 26:
        return np.exp(x)
    if opcode == 27:
        return np.sqrt(x)
    if opcode == 28:
        return np.sign(x)
    if opcode == 29:
        return abs(x)
    if opcode == 30:
        return 1.0 / (1.0 + np.exp(-x))
    if opcode == 31:
        return 1.0 if np.isnan(x) else 0.0
    if opcode == 32:
        return np.rint(x)
    if opcode == 33:
        return np.floor(x)
    if opcode == 34:
        return np.ceil(x)
    if opcode == 35:
        return np.trunc(x)
    if opcode == 36:
        return _round_away(x)
    return x * (math.pi / 180.0)


@inner
def of_one(opcode: int, x: F64) -> None:
    """Apply an operator or function of one argument to `x` in place."""
    if opcode == FIRST_ONE:
        for i in range(len(x)):
            x[i] = -x[i]
    else:
        for i in range(len(x)):
            x[i] = _function(opcode, x[i])


@inner
def _bits(opcode: int, a: float, b: float) -> Any:
    if not (abs(a) < 2.0**63 and abs(b) < 2.0**63):
        return np.nan
    return float(np.int64(a) | np.int64(b)) if opcode == 73 else float(np.int64(a) & np.int64(b))


@inner
def _operator(opcode: int, a: float, b: float) -> Any:
    if opcode == 64:
        return np.power(a, b)
    if opcode == 65:
        return 1.0 if a <= b else 0.0
    if opcode == 66:
        return 1.0 if a >= b else 0.0
    if opcode == 67:
        return 1.0 if a != b else 0.0
    if opcode == 68:
        return 1.0 if a == b else 0.0
    if opcode == 69:
        return 1.0 if a > b else 0.0
    if opcode == 70:
        return 1.0 if a < b else 0.0
    if opcode == 71:
        return 1.0 if a != 0 or b != 0 else 0.0
    if opcode == 72:
        return 1.0 if a != 0 and b != 0 else 0.0
    if opcode <= 74:
        return _bits(opcode, a, b)
    if opcode == 75:
        return a if a <= b or np.isnan(a) else b
    if opcode == 76:
        return a if a >= b or np.isnan(a) else b
    if opcode == 77:
        return np.fmod(a, b) if b != 0 and not np.isinf(a) else np.nan
    return _round_places(a, b)


@inner
def of_two(opcode: int, out: F64, b: F64, count: int) -> None:
    """Apply an operator to out[:count] and `b`, pairing single numbers with all, in place of `out`."""
    da, db = count != 1, len(b) != 1
    if count == 1:
        for i in range(1, len(out)):
            out[i] = out[0]
        da = True
    if opcode == 60:
        for i in range(len(out)):
            out[i] = out[i * da] + b[i * db]
    elif opcode == 61:
        for i in range(len(out)):
            out[i] = out[i * da] - b[i * db]
    elif opcode == 62:
        for i in range(len(out)):
            out[i] = out[i * da] * b[i * db]
    elif opcode == 63:
        for i in range(len(out)):
            out[i] = out[i * da] / b[i * db]
    else:
        for i in range(len(out)):
            out[i] = _operator(opcode, out[i * da], b[i * db])


@inner
def _sum(x: F64) -> Any:
    total = 0.0
    for i in range(len(x)):
        total += x[i]
    return total


@inner
def _central(x: F64, lost: int) -> Any:
    """Sum of squared differences from the mean, divided by n - lost."""
    if len(x) <= lost:
        return np.nan
    mean, total = _sum(x) / len(x), 0.0
    for i in range(len(x)):
        total += (x[i] - mean) * (x[i] - mean)
    return total / (len(x) - lost)


@inner
def _of_pair(opcode: int, x: F64, y: F64) -> Any:
    n, dx, dy = max(len(x), len(y)), len(x) != 1, len(y) != 1
    mean_x, mean_y = _sum(x) / len(x), _sum(y) / len(y)
    dot, squares, xy, xx, yy = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        a, b = x[i * dx], y[i * dy]
        dot += a * b
        squares += (a - b) * (a - b)
        xy += (a - mean_x) * (b - mean_y)
        xx += (a - mean_x) * (a - mean_x)
        yy += (b - mean_y) * (b - mean_y)
    if opcode == 112:
        return dot
    return np.sqrt(squares) if opcode == 113 else xy / np.sqrt(xx * yy)


@inner
def _reduce(opcode: int, x: F64) -> Any:
    result = x[0]
    for i in range(1, len(x)):
        if opcode == 107:
            result = _operator(75, result, x[i])
        elif opcode == 108:
            result = _operator(76, result, x[i])
        else:
            result *= x[i]
    return result


@inner
def of_vectors(opcode: int, x: F64, y: F64) -> Any:
    """The number that a vector function makes of `x`, or of `x` and `y`."""
    if opcode == 100:
        return float(len(x))
    if opcode <= 102:
        total = 0.0
        for i in range(len(x)):
            total += x[i] * x[i]
        return np.sqrt(total) if opcode == 101 else total
    if opcode <= 106:
        variance = _central(x, 0 if opcode in (103, 105) else 1)
        return np.sqrt(variance) if opcode <= 104 else variance
    if opcode in (109, 110):
        return _sum(x) if opcode == 109 else _sum(x) / len(x)
    if opcode <= 111:
        return _reduce(opcode, x)
    return _of_pair(opcode, x, y)
