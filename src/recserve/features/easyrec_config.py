"""Features of an EasyRec pipeline config as a document of the profile easyrec-tf.

EasyRec reads columns without sides, fills them with the defaults of `data_config.input_fields`, and leaves vectors and
sequences to the model. What has no place here is refused by name; what only training reads is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from recserve.errors import ConfigError
from recserve.features.text_proto import Message

_TYPES: Final = (
    *("IdFeature", "RawFeature", "TagFeature", "ComboFeature", "LookupFeature", "SequenceFeature", "ExprFeature"),
    "PassThroughFeature",
)
_INTEGER_FIELDS: Final = ("INT32", "INT64", 0, 1)
_TEXT_FIELDS: Final = ("STRING", 2)
_MAX_ID: Final = (1 << 63) - 1
_TRAINING_ONLY: Final = (
    *("feature_type", "feature_name", "input_names", "shared_names", "max_partitions", "initializer"),
    *("sequence_combiner", "lookup_max_sel_elem_num", "separator", "combiner", "sub_feature_type", "raw_input_dim"),
)
"""Fields that are read elsewhere here, or that extraction ignores."""
_NORMALIZERS: Final = {
    "log1p": "log(x + 1)",
    "log": "log(x)",
    "sqrt": "sqrt(x)",
    "square": "x * x",
    "sigmoid": "sigmoid(x)",
    "tanh": "tanh(x)",
    "exp": "exp(x)",
    "abs": "abs(x)",
}
"""Expressions of the functions of TensorFlow that `normalizer_fn` may name."""


def read(message: Message, sides: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The document, and notes on what differs.

    Raises:
        ConfigError: there are no features, or one has no counterpart; all problems at once.
    """
    groups = message.get("feature_config", [])
    configs = [feature for group in groups for feature in group.get("features", [])] or message.get(
        "feature_configs", []
    )
    fields = {
        field["input_name"][-1]: field
        for data in message.get("data_config", [])
        for field in data.get("input_fields", [])
        if "input_name" in field
    }
    if not configs:
        raise ConfigError("it has no features", hint="EasyRec keeps them in `feature_config { features { ... } }`")
    shares = any("ev_params" in model for model in message.get("model_config", []))
    reader = _Reader(fields, sides, shares)
    entries = [entry for config in _expanded(configs) for entry in reader.entries(config)]
    if reader.problems:
        raise ConfigError("\n".join(reader.problems))
    columns = sorted(reader.columns - sides.keys())
    if columns:
        reader.notes.append(f"columns without a side count as `candidate:` columns: {', '.join(columns)}. Give `sides`")
    return {"features": entries}, reader.notes


def _expanded(configs: list[Message]) -> list[Message]:
    """The configs, and after them a copy for each of their `shared_names`."""
    copies = []
    for config in configs:
        for pattern in config.get("shared_names", []):
            for name in _names(pattern):
                shared = {k: v for k, v in config.items() if k not in ("feature_name", "shared_names")}
                copies.append({**shared, "input_names": [name]})
    return [*configs, *copies]


def _names(pattern: str) -> list[str]:
    """The names that `field[1-3]` stands for."""
    found = re.fullmatch(r"(.*)\[(\d+)-(\d+)\](.*)", pattern)
    if found is None:
        return [pattern]
    head, first, last, tail = found.groups()
    return [f"{head}{i}{tail}" for i in range(int(first), int(last) + 1)]


def _last(config: Message, field: str, default: Any = None) -> Any:
    return config.get(field, [default])[-1]


