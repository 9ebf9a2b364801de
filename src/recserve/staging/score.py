"""The ranking expression: `ctr`, `ctr ** 0.7 * cvr`, `0.8 * ctr + 0.2 * cvr`.

A small part of Python's expression grammar over the network's outputs, evaluated on whole columns.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from recserve.dtypes import F32
from recserve.errors import ConfigError, suggest

_BINARY: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "log": np.log,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "min": np.minimum,
    "max": np.maximum,
}
_ARITY: Final = {"log": 1, "exp": 1, "sqrt": 1, "min": 2, "max": 2}


@dataclass(frozen=True)
class Score:
    """A parsed ranking expression.

    Attributes:
        text: as written.
        names: the outputs that it reads.
    """

    text: str
    names: tuple[str, ...]
    _tree: ast.expr

    @classmethod
    def parse(cls, text: str | None, outputs: tuple[str, ...]) -> Score:
        """Parse an expression over `outputs`; None means the only output.

        Raises:
            ConfigError: several outputs and no expression, or anything in it that is not arithmetic over outputs.
        """
        if text is None:
            if len(outputs) != 1:
                raise ConfigError(
                    f"the network has the outputs {', '.join(outputs)}, and nothing says how to rank by them",
                    code="no_score",
                    where="score",
                    hint=f"Give an expression, such as score={' * '.join(outputs)!r}",
                )
            text = outputs[0]
            return cls(text, (text,), ast.Name(text))
        try:
            tree = ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ConfigError(f"{text!r} is not an expression: {error}", code="bad_score", where="score") from error
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        names = sorted({n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in called})
        for name in names:
            if name not in outputs:
                raise ConfigError(
                    f"{text!r} reads {name!r}, which is no output of the network",
                    code="bad_score",
                    where="score",
                    hint=suggest(name, outputs) or f"Outputs: {', '.join(outputs)}",
                )
        _check(tree, text)
        return cls(text, tuple(names), tree)

    def evaluate(self, outputs: Mapping[str, F32]) -> F32:
        """float32[N] from the outputs, float32[N] each. Division by zero and the like follow IEEE."""
        if isinstance(self._tree, ast.Name):
            return outputs[self._tree.id]
        with np.errstate(all="ignore"):
            result = _evaluate(self._tree, outputs)
        rows = len(next(iter(outputs.values())))
        return np.ascontiguousarray(np.broadcast_to(np.asarray(result, np.float32), (rows,)))


def _check(node: ast.expr, text: str) -> None:
    children: list[ast.expr]
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        children = [node.left, node.right]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        children = [node.operand]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
        children = node.args
        if len(children) != _ARITY[node.func.id] or node.keywords:
            raise ConfigError(
                f"{text!r}: {node.func.id} takes {_ARITY[node.func.id]} arguments", code="bad_score", where="score"
            )
    elif isinstance(node, ast.Name) or (isinstance(node, ast.Constant) and type(node.value) in (int, float)):
        children = []
    else:
        raise ConfigError(
            f"{text!r}: {ast.unparse(node)!r} is not allowed",
            code="bad_score",
            where="score",
            hint=f"Use outputs, numbers, + - * / **, and {', '.join(_FUNCTIONS)}",
        )
    for child in children:
        _check(child, text)


def _evaluate(node: ast.expr, outputs: Mapping[str, F32]) -> Any:
    if isinstance(node, ast.Name):
        return outputs[node.id]
    if isinstance(node, ast.Constant):
        return np.float32(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.UnaryOp):
        return -_evaluate(node.operand, outputs)
    if isinstance(node, ast.BinOp):
        return _BINARY[type(node.op)](_evaluate(node.left, outputs), _evaluate(node.right, outputs))
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    return _FUNCTIONS[node.func.id](*(_evaluate(child, outputs) for child in node.args))
