"""The file format: an fg.json document to feature specs, and back.

A document is {"features": [entry, ...]}. An entry is a feature, or a sequence group with `sequence_name` and its own
`features`. Options are named as in TorchEasyRec's feature config; the names that its exporter writes into an fg.json
instead are read as well, as are the remarks that say nothing new. Everything else is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from pydantic import BaseModel, ValidationError

from recserve.errors import suggest
from recserve.features.declared import Declared, Mode
from recserve.features.profiles import PYFG, Profile
from recserve.features.spec import FeatureSpec, SequenceGroup
from recserve.features.spec_types import TYPES

SEQUENCE_PREFIX: Final = "sequence_"
_DOCUMENT_KEYS: Final = ("features", "reserves")

_ALIASES: Final[dict[str, dict[str, str]]] = {
    "lookup_feature": {"needDiscrete": "need_discrete", "needKey": "need_key"},
    "match_feature": {
        "user": "nested_map",
        "category": "pkey",
        "item": "skey",
        "needDiscrete": "need_discrete",
        "show_category": "show_pkey",
        "show_item": "show_skey",
    },
}
"""Names of an exported fg.json that differ from the config's."""

_REMARKS: Final[dict[str, dict[str, tuple[Any, ...]]]] = {
    "": {"value_type": ("string", "float", "int64", "double", "int32")},
    "overlap_feature": {"default_value": ("0",), "value_dim": (1,)},
    "kv_dot_product": {"value_dim": (1,)},
    "tokenize_feature": {"output_type": ("word_id",), "value_dim": (0,)},
    "custom_feature": {"is_sequence": (True, False)},
}
"""Options of an exported fg.json that repeat what is known anyway, with the values that do."""

_TEXT_NORMALIZERS: Final = ("text_normalizer", "sequence_text_normalizer")
_NORMALIZER_FLAGS: Final = {
    "TEXT_LOWER2UPPER": 2,
    "TEXT_UPPER2LOWER": 4,
    "TEXT_SBC2DBC": 8,
    "TEXT_CHT2CHS": 16,
    "TEXT_FILTER": 32,
    "TEXT_SPLITCHRS": 512,
}
_STUB_REMARKS: Final = (
    *("feature_type", "feature_name", "expression", "sequence_fields", "stub_type", "is_gbk_input", "is_gbk_output"),
    *("default_value", "sequence_delim", "sequence_length"),
)

_OPERATOR_PARAMETERS: Final = ("encoding", "formula", "regex_pattern", "replacement")
"""Parameters of custom operators; an exported fg.json has them beside the options."""


