"""The language of expressions: `expression` of expr features, `expr` of normalizers, `formula` of SeqExpr.

An expression is parsed once into a small typed tree; `evaluate` is its definition, and compiled code is made from the
same tree. All arithmetic is float64 after IEEE 754: a division by zero is an infinity or NaN, a function outside its
domain is NaN, and NaN propagates unless a line below says otherwise.

Operators, from the loosest to the tightest; all group from the left but `?:` and `^`:

| operators                   | meaning                                                                           |
|-----------------------------|-----------------------------------------------------------------------------------|
| `c ? a : b`                 | a where c is not 0 (NaN is not 0), else b                                         |
| `||`, then `&&`             | 1 or 0; a value is true if it is not 0                                            |
| `|`, then `&`               | bits of both sides truncated to int64; NaN where a side is NaN or does not fit    |
| `<=` `>=` `!=` `==` `>` `<` | 1 or 0; a comparison with NaN is 0, but `!=` is 1                                 |
| `+` `-`, then `*` `/`       | arithmetic                                                                        |
| `-x` `+x`                   | sign                                                                              |
| `^`                         | power; `-x^2` is `-(x^2)`, `2^-1` is allowed                                      |

Names are variables, the constants `_pi` and `_e`, or functions (SCALAR_FUNCTIONS, VECTOR_FUNCTIONS).

Scalars and vectors: a variable holds one number or several. Operators and scalar functions work element by element, and
a single number pairs with each element of a vector; two vectors must be of one length. A vector function takes vectors
and yields one number; beside one, other variables must be single numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeAlias

import numpy as np

from recserve.dtypes import F64
from recserve.errors import ConfigError, DataError, suggest

EARTH_RADIUS_KM: Final = 6371.0
CONSTANTS: Final = {"_pi": 3.141592653589793, "_e": 2.718281828459045}
MAX_TOKENS: Final = 500
MAX_NESTING: Final = 40
_INT64_LIMIT: Final = 2.0**63


# ---- the tree


@dataclass(frozen=True)
class Number:
    """A literal or constant."""

    value: float


@dataclass(frozen=True)
class Variable:
    """A declared variable."""

    name: str


@dataclass(frozen=True)
class Negate:
    """Minus the operand."""

    operand: Node


@dataclass(frozen=True)
class Binary:
    """`operator` is one of BINARY_OPERATORS."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Conditional:
    """`condition ? yes : no`."""

    condition: Node
    yes: Node
    no: Node


@dataclass(frozen=True)
class Call:
    """`function` is a key of SCALAR_FUNCTIONS or VECTOR_FUNCTIONS, with as many arguments as it takes."""

    function: str
    arguments: tuple[Node, ...]


Node: TypeAlias = Number | Variable | Negate | Binary | Conditional | Call
BINARY_OPERATORS: Final = ("||", "&&", "|", "&", "<=", ">=", "!=", "==", ">", "<", "+", "-", "*", "/", "^")
_LEVELS: Final = (("||",), ("&&",), ("|",), ("&",), ("<=", ">=", "!=", "==", ">", "<"), ("+", "-"), ("*", "/"))

SCALAR_FUNCTIONS: Final[dict[str, int | None]] = {
    **dict.fromkeys(
        ("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh"), 1
    ),
    **dict.fromkeys(("log", "ln", "log2", "log10", "exp", "sqrt", "sign", "abs", "sigmoid", "isnan"), 1),
    **dict.fromkeys(("rint", "floor", "ceil", "trunc", "round"), 1),
    **dict.fromkeys(("roundp", "mod"), 2),
    **dict.fromkeys(("sphere_dist", "haversine"), 4),
    **dict.fromkeys(("min", "max", "sum", "avg"), None),
}
"""Number of arguments of each; None: one or more. `rnd` is known and rejected: it could not be replayed."""

