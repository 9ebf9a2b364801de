"""From raw columns to the row of numbers that genmodel's models score: level codes, encodings, missing values."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from recserve.importers.mojo.archive import damaged
from recserve.importers.mojo.ini import MAX_COLUMNS, Info, read_levels, unsupported
from recserve.scoring.graph import Graph, Value

_INTEGER = re.compile(r"[+-]?\d{1,10}")
# Encodings whose columns genmodel reads as they are: the model knows their levels.
_PLAIN = {"AUTO", "Enum", "SortByResponse", "OneHotInternal"}


@dataclass
class Row:
    """The row under construction.

    Attributes:
        graph: where its values are.
        values: one a column of the model.
        inputs: raw column → dtype, in order.
        levels: raw categorical column → how many levels it knows.
    """

    graph: Graph
    values: list[Value]
    inputs: dict[str, str] = field(default_factory=dict)
    levels: dict[str, int] = field(default_factory=dict)

    def number(self, name: str) -> Value:
        """A raw column as a number. A text that is none fails the row, as genmodel throws."""
        self.inputs.setdefault(name, "float64")
        value = self.graph.input(name, "number")
        wrong = value.unparsed
        parsed = self.graph.apply("fail", value, wrong, message=f"column {name!r}: the text is no number")
        self.graph.guard(parsed)
        return parsed

    def code(self, name: str, codes: dict[str, float], default: float | None = None) -> Value:
        """A raw column's level as a number; `default` (None: missing) for levels that the model does not know."""
        self.inputs.setdefault(name, "string")
        self.levels[name] = len(codes)
        raw = self.graph.input(name, "string")
        keys = [[level] for level in codes]
        return self.graph.apply("lookup", raw, keys=keys, values=list(codes.values()), default=default)


@dataclass(frozen=True)
class _Original:
    """The columns as they were before H2O encoded them."""

    names: tuple[str, ...]
    domains: tuple[tuple[str, ...] | None, ...]


def read_row(graph: Graph, info: Info, skip: frozenset[str] = frozenset()) -> Row:
    """Declare a model's inputs and encode them.

    Args:
        graph: to add to.
        info: the model.
        skip: columns that are computed, not read: their value is missing.

    Raises:
        ConfigError: the encoding is unknown, or what it needs is absent.
    """
    encoding = info.text("_genmodel_encoding", "AUTO")
    row = Row(graph, [graph.missing("number")] * len(info.features))
    if encoding in _PLAIN:
        for index, name in enumerate(info.features):
            domain = info.domains[index]
            if name not in skip:
                row.values[index] = row.number(name) if domain is None else row.code(name, enum_codes(name, domain))
        return row
    if encoding not in _ENCODINGS:
        raise unsupported(f"the categorical encoding {encoding!r} is unknown", info.where("_genmodel_encoding"))
    _ENCODINGS[encoding](row, info, _original(info, encoding))
    return row


def enum_codes(name: str, domain: tuple[str, ...]) -> dict[str, float]:
    """Code of each level. A level `name.x` of the domain answers to `x` as well."""
    codes = {level: float(code) for code, level in enumerate(domain)}
    prefix = name + "."
    for level, code in list(codes.items()):
        if level.startswith(prefix):
            codes.setdefault(level[len(prefix) :], code)
    return codes


def _original(info: Info, encoding: str) -> _Original:
    count = info.count("_n_orig_names", MAX_COLUMNS, 0)
    if not count or info.count("_n_orig_domain_values", MAX_COLUMNS, 0) < count - 1:
        raise damaged(
            f"the encoding {encoding} needs _orig_names and _orig_domain_values", info.archive.where("model.ini")
        )
    names = read_levels(info, "_orig_names", count, escaped=True)
    if info.supervised and names[-1] == info.columns[-1]:
        names = names[:-1]
    domains: list[tuple[str, ...] | None] = []
    for index in range(len(names)):
        size = info.count(f"_m_orig_domain_values_{index}", 1 << 30)
        domains.append(read_levels(info, f"_orig_domain_values_{index}", size, escaped=True) if size else None)
    return _Original(names, tuple(domains))


def _place(row: Row, info: Info, at: int, values: list[Value], name: str) -> None:
    if at + len(values) > len(row.values):
        raise damaged(
            f"the encoding of {name!r} needs columns {at} to {at + len(values) - 1} of {len(row.values)}",
            info.where("_genmodel_encoding"),
        )
    row.values[at : at + len(values)] = values


