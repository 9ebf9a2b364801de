"""Pipeline configs of TorchEasyRec and EasyRec (protobuf text) as documents of the form of fg.json.

The two are told apart by what they hold: TorchEasyRec writes `feature_configs { id_feature { ... } }`, EasyRec
`feature_config { features { feature_type: IdFeature ... } }`, or `feature_configs { feature_type: ... }` in old files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from recserve.errors import ConfigError, suggest
from recserve.features import easyrec_config
from recserve.features.declared import Mode
from recserve.features.fg_json import SEQUENCE_PREFIX
from recserve.features.profiles import EASYREC, PYFG
from recserve.features.spec_types import TYPES
from recserve.features.text_proto import Message, parse

_MODES: Final[dict[Any, Mode]] = {
    "FG_NONE": "encoded",
    "FG_NORMAL": "raw",
    "FG_DAG": "raw",
    "FG_BUCKETIZE": "bucketize",
}
_MODES_BY_NUMBER: Final = dict(enumerate(_MODES, 1))
_MAPS: Final = ("vocab_dict", "value_map")
_LISTS: Final = ("norm_options", "regex_pattern", "sharding_types", "compute_kernels")
"""Repeated fields that a model's defaults do not show."""


@dataclass(frozen=True)
class ImportedConfig:
    """A config of another system, as one of ours.

    Attributes:
        document: of the form of fg.json.
        mode, profile, encoded_separator: arguments of `FeatureSet.from_fg_json`.
        notes: what differs here, a sentence each.
    """

    document: dict[str, Any]
    mode: Mode
    profile: str
    encoded_separator: str = "\x03"
    notes: tuple[str, ...] = ()


def read_config(text: str, sides: Mapping[str, str] | None = None) -> ImportedConfig:
    """Read an fg.json or a pipeline config, whichever it is; see `read_pipeline_config`.

    Raises:
        ConfigError: it is neither.
    """
    if not text.lstrip().startswith(("{", "[")):
        return read_pipeline_config(text, sides)
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"it is not JSON: {error}") from None
    return ImportedConfig(document, "raw", PYFG.name)


def read_pipeline_config(text: str, sides: Mapping[str, str] | None = None) -> ImportedConfig:
    """Read a pipeline config.

    Args:
        text: protobuf text.
        sides: of the raw columns of an EasyRec config, which has none; columns that are not named are "candidate",
            the one side that is right for any column.

    Raises:
        ConfigError: it is not protobuf text, has no features, or has features that do not exist here.
    """
    message = parse(text)
    features = message.get("feature_configs", [])
    is_easyrec = "feature_config" in message or any(
        "feature_type" in part for part in features if isinstance(part, dict)
    )
    if is_easyrec:
        document, notes = easyrec_config.read(message, sides or {})
        return ImportedConfig(document, "raw", EASYREC.name, notes=tuple(notes))
    if not features:
        raise ConfigError("it has no features", hint="A pipeline config has `feature_configs` or `feature_config`")
    data = _first(message, "data_config", {})
    mode = _first(data, "fg_mode", None)
    if mode is None and "fg_encoded" in data:
        mode = "FG_NONE" if data["fg_encoded"][-1] else "FG_DAG"
    mode = _MODES_BY_NUMBER.get(mode, mode) or "FG_NONE"
    if mode not in _MODES:
        raise ConfigError(f"unknown fg_mode {mode!r}", where="data_config", hint=suggest(str(mode), _MODES))
    entries = [_entry(part) for part in features]
    separator = _first(data, "fg_encoded_multival_sep", "\x03")
    return ImportedConfig({"features": entries}, _MODES[mode], PYFG.name, separator)


def _first(message: Message, field: str, default: Any) -> Any:
    return message.get(field, [default])[-1]


def _entry(part: object) -> dict[str, Any]:
    """One feature, or one sequence group, of `feature_configs`."""
    if not isinstance(part, dict) or len(part) != 1:
        raise ConfigError(f"an entry of feature_configs holds one feature, not {part!r}")
    ((kind, values),) = part.items()
    options = values[-1]
    if not isinstance(options, dict):
        raise ConfigError(f"feature {kind!r} is {options!r}, not a message")
    if kind == "sequence_feature":
        members = [_entry(member) for member in options.get("features", [])]
        return {**{k: v[-1] for k, v in options.items() if k != "features"}, "features": members}
    return {"feature_type": kind, **{name: _plain(kind, name, found) for name, found in options.items()}}


def _plain(kind: str, name: str, values: list[Any]) -> Any:
    """An option as fg.json has it."""
    if name in _MAPS:
        return {str(_first(entry, "key", "")): _first(entry, "value", 0) for entry in values}
    if name == "operator_params":
        return struct(values[-1])
    if name in _LISTS or _repeats(kind, name):
        return values
    value = values[-1]
    if isinstance(value, dict):
        return {inner: _plain(kind, inner, found) for inner, found in value.items()}
    return value


def _repeats(kind: str, name: str) -> bool:
    model = TYPES.get(kind) or TYPES.get(kind.removeprefix(SEQUENCE_PREFIX))
    return model is not None and name in model.model_fields and model.model_fields[name].default == ()


def struct(message: Message) -> dict[str, Any]:
    """A google.protobuf.Struct as a dict."""
    return {_first(entry, "key", ""): _struct_value(entry["value"][-1]) for entry in message.get("fields", [])}


def _struct_value(message: Message) -> Any:
    if "struct_value" in message:
        return struct(message["struct_value"][-1])
    if "list_value" in message:
        return [_struct_value(part) for part in message["list_value"][-1].get("values", [])]
    for kind in ("string_value", "number_value", "bool_value"):
        if kind in message:
            return message[kind][-1]
    return None