@dataclass(frozen=True)
class Document:
    """What could be read of a document, what was wrong with the rest, and (reading leniently) what was left out."""

    features: tuple[Declared, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Reading:
    """How a document is read, and what was found on the way.

    Attributes:
        mode, profile: of the features.
        lenient: unknown options are left out with a warning.
        problems, warnings: so far.
    """

    mode: Mode
    profile: Profile
    lenient: bool
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def refuse_unknown(self, place: str, option: str, known: Iterable[str]) -> None:
        """Note an unknown option."""
        text = _sentence(f"{place}: unknown option {option!r}", suggest(option, known))
        (self.warnings if self.lenient else self.problems).append(text)


def read_document(document: object, mode: Mode, profile: Profile = PYFG, lenient: bool = False) -> Document:
    """Read all entries; problems are collected, each with the name of its feature."""
    reading = _Reading(mode, profile, lenient)
    if not isinstance(document, Mapping) or not isinstance(document.get("features"), list):
        return Document((), ('the document is not {"features": [...]}',))
    for key in document:
        if key not in _DOCUMENT_KEYS:
            reading.refuse_unknown("the document", str(key), _DOCUMENT_KEYS)
    found: list[Declared] = []
    for number, entry in enumerate(merge_text_normalizers(document["features"])):
        if isinstance(entry, Mapping) and "sequence_name" in entry:
            found += _read_group(dict(entry), reading)
        else:
            found += _read_feature(entry, f"features[{number}]", None, reading)
    return Document(tuple(found), tuple(reading.problems), tuple(reading.warnings))


def _read_group(entry: dict[str, Any], reading: _Reading) -> list[Declared]:
    place = f"sequence {entry['sequence_name']!r}"
    members = entry.pop("features", None)
    if entry.pop("feature_type", "sequence_feature") != "sequence_feature":
        reading.problems.append(f"{place}: a sequence group has no feature_type but 'sequence_feature'")
    group = _validate(SequenceGroup, entry, place, reading)
    if not isinstance(members, list):
        reading.problems.append(f"{place}: option 'features' is missing or no list")
        return []
    if not isinstance(group, SequenceGroup):
        return []
    parts = (
        _read_feature(m, f"{place}: features[{i}]", group, reading)
        for i, m in enumerate(merge_text_normalizers(members))
    )
    return [feature for part in parts for feature in part]


def _read_feature(entry: object, place: str, group: SequenceGroup | None, reading: _Reading) -> list[Declared]:
    problems = reading.problems
    if not isinstance(entry, Mapping):
        problems.append(f"{place}: an entry is an object, not {entry!r}")
        return []
    options = dict(entry)
    if isinstance(name := options.get("feature_name"), str):
        full_name = f"{group.sequence_name}__{name}" if group else name
        place = f"feature {full_name!r}"
    kind = options.pop("feature_type", None)
    if kind is None:
        problems.append(f"{place}: option 'feature_type' is missing")
        return []
    is_plain_sequence = isinstance(kind, str) and kind.startswith(SEQUENCE_PREFIX) and kind not in TYPES
    base = str(kind).removeprefix(SEQUENCE_PREFIX) if is_plain_sequence else str(kind)
    if base not in TYPES:
        known = [*TYPES, *(SEQUENCE_PREFIX + name for name in TYPES)]
        problems.append(_sentence(f"{place}: unknown feature_type {kind!r}", suggest(str(kind), known)))
        return []
    if is_plain_sequence and group:
        problems.append(f"{place}: {kind!r} cannot be a member of a sequence group. Use {base!r}")
        return []
    spec = _validate(TYPES[base], _as_configured(base, options), place, reading)
    if not isinstance(spec, FeatureSpec):
        return []
    return [Declared(spec, group, is_plain_sequence, reading.mode, reading.profile)]


def _as_configured(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options under the config's names, without remarks."""
    aliases = _ALIASES.get(kind, {})
    result = {aliases.get(name, name): value for name, value in options.items() if value is not None}
    for name, values in {**_REMARKS[""], **_REMARKS.get(kind, {})}.items():
        if name in result and result[name] in values and name not in TYPES[kind].model_fields:
            del result[name]
    if kind == "custom_feature":
        loose = {name: result.pop(name) for name in _OPERATOR_PARAMETERS if name in result}
        if loose:
            result["operator_params"] = {**result.get("operator_params", {}), **loose}
    return result


def merge_text_normalizers(entries: list[Any]) -> list[Any]:
    """Entries with the text_normalizer stubs of an export put back into the tokenize features that read them."""
    stubs = {
        entry["feature_name"]: entry
        for entry in entries
        if isinstance(entry, Mapping) and entry.get("feature_type") in _TEXT_NORMALIZERS and "feature_name" in entry
    }
    merged = []
    for entry in entries:
        source = entry.get("expression") if isinstance(entry, Mapping) else None
        name = source.removeprefix("feature:") if isinstance(source, str) else None
        if name in stubs and "tokenize_feature" in str(entry.get("feature_type")):
            stub, options = stubs[name], {k: v for k, v in entry.items() if k != "sequence_fields"}
            kept = {k: stub[k] for k in ("expression", "sequence_fields") if k in stub}
            merged.append({**options, **kept, "text_normalizer": _text_normalizer(stub)})
        elif not isinstance(entry, Mapping) or entry.get("feature_name") not in stubs:
            merged.append(entry)
    return merged


def _text_normalizer(stub: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a text_normalizer stub, under the config's names; those that are not known stay, to be refused."""
    options = {k: v for k, v in stub.items() if k not in _STUB_REMARKS}
    flags = options.pop("parameter", 0)
    chosen = [name for name, flag in _NORMALIZER_FLAGS.items() if isinstance(flags, int) and flags & flag]
    if options.pop("remove_space", False):
        chosen.append("TEXT_REMOVE_SPACE")
    return {**options, **({"norm_options": chosen} if chosen else {})}


def _validate(model: type[BaseModel], options: dict[str, Any], place: str, reading: _Reading) -> BaseModel | None:
    try:
        orjson.dumps(options)
    except orjson.JSONEncodeError as error:
        reading.problems.append(f"{place}: the options cannot be written as JSON: {error}")
        return None
    if reading.lenient:
        for option in options.keys() - model.model_fields.keys():
            reading.refuse_unknown(place, option, model.model_fields)
            del options[option]
    try:
        return model.model_validate(options)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            option = ".".join(str(part) for part in detail["loc"])
            if detail["type"] == "extra_forbidden":
                reading.refuse_unknown(place, option, model.model_fields)
            elif detail["type"] == "missing":
                reading.problems.append(f"{place}: option {option!r} is missing")
            else:
                reason = detail["msg"].removeprefix("Value error, ")
                text = f"{place}: option {option!r} is {detail['input']!r}: {reason[0].lower()}{reason[1:]}"
                reading.problems.append(text)
    return None


def _sentence(problem: str, hint: str | None) -> str:
    return f"{problem}. {hint}" if hint else problem


def write_document(features: tuple[Declared, ...]) -> dict[str, Any]:
    """The document that reads back as `features`: options that were set, groups whole."""
    entries: list[dict[str, Any]] = []
    groups: dict[SequenceGroup, list[dict[str, Any]]] = {}
    for feature in features:
        prefix = SEQUENCE_PREFIX if feature.is_plain_sequence else ""
        options = feature.spec.model_dump(mode="json", exclude_unset=True)
        entry = {"feature_type": prefix + feature.spec.feature_type, **options}
        if feature.group is None:
            entries.append(entry)
            continue
        if feature.group not in groups:
            groups[feature.group] = []
            group = feature.group.model_dump(mode="json", exclude_unset=True)
            entries.append({**group, "features": groups[feature.group]})
        groups[feature.group].append(entry)
    return {"features": entries}