class _Reader:
    """Translates features one by one.

    Attributes:
        fields: `input_fields` by column.
        sides: of the columns.
        all_dynamic: the model keeps all ids in embedding variables.
    """

    def __init__(self, fields: Mapping[str, Message], sides: Mapping[str, str], all_dynamic: bool = False) -> None:
        self.fields, self.sides, self.all_dynamic = fields, sides, all_dynamic
        self.columns: set[str] = set()
        self.notes: list[str] = []
        self.problems: list[str] = []

    def entries(self, config: Message) -> list[dict[str, Any]]:
        """Entries of the document, one but for PassThroughFeature; none where there is no counterpart: a problem."""
        inputs = config.get("input_names", [])
        name = str(_last(config, "feature_name") or (inputs[0] if inputs else ""))
        kind = _last(config, "feature_type", "IdFeature")
        kind = _TYPES[kind] if isinstance(kind, int) and 0 <= kind < len(_TYPES) else kind
        if kind == "PassThroughFeature" and inputs:
            return self._pass_through(name, inputs)
        translate: dict[Any, Callable[[str, Message], dict[str, Any]]] = {
            "IdFeature": self._id,
            "TagFeature": self._tag,
            "RawFeature": self._raw,
            "ComboFeature": self._combo,
            "LookupFeature": self._lookup,
            "SequenceFeature": self._sequence,
            "ExprFeature": self._expr,
        }
        if kind not in translate:
            self.problems.append(f"feature {name!r}: there is no counterpart of {kind}")
            return []
        if not inputs:
            self.problems.append(f"feature {name!r}: it has no input_names")
            return []
        return [{"feature_name": name, **translate[kind](name, config)}]

    def _column(self, name: str) -> str:
        self.columns.add(name)
        return f"{self.sides.get(name, 'candidate')}:{name}"

    def _inputs(self, config: Message) -> list[str]:
        return [self._column(name) for name in config["input_names"]]

    def _options(self, name: str, config: Message, *read_here: str) -> dict[str, Any]:
        """Options that are the same in both, and those that are unknown, which the reader of fg.json refuses."""
        skipped = {*_TRAINING_ONLY, *read_here, "embedding_dim", "vocab_list", "boundaries", "ev_params", "precision"}
        options = {key: values[-1] for key, values in config.items() if key not in skipped}
        if _last(config, "embedding_dim"):
            options["embedding_dim"] = _last(config, "embedding_dim")
        if config.get("vocab_list"):
            options["vocab_list"] = config["vocab_list"]
        if "precision" in config:
            self.notes.append(
                f"feature {name!r}: floats become text in their shortest form, not with `precision` digits"
            )
        if not options.get("hash_bucket_size", 1):
            del options["hash_bucket_size"]
        is_dynamic = "ev_params" in config or self.all_dynamic
        if is_dynamic and "hash_bucket_size" in options:
            del options["hash_bucket_size"]
            options["dynamicemb"] = {"max_capacity": _last(_last(config, "ev_params", {}), "max_capacity", 1 << 24)}
        elif is_dynamic and "num_buckets" in options and "max_val" not in config:
            options["num_buckets"] = _MAX_ID
        return options

    def _pooled(self, name: str, config: Message) -> dict[str, Any]:
        pooling = _last(config, "combiner", "sum")
        if pooling not in ("sum", "mean"):
            self.problems.append(f"feature {name!r}: there is no counterpart of combiner {pooling!r}")
        return {"pooling": pooling} if "combiner" in config else {}

    def _default(self, config: Message, is_id: bool) -> dict[str, Any]:
        """The default of the first column."""
        default = self._column_default(config["input_names"][0], is_id)
        return {} if default is None else {"default_value": default}

    def _column_default(self, column: str, is_id: bool) -> str | None:
        """What stands in for a missing cell: as `input_fields` says, else 0 of integers; None if neither tells."""
        field = self.fields.get(column, {})
        if "default_val" in field:
            return str(field["default_val"][-1])
        return "0" if is_id and _last(field, "input_type") in _INTEGER_FIELDS else None

    def _check_separator(self, name: str, option: str, separator: object) -> None:
        """Of the ops that TensorFlow runs by `string_split`, which takes a set of characters."""
        if len(str(separator)) > 1:
            text = f"feature {name!r}: TensorFlow splits at each character of {option} {separator!r}"
            self.problems.append(f"{text}. Give one character")

    # ---- types

    def _id(self, name: str, config: Message) -> dict[str, Any]:
        common = {**self._options(name, config), **self._pooled(name, config), **self._default(config, True)}
        return {"feature_type": "id_feature", "expression": self._inputs(config)[0], **common}

    def _tag(self, name: str, config: Message) -> dict[str, Any]:
        common = {**self._options(name, config), **self._pooled(name, config), **self._default(config, False)}
        separator = {"separator": _last(config, "separator")} if "separator" in config else {}
        for option in ("separator", "kv_separator"):
            self._check_separator(name, option, _last(config, option, ""))
        return {"feature_type": "tag_feature", "expression": self._inputs(config), **separator, **common}

    def _raw(self, name: str, config: Message) -> dict[str, Any]:
        options = self._options(name, config, "num_buckets", "min_val", "max_val", "normalizer_fn", "seq_multi_sep")
        if options.pop("hash_bucket_size", None):
            self.notes.append(f"feature {name!r}: hash_bucket_size has no effect on a RawFeature")
        options |= self._range(name, config) | self._default(config, False)
        options["value_dim"] = _last(config, "raw_input_dim", 1)
        if "separator" in config:
            options["separator"] = _last(config, "separator")
        if "seq_multi_sep" in config and "combiner" in config:
            options |= {"seq_multi_sep": _last(config, "seq_multi_sep"), "combiner": _last(config, "combiner")}
        if options.get("embedding_dim") and not options.keys() & {"boundaries", "num_buckets"}:
            options["mlp"] = {}
            self.notes.append(f"feature {name!r}: its number is handed to the network, which multiplies it by a vector")
        return {"feature_type": "raw_feature", "expression": self._inputs(config)[0], **options}

    def _range(self, name: str, config: Message) -> dict[str, Any]:
        """Normalisation and buckets."""
        low, high = float(_last(config, "min_val", 0.0)), float(_last(config, "max_val", 0.0))
        function = _last(config, "normalizer_fn")
        scaled = f"((x - {low!r}) / {high - low!r})" if high > low else "x"
        options: dict[str, Any] = {"min_val": low, "max_val": high} if high > low else {}
        if function is not None:
            known = _NORMALIZERS.get(str(function).rpartition(".")[2])
            if known is None:
                self.problems.append(f"feature {name!r}: there is no counterpart of normalizer_fn {function!r}")
            expression = re.sub(r"\bx\b", scaled, known or "x")
            options = {"normalizer": f"method=expression,expr={expression}"}
        if config.get("boundaries"):
            return options | {"boundaries": sorted(config["boundaries"])}
        buckets = _last(config, "num_buckets", 0)
        if buckets <= 1 or high <= low:
            return options
        if function is None:
            return options | {"num_buckets": buckets}
        return options | {"boundaries": [i / buckets for i in range(buckets)]}

    def _sequence_range(self, name: str, config: Message) -> dict[str, Any]:
        """Of a sequence: without buckets EasyRec does not normalise, and never by a function."""
        skipped = ["normalizer_fn"] if "normalizer_fn" in config else []
        if _last(config, "num_buckets", 0) <= 1 and float(_last(config, "max_val", 0)) > _last(config, "min_val", 0):
            skipped += ["min_val", "max_val"]
        for option in skipped:
            self.notes.append(f"feature {name!r}: {option} has no effect on a SequenceFeature")
        return self._range(name, {key: values for key, values in config.items() if key not in skipped})

    def _combo(self, name: str, config: Message) -> dict[str, Any]:
        options = self._options(name, config, "combo_input_seps", "combo_join_sep") | self._pooled(name, config)
        if config.get("combo_input_seps"):
            options["combo_input_seps"] = config["combo_input_seps"]
            for separator in config["combo_input_seps"]:
                self._check_separator(name, "combo_input_seps", separator)
        if _last(config, "combo_join_sep"):
            options["combo_join_sep"] = _last(config, "combo_join_sep")
        defaults = [self._column_default(column, True) or "" for column in config["input_names"]]
        if any(defaults):
            options["combo_input_defaults"] = defaults
        return {"feature_type": "combo_feature", "expression": self._inputs(config), **options}

    def _lookup(self, name: str, config: Message) -> dict[str, Any]:
        """All values of the key in a map; keys come first among the inputs."""
        options = self._options(name, config) | self._pooled(name, config)
        if len(config["input_names"]) != 2:
            self.problems.append(f"feature {name!r}: a LookupFeature has 2 input_names, a key and a map")
            return {}
        for option in ("hash_bucket_size", "kv_separator"):
            if not _last(config, option):
                self.problems.append(f"feature {name!r}: a LookupFeature needs {option}")
        separator = _last(config, "separator", "|")
        self._check_separator(name, "separator", separator)
        self._check_separator(name, "kv_separator", _last(config, "kv_separator", ""))
        key, found = self._inputs(config)
        inputs = {"map": found, "key": key, "separator": separator, "default_value": ""}
        return {"feature_type": "lookup_feature", **inputs, **options}

    def _pass_through(self, name: str, columns: list[str]) -> list[dict[str, Any]]:
        """A feature for each column, `<name>_<i>` from the second on: numbers, or texts as they are."""
        entries = []
        for i, column in enumerate(columns):
            is_text = _last(self.fields.get(column, {}), "input_type", "STRING") in _TEXT_FIELDS
            default = self._column_default(column, is_id=False)
            kind = "id_feature" if is_text else "raw_feature"
            entry = {
                "feature_name": f"{name}_{i}" if i else name,
                "feature_type": kind,
                "expression": self._column(column),
            }
            entries.append(entry if default is None else {**entry, "default_value": default})
        return entries

    def _sequence(self, name: str, config: Message) -> dict[str, Any]:
        inner = _last(config, "sub_feature_type", "IdFeature")
        is_raw = inner in ("RawFeature", 1)
        read_here: tuple[str, ...] = ("seq_multi_sep", "max_seq_len", "sequence_length")
        if is_raw:
            read_here += ("num_buckets", "min_val", "max_val", "normalizer_fn")
        options = {**self._options(name, config, *read_here), **self._pooled(name, config)}
        options |= {"sequence_delim": _last(config, "separator", "|")}
        if "max_seq_len" in config:
            options["sequence_length"] = _last(config, "max_seq_len")
        if "seq_multi_sep" in config:
            options["separator"] = _last(config, "seq_multi_sep")
        if is_raw:
            options |= {**self._sequence_range(name, config), "value_dim": _last(config, "raw_input_dim", 1)}
        elif "seq_multi_sep" in config:
            options["value_dim"] = 0
        kind = "sequence_raw_feature" if is_raw else "sequence_id_feature"
        return {"feature_type": kind, "expression": self._inputs(config)[0], **options}

    def _expr(self, name: str, config: Message) -> dict[str, Any]:
        options = self._options(name, config)
        return {"feature_type": "expr_feature", "variables": self._inputs(config), **options}