VECTOR_FUNCTIONS: Final[dict[str, int]] = {
    **dict.fromkeys(("len", "l2_norm", "squared_norm", "std_dev", "pop_std_dev", "variance", "pop_variance"), 1),
    **dict.fromkeys(("reduce_min", "reduce_max", "reduce_sum", "reduce_mean", "reduce_prod"), 1),
    **dict.fromkeys(("dot", "euclid_dist", "corr"), 2),
}
"""Number of arguments of each. `std_dev` and `variance` divide by n, `pop_std_dev` and `pop_variance` by n - 1."""


# ---- parsing

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[^\W\d]\w*)|(?P<operator>\|\||&&|<=|>=|!=|==|[-+*/^<>?:(),|&]))"
)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    position: int


def parse(text: str, variables: Sequence[str]) -> Node:
    """The tree of an expression over `variables`.

    Raises:
        ConfigError: the text is not an expression, or is longer or deeper than MAX_TOKENS and MAX_NESTING; names the
            position (from 1) and the token.
    """
    return _Parser(text, variables).parse()


class _Parser:
    """Recursive descent over the tokens; one method for each family of operators."""

    def __init__(self, text: str, variables: Sequence[str]) -> None:
        self.text, self.variables = text, variables
        self.tokens = list(self._scan())
        self.at = self.depth = 0
        if len(self.tokens) > MAX_TOKENS:
            raise ConfigError(f"an expression of {len(self.tokens)} tokens is too long; at most {MAX_TOKENS} are read")

    def _scan(self) -> Iterator[_Token]:
        position = 0
        while self.text[position:].strip():
            match = _TOKEN.match(self.text, position)
            if match is None:
                start = position + len(self.text[position:]) - len(self.text[position:].lstrip())
                self._fail(f"unexpected character {self.text[start]!r}", start)
            kind = str(match.lastgroup)
            yield _Token(kind, match[kind], match.start(kind))
            position = match.end()
        yield _Token("end", "", len(self.text))

    def _fail(self, problem: str, position: int, hint: str | None = None) -> NoReturn:
        raise ConfigError(f"{problem} at position {position + 1} of expression {self.text!r}", hint=hint)

    def _take(self) -> _Token:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def _skip(self, text: str) -> bool:
        found = self.tokens[self.at].kind == "operator" and self.tokens[self.at].text == text
        self.at += found
        return found

    def _expect(self, text: str) -> None:
        if not self._skip(text):
            token = self.tokens[self.at]
            self._fail(
                f"expected {text!r}, found {token.text!r}" if token.text else f"expected {text!r}", token.position
            )

    def parse(self) -> Node:
        node = self._conditional()
        token = self._take()
        if token.kind != "end":
            self._fail(f"unexpected {token.text!r}", token.position)
        return node

    def _conditional(self) -> Node:
        condition = self._binary(0)
        if not self._skip("?"):
            return condition
        self.depth += 1
        if self.depth > MAX_NESTING:
            self._fail("too deeply nested", self.tokens[self.at].position)
        yes = self._conditional()
        self._expect(":")
        node = Conditional(condition, yes, self._conditional())
        self.depth -= 1
        return node

    def _binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self._sign()
        node = self._binary(level + 1)
        while True:
            operator = next((o for o in _LEVELS[level] if self._skip(o)), None)
            if operator is None:
                return node
            node = Binary(operator, node, self._binary(level + 1))

    def _sign(self) -> Node:
        self.depth += 1
        if self.depth > MAX_NESTING:
            self._fail("too deeply nested", self.tokens[self.at].position)
        if self._skip("-"):
            node: Node = Negate(self._sign())
        elif self._skip("+"):
            node = self._sign()
        else:
            node = self._atom()
            node = Binary("^", node, self._sign()) if self._skip("^") else node
        self.depth -= 1
        return node

    def _atom(self) -> Node:
        token = self._take()
        if token.kind == "number":
            return Number(float(token.text))
        if token.kind == "name":
            return self._call(token) if self._skip("(") else self._name(token)
        if token.text != "(":
            self._fail(f"unexpected {token.text!r}" if token.text else "unexpected end", token.position)
        node = self._conditional()
        self._expect(")")
        return node

    def _name(self, token: _Token) -> Node:
        if token.text in CONSTANTS:
            return Number(CONSTANTS[token.text])
        if token.text not in self.variables:
            known = [*self.variables, *CONSTANTS, *SCALAR_FUNCTIONS, *VECTOR_FUNCTIONS]
            self._fail(f"unknown variable {token.text!r}", token.position, suggest(token.text, known))
        return Variable(token.text)

    def _call(self, token: _Token) -> Node:
        name = token.text
        if name == "rnd":
            self._fail("function 'rnd' is random", token.position, "Training and serving would differ; remove it")
        if name not in SCALAR_FUNCTIONS and name not in VECTOR_FUNCTIONS:
            hint = suggest(name, [*SCALAR_FUNCTIONS, *VECTOR_FUNCTIONS])
            self._fail(f"unknown function {name!r}", token.position, hint)
        arguments: list[Node] = []
        if not self._skip(")"):
            arguments.append(self._conditional())
            while self._skip(","):
                arguments.append(self._conditional())
            self._expect(")")
        wanted = SCALAR_FUNCTIONS.get(name, VECTOR_FUNCTIONS.get(name))
        if len(arguments) != wanted if wanted is not None else not arguments:
            count = "at least 1 argument" if wanted is None else f"{wanted} argument{'s' * (wanted != 1)}"
            self._fail(f"function {name!r} takes {count}, not {len(arguments)}", token.position)
        return Call(name, tuple(arguments))


