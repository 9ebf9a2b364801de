"""The attributes of a bundle's model, read as the types that an op needs.

A scalar that is zero, false or empty is written as `{}`, as protobuf leaves defaults out; so an attribute that is there
without a value is zero, and only one that is absent is absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recserve.errors import ConfigError
from recserve.importers.pipelines.pieces import Array

_NUMBERS = ("double", "float", "long", "int", "short", "byte")


class Attributes:
    """The attributes of one model.

    Attributes:
        where: file, node and op, for errors.
        content: name → value as in `model.json`.
        row_major: whether matrices lie row by row, as mleap's Python package writes them.
    """

    def __init__(self, where: str, content: Mapping[str, Any], *, row_major: bool = False) -> None:
        self.where = where
        self.content = content
        self.row_major = row_major

    def wrong(self, name: str, problem: str) -> ConfigError:
        """The error for an attribute that cannot be used."""
        return ConfigError(f"attribute {name!r} {problem}", code="invalid_model", where=self.where)

    def has(self, name: str) -> bool:
        """Whether the attribute is there."""
        return name in self.content

    def _value(self, name: str) -> Mapping[str, Any]:
        value = self.content.get(name)
        if not isinstance(value, Mapping):
            raise self.wrong(name, "is absent" if value is None else f"is {value!r}, no value of a bundle")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A number; `default`, where given, for an absent attribute."""
        if default is not None and not self.has(name):
            return default
        value = self._value(name)
        found = next((value[kind] for kind in _NUMBERS if kind in value), 0.0)
        return self._as_float(name, found)

    def _as_float(self, name: str, found: Any) -> float:
        if isinstance(found, str):  # JSON has no NaN and no infinities
            special = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
            if found in special:
                return special[found]
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise self.wrong(name, f"is {found!r}, no number")
        return float(found)

    def integer(self, name: str, default: int | None = None) -> int:
        """A whole number."""
        found = self.number(name, None if default is None else float(default))
        if found != int(found):
            raise self.wrong(name, f"is {found!r}, no whole number")
        return int(found)

    def flag(self, name: str, *, default: bool | None = None) -> bool:
        """A boolean."""
        if default is not None and not self.has(name):
            return default
        found = self._value(name).get("boolean", False)
        if not isinstance(found, bool):
            raise self.wrong(name, f"is {found!r}, no boolean")
        return found

    def text(self, name: str, default: str | None = None) -> str:
        """A text."""
        if default is not None and not self.has(name):
            return default
        found = self._value(name).get("string", "")
        if not isinstance(found, str):
            raise self.wrong(name, f"is {found!r}, no text")
        return found

    def basic_type(self, name: str) -> str:
        """A basic type, such as `double`."""
        return str(self._value(name).get("basic_type", "unknown"))

    def numbers(self, name: str) -> list[float]:
        """A list, or a tensor in its stored order, of numbers."""
        value = self._value(name)
        found: Any = next((value[kind] for kind in _NUMBERS if kind in value), [])
        if not isinstance(found, Sequence):
            raise self.wrong(name, f"is {found!r}, no list of numbers")
        return [self._as_float(name, item) for item in found]

    def integers(self, name: str) -> list[int]:
        """A list of whole numbers."""
        found = self.numbers(name)
        if any(item != int(item) for item in found):
            raise self.wrong(name, f"is {found!r}, no whole numbers")
        return [int(item) for item in found]

    def flags(self, name: str) -> list[bool]:
        """A list of booleans."""
        return [bool(item) for item in self._value(name).get("boolean", [])]

    def texts(self, name: str) -> list[str]:
        """A list of texts."""
        found = self._value(name).get("string", [])
        if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
            raise self.wrong(name, f"is {found!r}, no list of texts")
        return found

    def vector(self, name: str) -> Array:
        """A tensor or list of numbers as an array."""
        return np.array(self.numbers(name), dtype=np.float64)

    def optional_vector(self, name: str) -> Array | None:
        """A tensor of numbers, or None where the attribute is absent."""
        return self.vector(name) if self.has(name) else None

    def optional_numbers(self, name: str) -> list[float] | None:
        """A list of numbers, or None where the attribute is absent."""
        return self.numbers(name) if self.has(name) else None

    def matrix(self, name: str) -> Array:
        """A tensor with two dimensions [rows, columns]."""
        return self._tensor(name, self._value(name), 2)

    def tensors(self, name: str, dimensions: int) -> list[Array]:
        """A list of tensors of that many dimensions."""
        found = self._value(name).get("tensor", [])
        return [self._tensor(name, item, dimensions) for item in found]

    def _tensor(self, name: str, value: Mapping[str, Any], dimensions: int) -> Array:
        """Data lie column by column, as Spark's matrices do; vectors of one dimension in order."""
        sizes = [int(size.get("size", 0)) for size in value.get("shape", {}).get("dimensions", [])]
        data: Any = next((value[kind] for kind in _NUMBERS if kind in value), [])
        array = np.array([self._as_float(name, item) for item in data], dtype=np.float64)
        if len(sizes) != dimensions or array.size != int(np.prod(sizes)):
            raise self.wrong(name, f"has {array.size} numbers and shape {sizes}; {dimensions} dimensions are needed")
        return array.reshape(sizes, order="C" if self.row_major else "F")

    def shapes(self, name: str) -> list[int | None]:
        """Per input its number of elements, 1 for a scalar; None where it is not told."""
        value = self._value(name)
        found = value.get("data_shape", [])
        return [self._size(shape) for shape in (found if isinstance(found, list) else [found])]

    @staticmethod
    def _size(shape: Mapping[str, Any]) -> int | None:
        if shape.get("base", "scalar") != "tensor":
            return 1 if shape.get("base", "scalar") == "scalar" else None
        dimensions = (shape.get("tensorShape") or {}).get("dimensions", [])
        return int(np.prod([int(size.get("size", 0)) for size in dimensions])) if dimensions else None
