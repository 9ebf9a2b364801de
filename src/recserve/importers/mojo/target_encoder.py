"""Target encoding: each level as the blended mean of the target."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from recserve.importers.mojo.archive import damaged
from recserve.importers.mojo.ini import Info
from recserve.importers.mojo.prediction import Prediction
from recserve.scoring.graph import Graph, Value

_FOLDER = "feature_engineering/target_encoding/"
_SECTION = re.compile(r"\[(.*?)\]")
_LARGEST = 1 << 53

Counts = dict[int, dict[int, tuple[float, float]]]  # category → target class (−1 where there is one) → (sum, rows)


@dataclass(frozen=True)
class _Mapping:
    """One encoded column: of which columns, under which name, and the domain of their combinations."""

    sources: tuple[str, ...]
    name: str
    outputs: tuple[str, ...]
    domain: tuple[str, ...] | None


def lower_target_encoder(graph: Graph, info: Info, row: list[Value], offset: Value | None) -> Prediction:  # noqa: ARG001
    """All encoded columns, in the model's order."""
    tables = _read_tables(info)
    has_missing = _read_flags(info)
    values: list[Value] = []
    names: list[str] = []
    for mapping in _read_mappings(info, tables):
        if mapping.name not in tables:
            raise damaged(f"has no section [{mapping.name}]", info.archive.where(_FOLDER + "encoding_map.ini"))
        code = _category(graph, info, row, mapping)
        counts = tables[mapping.name]
        targets = [-1] if info.classes <= 2 else list(range(1, info.classes))
        is_known = has_missing.get(mapping.name, False)
        values += [_encode(graph, info, code, counts, target, is_known) for target in targets]
        names += mapping.outputs
    if not values or len(names) != len(values):
        raise damaged(f"gives {len(values)} values for {len(names)} columns", info.archive.where(_FOLDER))
    return Prediction(values[0], tuple(values[1:]), tuple(names))


def _encode(  # noqa: PLR0917  (what a row needs)
    graph: Graph,
    info: Info,
    code: Value,
    counts: Counts,
    target: int,
    has_missing: bool,
) -> Value:
    try:
        known = {category: classes[target] for category, classes in counts.items()}
    except KeyError:
        where = info.archive.where(_FOLDER + "encoding_map.ini")
        raise damaged(f"lacks the target class {target} of a category", where) from None
    total = sum(rows for _, rows in known.values())
    prior = sum(hits for hits, _ in known.values()) / total if total else math.nan
    encoded = {category: _blend(info, hits, rows, prior) for category, (hits, rows) in known.items()}
    # The last category stands for missing values where training met any.
    missing = encoded.get(len(known) - 1, prior) if has_missing else prior
    value = graph.apply(
        "lookup", code, keys=[[category] for category in encoded], values=list(encoded.values()), missing=missing
    )
    lost = graph.apply("is_missing", value)
    return graph.apply("fail", value, lost, message="the target encoder has no count of this level")


def _blend(info: Info, hits: float, rows: float, prior: float) -> float:
    mean = hits / rows if rows else math.nan
    if not info.flag("with_blending"):
        return mean
    power = (info.number("inflection_point") - math.trunc(rows)) / info.number("smoothing")
    share = 1.0 / (1.0 + math.exp(power)) if power < 700 else 0.0
    return share * mean + (1 - share) * prior