def variables_of(node: Node) -> set[str]:
    """Names of the variables in a tree."""
    match node:
        case Number():
            return set()
        case Variable(name):
            return {name}
        case Negate(operand):
            return variables_of(operand)
        case Binary(_, left, right):
            return variables_of(left) | variables_of(right)
        case Conditional(condition, yes, no):
            return variables_of(condition) | variables_of(yes) | variables_of(no)
        case Call(_, arguments):
            return set().union(*map(variables_of, arguments))


# ---- evaluation


def evaluate(node: Node, values: Mapping[str, F64]) -> F64:
    """The value of a tree: float64[k], k = 1 for a scalar.

    Args:
        node: what `parse` made.
        values: float64[k] of each variable, k >= 1.

    Raises:
        DataError: two vectors are not of one length.
    """
    with np.errstate(all="ignore"):
        return np.atleast_1d(np.asarray(_value(node, values), np.float64))


def _value(node: Node, values: Mapping[str, F64]) -> F64:
    match node:
        case Number(value):
            return np.array([value])
        case Variable(name):
            return values[name]
        case Negate(operand):
            return -_value(operand, values)
        case Binary(operator, left, right):
            return _BINARY[operator](*_paired([_value(left, values), _value(right, values)]))
        case Conditional(condition, yes, no):
            chosen, a, b = _paired([_value(part, values) for part in (condition, yes, no)])
            return np.where(chosen != 0, a, b)
        case Call(function, arguments) if function in VECTOR_FUNCTIONS:
            parts = [_value(argument, values) for argument in arguments]
            _paired(parts)
            return np.array([_VECTOR[function](*parts)], np.float64)
        case Call(function, arguments):
            return _SCALAR[function](*_paired([_value(argument, values) for argument in arguments]))


def _paired(parts: list[F64]) -> list[F64]:
    """The vectors, after a check that they can be paired element by element."""
    lengths = {len(part) for part in parts} - {1}
    if len(lengths) > 1:
        raise DataError(f"vectors of {' and '.join(map(str, sorted(lengths)))} elements in one operation")
    return parts


def _truth(x: Any) -> F64:
    """1.0 or 0.0 of booleans."""
    return np.asarray(x, np.float64)


def _bits(both: Callable[[int, int], int]) -> Callable[[F64, F64], F64]:
    def apply(a: float, b: float) -> float:
        if not (abs(a) < _INT64_LIMIT and abs(b) < _INT64_LIMIT):
            return np.nan
        return float(both(int(a), int(b)))

    vectorised = np.vectorize(apply, otypes=[np.float64])
    return lambda a, b: np.asarray(vectorised(a, b), np.float64)


