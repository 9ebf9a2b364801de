"""What each option of the feature config means, in a line; the pages of the reference and the terminal show it.

Types, ranges and defaults come from the models, so only the meaning is written here. Tests hold both complete: an
option without a line, and a line without an option, fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from recserve.errors import ConfigError, suggest
from recserve.features.spec import FeatureSpec, SequenceGroup
from recserve.features.spec_types import TYPES

COMMON: Final = tuple(FeatureSpec.model_fields)
"""Options that every type has."""

_MEANINGS: Final[dict[str, str]] = {
    "feature_name": "Name of the output and of the network's input.",
    "embedding_name": "Table that several features may share; unset, `<feature_name>_emb`.",
    "embedding_dim": "Width of the table's rows.",
    "pooling": "How the rows of several ids become one.",
    "init_fn": "Initial rows, for trainers.",
    "use_mask": "In training, the first input is missing where the column `__SAMPLE_MASK__` is true.",
    "trainable": "Whether trainers update the table.",
    "stub_type": "Only other features read it (`feature:`); it is no output.",
    "data_type": "Dtype of the table, for trainers.",
    "embedding_constraints": "Sharding, for trainers.",
    "fg_encoded_default_value": "In encoded mode: finished values that stand in for missing ones.",
    "asset_dir": "Folder of the feature's files; unset, that of the config.",
    "need_prefix": "Put `<feature_name>_` in front of tokens before hashing, in profiles that do so.",
    "sequence_length": "Steps to keep, the first ones; unset or 0, all.",
    "sequence_delim": "Ends a step in text; unset, `;`.",
    "sequence_fields": "Names of the inputs that are sequences; unset, see [sequences](sequence.md).",
    "sequence_name": "Name of the group; columns and outputs of its members start with `<sequence_name>__`.",
    "sequence_pk": "Column that names the items of the steps.",
    "expression": "The input, `side:name`.",
    "default_value": "Stands in for a row without a value, before the id mapping; see [defaults](common.md#defaults).",
    "separator": "Separates the values of a text cell, besides the byte 0x1d.",
    "value_dim": "Values to keep of a row; 0 keeps all.",
    "hash_bucket_size": "Ids are the token's hash modulo this.",
    "num_buckets": "Ids are the integers themselves, below this; others count as missing.",
    "vocab_list": "Words with ids from 2 on; see [id mappings](common.md#id-mappings).",
    "vocab_dict": "Words with ids of their own.",
    "vocab_file": "File of words beside the config: one a line, or `word id` lines.",
    "default_bucketize_value": "Id of unknown words; word lists count from 0 then.",
    "zch": "Zero-collision hashing: `zch_size` rows, which the table assigns to hashes.",
    "dynamicemb": "Growing table: at most `max_capacity` rows.",
    "fg_value_type": "Dtype in the exporter's own engine; ignored.",
    "boundaries": "Ids are bucket numbers: how many of these are at most the number. They must rise.",
    "normalizer": "`method=log10\\|zscore\\|minmax\\|expression,...`; see [normalizers](common.md#normalizers).",
    "autodis": "Embedding of a number, for trainers.",
    "mlp": "Embedding of a number, for trainers.",
    "combiner": "How several numbers become one.",
}
"""By option, for every type that does not say more."""

_OWN: Final[dict[tuple[str, str], str]] = {
    ("id_feature", "weighted"): "Values are `id:weight`, or a map of ids to weights.",
    ("id_feature", "value_dim"): "Ids to keep; 0 all. Unset, 0, and 1 in sequences.",
    ("tag_feature", "expression"): "The tags and, if there is a second input, their weights.",
    ("tag_feature", "kv_separator"): "Splits a tag from its weight, `tag<kv_separator>weight`.",
    ("tag_feature", "value_dim"): "Tags to keep; 0 all. Unset, 0, and 1 in sequences.",
    ("raw_feature", "value_dim"): "Width of the output; with `boundaries`, one id for each component.",
    ("raw_feature", "min_val"): "Profile easyrec-tf: 0 of the range that becomes [0, 1].",
    ("raw_feature", "max_val"): "Profile easyrec-tf: 1 of the range that becomes [0, 1].",
    ("raw_feature", "num_buckets"): "Profile easyrec-tf: buckets of equal width between `min_val` and `max_val`.",
    ("raw_feature", "seq_multi_sep"): "Profile easyrec-tf: separates the numbers of a step.",
    ("raw_feature", "combiner"): "Profile easyrec-tf: how the numbers of a step become one.",
    ("combo_feature", "expression"): "The inputs, two or more.",
    ("combo_feature", "value_dim"): "Combinations to keep; 0 all. Unset, 0, and 1 in sequences.",
    ("combo_feature", "combo_join_sep"): "Profile easyrec-tf: joins the tokens; unset, their hashes are crossed.",
    ("combo_feature", "combo_input_defaults"): "Profile easyrec-tf: a text for each input that is missing.",
    ("combo_feature", "combo_input_seps"): 'Profile easyrec-tf: a separator for each input; "": a single value.',
    ("combine_feature", "value_map"): "Tokens and their numbers; tokens that are not listed are skipped.",
    ("combine_feature", "num_buckets"): "Ids are the combined number without its fraction, below this.",
    ("combine_feature", "value_dim"): "1: one number comes of many.",
    ("lookup_feature", "map"): "The map, `side:name`: cells `key:value`, separated by 0x1d, or maps.",
    ("lookup_feature", "key"): "The keys, `side:name`.",
    ("lookup_feature", "combiner"): 'How several hits become one; "" keeps each.',
    ("lookup_feature", "need_discrete"): "The values are tokens, not numbers.",
    ("lookup_feature", "need_key"): "Put `<key>_` in front of each token.",
    ("lookup_feature", "kv_separator"): "Profile easyrec-tf: splits a key from its value; all equal keys count.",
    ("lookup_feature", "value_dim"): "Above 1: the first hit, split into that many numbers.",
    ("lookup_feature", "value_separator"): "Separates the numbers of a value, with `value_dim`.",
    ("match_feature", "nested_map"): "The map, `side:name`: `pk^sk:value,sk:value\\|pk2^...`, or a map of such texts.",
    ("match_feature", "pkey"): "The primary keys, or ALL, which every key matches.",
    ("match_feature", "skey"): "The secondary keys, or ALL.",
    ("match_feature", "need_discrete"): "The values are tokens, not numbers.",
    ("match_feature", "show_pkey"): "Put `<primary key>_` in front of each token.",
    ("match_feature", "show_skey"): "Put `<secondary key>_` in front of each token.",
    ("match_feature", "value_dim"): "Width of a dense output: the first hits.",
    ("match_feature", "matchType"): "Written by exporters; one hit or several follow from the keys.",
    ("expr_feature", "expression"): "A formula over the variables; see [expressions](../features.md#expressions).",
    ("expr_feature", "variables"): "The inputs, `side:name`; the formula uses their names.",
    ("expr_feature", "fill_missing"): "Number of a variable that is missing; unset, the row is missing then.",
    ("expr_feature", "value_dim"): "Width of the output.",
    ("overlap_feature", "query"): "One list of terms, `side:name`.",
    ("overlap_feature", "title"): "The other list of terms.",
    ("overlap_feature", "method"): "What is counted.",
    ("kv_dot_product", "query"): "One vector, `side:name`: cells `key:value`, or maps.",
    ("kv_dot_product", "document"): "The other vector.",
    ("kv_dot_product", "kv_delimiter"): "Between a key and its value.",
    ("bool_mask_feature", "expression"): "Two inputs: the values, and what tells which to keep.",
    ("bool_mask_feature", "value_dim"): "Values to keep; 0 all. Unset, 0, and 1 in sequences.",
    ("tokenize_feature", "vocab_file"): "The tokenizer beside the config.",
    ("tokenize_feature", "tokenizer_type"): "`bpe`: a Hugging Face `tokenizer.json`; `sentencepiece`: a model file.",
    ("tokenize_feature", "text_normalizer"): "`norm_options`, `max_length` and `stop_char_file`; see below.",
    ("tokenize_feature", "tokens_as_sequence"): "Each piece is a step of a sequence.",
    ("custom_feature", "operator_name"): "EditDistance, RegexReplace or SeqExpr.",
    ("custom_feature", "operator_lib_file"): "Library of the operator in the exporter's engine; ignored.",
    ("custom_feature", "operator_params"): "Options of the operator, see below.",
    ("custom_feature", "is_op_thread_safe"): "For the exporter's engine; ignored.",
    ("custom_feature", "expression"): "The inputs of the operator.",
    ("custom_feature", "value_dim"): "Width of a dense output.",
    ("regex_replace_feature", "regex_pattern"): "RE2 patterns, applied one after the other.",
    ("regex_replace_feature", "replacement"): "What matches become; `\\1` is a group.",
    ("regex_replace_feature", "replace_all"): "Every match, or only the first.",
    ("regex_replace_feature", "icase"): "Ignore case.",
    ("regex_replace_feature", "value_dim"): "Values to keep; a replaced text is one.",
    ("sid_feature", "codebook"): "Codes of each level.",
}
"""By type and option, where a type says more."""


@dataclass(frozen=True)
class OptionDoc:
    """One option: its name, its type and default as text, and what it means."""

    name: str
    type: str
    default: str
    meaning: str


def document_type(feature_type: str) -> list[OptionDoc]:
    """The options that a type has beside the common ones: its inputs, what it alone has, then what others have too."""
    model = TYPES[feature_type]
    inputs = list(model.input_options)

    def place(option: OptionDoc) -> int:
        if option.name in inputs:
            return inputs.index(option.name)
        return len(inputs) + ((feature_type, option.name) not in _OWN)

    return sorted((o for o in _document(model, feature_type) if o.name not in COMMON), key=place)


def document_common() -> list[OptionDoc]:
    """The options that all types have."""
    return _document(FeatureSpec, "")


def document_group() -> list[OptionDoc]:
    """The options of a sequence group."""
    return _document(SequenceGroup, "")


def _document(model: Any, feature_type: str) -> list[OptionDoc]:
    schema = model.model_json_schema()
    found = []
    for name, part in schema["properties"].items():
        meaning = _OWN.get((feature_type, name), _MEANINGS.get(name, ""))
        default = "required" if name in schema.get("required", ()) else _default(part.get("default"))
        if name == "default_value":
            default = _default(model.type_default)
        found.append(OptionDoc(name, _type(part), default, meaning))
    return found


def _default(value: Any) -> str:
    if value is None or value in ([], {}):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value != "" else '""'


def _type(part: dict[str, Any]) -> str:
    """A JSON schema in a few words."""
    if "anyOf" in part:
        kinds = [_type(one) for one in part["anyOf"] if one.get("type") != "null"]
        return ", ".join(kinds)
    if "enum" in part or "const" in part:
        return ", ".join(f"`{one}`" if one else '""' for one in part.get("enum", [part.get("const")]))
    if "$ref" in part:
        return "object"
    kind = {"string": "text", "boolean": "bool", "object": "object", "array": "list"}.get(part["type"], part["type"])
    if kind == "list":
        return f"list of {_type(part['items'])}" if "items" in part else kind
    return f"{kind} ≥ {part['minimum']}" if "minimum" in part else kind


def markdown_table(options: list[OptionDoc]) -> str:
    """A table of options for a page."""
    lines = ["| option | type | default | meaning |", "|---|---|---|---|"]
    for option in options:
        default = option.default if option.default in ("", "required") else f"`{option.default}`"
        lines.append(f"| `{option.name}` | {option.type} | {default} | {option.meaning} |")
    return "\n".join(lines)


BEGIN: Final = "<!-- options:begin -->"
END: Final = "<!-- options:end -->"


def update_page(text: str, page: str) -> str:
    """A page with the tables between its marks written anew.

    Args:
        text: of the page.
        page: its name without ending: a type without `_feature`, "common" or "sequence".

    Raises:
        ConfigError: the page has no place for a table, or is of no type.
    """
    documents = {"common": document_common, "sequence": document_group}
    feature_type = {name.removesuffix("_feature"): name for name in TYPES}.get(page)
    if page not in documents and feature_type is None:
        raise ConfigError(f"page {page!r} is of no feature type", hint=suggest(page, page_names()))
    options = document_type(feature_type) if feature_type else documents[page]()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ConfigError(f"page {page!r} has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{markdown_table(options)}\n{END}{after}"


def page_names() -> list[str]:
    """The pages of the reference, without ending: common, sequence, and one for each type."""
    return ["common", "sequence", *(name.removesuffix("_feature") for name in TYPES)]


def undocumented() -> list[str]:
    """`type.option` of options without a meaning, and of meanings without an option."""
    found = [f"{t}.{o.name}" for t in TYPES for o in document_type(t) if not o.meaning]
    found += [f"common.{o.name}" for o in (*document_common(), *document_group()) if not o.meaning]
    found += [f"{t}.{n}" for t, n in _OWN if t not in TYPES or n not in TYPES[t].model_fields]
    used = {o.name for t in TYPES for o in _document(TYPES[t], t)} | {o.name for o in document_group()}
    return found + [name for name in _MEANINGS if name not in used]