def _category(graph: Graph, info: Info, row: list[Value], mapping: _Mapping) -> Value:
    """The code of a column's level, or of the combination of several columns' levels."""
    where = info.archive.where(_FOLDER + "input_encoding_columns_map.ini")
    places = {name: place for place, name in enumerate(info.features)}
    if absent := [name for name in mapping.sources if name not in places]:
        raise damaged(f"encodes {absent[0]!r}, which is no column", where)
    columns = [places[name] for name in mapping.sources]
    if len(columns) == 1:
        return row[columns[0]]
    try:
        domain = [int(level) for level in mapping.domain or ()]
    except ValueError:
        raise damaged(f"the domain of {mapping.name!r} has a level that is no whole number", where) from None
    parts, factors, factor = [], [], 1
    for column in columns:
        size = len(info.domains[column] or ())
        parts.append(graph.apply("replace_missing", row[column], float(size)))
        factors.append(float(factor))
        factor *= size + 1
    if factor > _LARGEST:
        raise damaged(f"{mapping.name!r} has {factor} combinations", where)
    number = graph.apply("linear", *parts, weights=factors)
    return graph.apply("lookup", number, keys=[[value] for value in domain], values=list(range(len(domain))))


def _read_tables(info: Info) -> dict[str, Counts]:
    name = _FOLDER + "encoding_map.ini"
    tables: dict[str, Counts] = {}
    current: Counts | None = None
    for number, line in enumerate(info.archive.lines(name), 1):
        text = line.strip()
        if section := _SECTION.search(text):
            current = tables.setdefault(section[1], {})
            continue
        key, _, parts = text.partition("=")
        try:
            values = [float(part) for part in parts.split()]
            hits, rows, *target = values
            if current is None or len(target) != (0 if info.classes <= 2 else 1):
                raise ValueError
            current.setdefault(int(key), {})[int(target[0]) if target else -1] = (hits, rows)
        except ValueError:
            raise damaged(
                f"{text[:60]!r} is no `category = sum rows`", f"{info.archive.where(name)}: line {number}"
            ) from None
    return tables


def _read_flags(info: Info) -> dict[str, bool]:
    name = _FOLDER + "te_column_name_to_missing_values_presence.ini"
    if name not in info.archive:
        return {}
    pairs = (re.split(r"\s*=\s*", line, maxsplit=1) for line in info.archive.lines(name))
    return {pair[0]: pair[-1].strip() == "1" for pair in pairs}


def _read_mappings(info: Info, tables: dict[str, Counts]) -> list[_Mapping]:
    encoded = _read_groups(info, "input_encoding_columns_map.ini")
    outputs = _read_groups(info, "input_output_columns_map.ini")
    if not encoded and not outputs:  # MOJOs before 3.30 have neither
        width = max(info.classes - 1, 1)
        return [_Mapping((name,), name, _old_names(name, width), None) for name in tables]
    if len(encoded) != len(outputs):
        raise damaged(f"has {len(outputs)} groups for {len(encoded)} encodings", info.archive.where(_FOLDER))
    return [
        _Mapping(tuple(group["[from]"]), group["[to]"][0], tuple(target["[to]"]), _domain(group))
        for group, target in zip(encoded, outputs, strict=True)
    ]


def _old_names(name: str, width: int) -> tuple[str, ...]:
    return (f"{name}_te",) if width == 1 else tuple(f"{name}_{number}_te" for number in range(1, width + 1))


def _domain(group: dict[str, list[str]]) -> tuple[str, ...] | None:
    return tuple(group["[to_domain]"]) if "[to_domain]" in group else None


def _read_groups(info: Info, file: str) -> list[dict[str, list[str]]]:
    """Groups that start with [from]; each has a list of lines a section."""
    if _FOLDER + file not in info.archive:
        return []
    groups: list[dict[str, list[str]]] = []
    section = ""
    for line in map(str.strip, info.archive.lines(_FOLDER + file)):
        if line in ("[from]", "[to]", "[to_domain]"):
            section = line
            if line == "[from]":
                groups.append({})
            if not groups:
                raise damaged(f"starts with {line}", info.archive.where(_FOLDER + file))
            groups[-1][line] = []
        elif groups:
            groups[-1][section].append(line)
    if any(not group.get("[from]") or not group.get("[to]") for group in groups):
        raise damaged("has a group without [from] or [to]", info.archive.where(_FOLDER + file))
    return groups