def _round_away(x: F64) -> F64:
    whole = np.trunc(x)
    return np.where(np.abs(x - whole) >= 0.5, whole + np.sign(x), whole)


def _round_places(x: F64, places: F64) -> F64:
    scale = np.power(10.0, np.trunc(places))
    return _round_away(x * scale) / scale


def _haversine(lng1: F64, lat1: F64, lng2: F64, lat2: F64) -> F64:
    """Great-circle distance in km of two points in degrees, by the haversine formula."""
    phi1, phi2 = np.radians(lat1), np.radians(lat2)
    a = np.sin((phi2 - phi1) / 2) ** 2
    a = a + np.cos(phi1) * np.cos(phi2) * np.sin(np.radians(lng2 - lng1) / 2) ** 2
    distance: F64 = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(a, 1.0)))
    return distance


def _fold(step: Callable[[F64, F64], F64]) -> Callable[..., F64]:
    def fold(first: F64, *rest: F64) -> F64:
        for part in rest:
            first = step(first, part)
        return first

    return fold


def _average(*parts: F64) -> F64:
    return _fold(np.add)(*parts) / len(parts)


def _central(x: F64, lost: int) -> float:
    """Sum of squared differences from the mean, divided by n - lost; NaN where that is 0."""
    return float(np.sum((x - np.mean(x)) ** 2)) / (len(x) - lost) if len(x) > lost else np.nan


def _correlation(a: F64, b: F64) -> float:
    a, b = (part - np.mean(part) for part in np.broadcast_arrays(a, b))
    scale = np.sqrt(np.sum(a * a) * np.sum(b * b))
    return float(np.sum(a * b) / scale)


_BINARY: Final[dict[str, Callable[[F64, F64], F64]]] = {
    "||": lambda a, b: _truth((a != 0) | (b != 0)),
    "&&": lambda a, b: _truth((a != 0) & (b != 0)),
    "|": _bits(lambda a, b: a | b),
    "&": _bits(lambda a, b: a & b),
    "<=": lambda a, b: _truth(a <= b),
    ">=": lambda a, b: _truth(a >= b),
    "!=": lambda a, b: _truth(a != b),
    "==": lambda a, b: _truth(a == b),
    ">": lambda a, b: _truth(a > b),
    "<": lambda a, b: _truth(a < b),
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "^": np.power,
}
_SCALAR: Final[dict[str, Callable[..., F64]]] = {
    **{
        name: getattr(np, name)
        for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "log2", "log10", "exp", "sqrt")
    },
    **{name: getattr(np, name) for name in ("sign", "abs", "rint", "floor", "ceil", "trunc")},
    **{f"a{name}": getattr(np, f"arc{name}") for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    "log": np.log,
    "ln": np.log,
    "round": _round_away,
    "roundp": _round_places,
    "mod": np.fmod,
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "isnan": lambda x: _truth(np.isnan(x)),
    "sphere_dist": _haversine,
    "haversine": _haversine,
    "min": _fold(np.minimum),
    "max": _fold(np.maximum),
    "sum": _fold(np.add),
    "avg": _average,
}
_VECTOR: Final[dict[str, Callable[..., float]]] = {
    "len": lambda x: float(len(x)),
    "l2_norm": lambda x: float(np.sqrt(np.sum(x * x))),
    "squared_norm": lambda x: float(np.sum(x * x)),
    "dot": lambda a, b: float(np.sum(a * b)),
    "euclid_dist": lambda a, b: float(np.sqrt(np.sum((a - b) ** 2))),
    "corr": _correlation,
    "std_dev": lambda x: float(np.sqrt(_central(x, 0))),
    "pop_std_dev": lambda x: float(np.sqrt(_central(x, 1))),
    "variance": lambda x: _central(x, 0),
    "pop_variance": lambda x: _central(x, 1),
    "reduce_min": lambda x: float(np.min(x)),
    "reduce_max": lambda x: float(np.max(x)),
    "reduce_sum": lambda x: float(np.sum(x)),
    "reduce_mean": lambda x: float(np.mean(x)),
    "reduce_prod": lambda x: float(np.prod(x)),
}
