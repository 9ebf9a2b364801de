"""Expressions as code for the stack machine of `kernels.evaluate`."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from recserve.features.expressions import (
    EARTH_RADIUS_KM,
    VECTOR_FUNCTIONS,
    Binary,
    Call,
    Conditional,
    Negate,
    Node,
    Number,
    Variable,
    parse,
    variables_of,
)
from recserve.features.kernels.arithmetic import NUMBER, OPCODES, SELECT, VARIABLE

_FOLDED: Final = {"min": "min", "max": "max", "sum": "+", "avg": "+"}
_ALIASES: Final = {"ln": "log"}


@dataclass(frozen=True)
class Code:
    """A compiled expression.

    Attributes:
        steps: (opcode, operand) pairs, flat, in postfix order.
        depth: places the stack needs.
        variables: names that the expression uses.
        has_vector_functions: it must be run row by row.
    """

    steps: tuple[int, ...]
    depth: int
    variables: frozenset[str]
    has_vector_functions: bool


def generate(expression: str, names: Sequence[str]) -> Code:
    """Compile an expression over variables; variable i is `names[i]`.

    Raises:
        ConfigError: it is not an expression.
    """
    tree = _spelled_out(parse(expression, names))
    steps: list[tuple[int, int]] = []
    _emit(tree, list(names), steps)
    depth = most = 0
    for opcode, operand in steps:
        depth += 1 if opcode in (NUMBER, VARIABLE) else -2 if opcode == SELECT else 1 - operand
        most = max(most, depth)
    flat = tuple(part for step in steps for part in step)
    return Code(flat, most, frozenset(variables_of(tree)), _has_vector_function(tree))


def _has_vector_function(node: Node) -> bool:
    match node:
        case Negate(operand):
            return _has_vector_function(operand)
        case Binary(_, left, right):
            return _has_vector_function(left) or _has_vector_function(right)
        case Conditional(condition, yes, no):
            return any(map(_has_vector_function, (condition, yes, no)))
        case Call(function, arguments):
            return function in VECTOR_FUNCTIONS or any(map(_has_vector_function, arguments))
    return False


def _spelled_out(node: Node) -> Node:
    """The same tree in functions that the machine has: of one or two arguments."""
    match node:
        case Negate(operand):
            return Negate(_spelled_out(operand))
        case Binary(operator, left, right):
            return Binary(operator, _spelled_out(left), _spelled_out(right))
        case Conditional(condition, yes, no):
            return Conditional(_spelled_out(condition), _spelled_out(yes), _spelled_out(no))
        case Call(function, arguments):
            parts = tuple(map(_spelled_out, arguments))
            if function in _FOLDED:
                return _folded(function, parts)
            if function in ("haversine", "sphere_dist"):
                return _distance(*parts)
            return Call(_ALIASES.get(function, function), parts)
    return node


def _folded(function: str, parts: Sequence[Node]) -> Node:
    operator, result = _FOLDED[function], parts[0]
    for part in parts[1:]:
        result = Binary(operator, result, part)
    return Binary("/", result, Number(float(len(parts)))) if function == "avg" else result


def _distance(lng1: Node, lat1: Node, lng2: Node, lat2: Node) -> Node:
    """Great-circle distance in km by the haversine formula, in the order of operations of `expressions`."""

    def radians(x: Node) -> Node:
        return Call("radians", (x,))

    def squared_sine(x: Node) -> Node:
        return Binary("^", Call("sin", (Binary("/", x, Number(2.0)),)), Number(2.0))

    phi1, phi2 = radians(lat1), radians(lat2)
    cosines = Binary("*", Call("cos", (phi1,)), Call("cos", (phi2,)))
    across = Binary("*", cosines, squared_sine(radians(Binary("-", lng2, lng1))))
    a = Binary("+", squared_sine(Binary("-", phi2, phi1)), across)
    angle = Call("asin", (Call("sqrt", (Binary("min", a, Number(1.0)),)),))
    return Binary("*", Number(2 * EARTH_RADIUS_KM), angle)


def _emit(node: Node, names: list[str], steps: list[tuple[int, int]]) -> None:
    """Append the postfix code of a tree."""
    match node:
        case Number(value):
            steps.append((NUMBER, struct.unpack("<q", struct.pack("<d", value))[0]))
        case Variable(name):
            steps.append((VARIABLE, names.index(name)))
        case Negate(operand):
            _emit(operand, names, steps)
            steps.append((OPCODES["negate"], 1))
        case Binary(operator, left, right):
            _emit(left, names, steps)
            _emit(right, names, steps)
            steps.append((OPCODES[operator], 2))
        case Conditional(condition, yes, no):
            for part in (condition, yes, no):
                _emit(part, names, steps)
            steps.append((SELECT, 3))
        case Call(function, arguments):
            for part in arguments:
                _emit(part, names, steps)
            steps.append((OPCODES[function], len(arguments)))