def _expand(row: Row, info: Info, original: _Original, encode: Callable[[str, tuple[str, ...]], list[Value]]) -> None:
    """Numbers first, then each categorical column as several."""
    at = 0
    for name, domain in zip(original.names, original.domains, strict=True):
        if domain is None:
            _place(row, info, at, [row.number(name)], name)
            at += 1
    for name, domain in zip(original.names, original.domains, strict=True):
        if domain is not None:
            values = encode(name, domain)
            _place(row, info, at, values, name)
            at += len(values)


def _one_hot(row: Row, info: Info, original: _Original) -> None:
    """A column a level and one for unknown levels; a missing cell leaves all of them missing."""

    def encode(name: str, domain: tuple[str, ...]) -> list[Value]:
        code = row.code(name, _codes(domain), float(len(domain)))
        return row.graph.apply_many("one_hot", [code], values=list(range(len(domain) + 1)))

    _expand(row, info, original, encode)


def _binary(row: Row, info: Info, original: _Original) -> None:
    """The bits of 1 + code, the lowest first; an unknown level is 0, a missing cell leaves all bits missing."""

    def encode(name: str, domain: tuple[str, ...]) -> list[Value]:
        bits = len(domain).bit_length()
        code = row.code(name, {level: value + 1 for level, value in _codes(domain).items()}, 0.0)
        table = [[float(number >> bit & 1) for bit in range(bits)] for number in range(len(domain) + 1)]
        return row.graph.apply_many("gather", [code], table=table)

    _expand(row, info, original, encode)


def _codes(domain: tuple[str, ...]) -> dict[str, float]:
    return {level: float(code) for code, level in enumerate(domain)}


def _in_place(
    row: Row, info: Info, original: _Original, codes_of: Callable[[int, str, tuple[str, ...]], dict[str, float]]
) -> None:
    """Each original column is one of the model's."""
    for index, (name, domain) in enumerate(zip(original.names, original.domains, strict=True)):
        value = row.number(name) if domain is None else row.code(name, codes_of(index, name, domain))
        _place(row, info, index, [value], name)


def _enum_limited(row: Row, info: Info, original: _Original) -> None:
    """The levels that were kept, and all other known ones as `other`."""

    def codes_of(index: int, name: str, domain: tuple[str, ...]) -> dict[str, float]:
        kept = info.domains[index]
        if kept is None:
            raise damaged(f"column {name!r} has levels, its encoded column {index} has none", info.where("[domains]"))
        codes = _codes(kept)
        top = f"{name}.top_"
        for level, code in list(codes.items()):
            if level.startswith(top) and level.endswith("_levels"):
                codes.setdefault(level[len(top) : -len("_levels")], code)
        other = _codes(kept).get("other")
        if other is not None:
            codes.update(dict.fromkeys(set(domain) - set(kept), other))
            del codes["other"]
        return codes

    _in_place(row, info, original, codes_of)


def _eigen(row: Row, info: Info, original: _Original) -> None:
    """Each level's float32 projection."""
    projection = info.numbers("_orig_projection_array", ()).astype(np.float32).astype(np.float64)
    at = 0
    starts = {}
    for index, domain in enumerate(original.domains):
        if domain is not None:
            starts[index] = at
            at += len(domain)
    if at > len(projection):
        raise damaged(f"has {len(projection)} numbers for {at} levels", info.where("_orig_projection_array"))

    def codes_of(index: int, name: str, domain: tuple[str, ...]) -> dict[str, float]:  # noqa: ARG001
        return {level: float(projection[starts[index] + code]) for code, level in enumerate(domain)}

    _in_place(row, info, original, codes_of)


def _label(row: Row, info: Info, original: _Original) -> None:
    """A known level that is a whole number is that number, else its code."""

    def codes_of(index: int, name: str, domain: tuple[str, ...]) -> dict[str, float]:  # noqa: ARG001
        return {level: float(level if _INTEGER.fullmatch(level) else code) for code, level in enumerate(domain)}

    _in_place(row, info, original, codes_of)


_ENCODINGS: dict[str, Callable[[Row, Info, _Original], None]] = {
    "OneHotExplicit": _one_hot,
    "Binary": _binary,
    "EnumLimited": _enum_limited,
    "Eigen": _eigen,
    "LabelEncoder": _label,
}
