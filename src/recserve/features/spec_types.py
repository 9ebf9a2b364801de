"""One model for each feature type; `docs/reference/features.md` tells what each computes."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BeforeValidator, Field

from recserve.features.spec import (
    Bucketised,
    Count,
    Defaulted,
    DenseEmbedded,
    FeatureSpec,
    IdMapping,
    Model,
    Name,
    Normalised,
    Numeric,
    Separated,
    Size,
    Sizes,
    Strings,
    Vocabularies,
)

Combiner = Literal["sum", "mean", "avg", "min", "max", "count", "gap_min", "gap_max"]
OverlapMethod = Literal[
    "query_common_ratio",
    "title_common_ratio",
    "is_contain",
    "is_equal",
    "index_of",
    "proximity_min_cover",
    "proximity_min_dist",
    "proximity_max_dist",
    "proximity_avg_dist",
]
NormOption = Literal[
    "TEXT_LOWER2UPPER",
    "TEXT_UPPER2LOWER",
    "TEXT_SBC2DBC",
    "TEXT_CHT2CHS",
    "TEXT_FILTER",
    "TEXT_SPLITCHRS",
    "TEXT_REMOVE_SPACE",
]


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class IdFeature(FeatureSpec, Defaulted, IdMapping, Separated):
    """Categories: tokens mapped to ids."""

    feature_type: ClassVar[str] = "id_feature"
    is_single_input: ClassVar[bool] = True

    expression: str | None = None
    value_dim: Size | None = None
    weighted: bool = False


class TagFeature(FeatureSpec, Defaulted, IdMapping, Separated):
    """Categories with weights: `tag<kv_separator>weight` pairs, or tags and, in a second input, their weights."""

    feature_type: ClassVar[str] = "tag_feature"

    expression: Annotated[Strings, BeforeValidator(_listed)] = ()
    kv_separator: Name | None = None
    value_dim: Size | None = None


class RawFeature(FeatureSpec, Numeric):
    """Numbers, or their buckets.

    Of the profile easyrec-tf: `min_val` and `max_val` normalise, and with `num_buckets` make uniform buckets;
    `seq_multi_sep` separates numbers (vectors, if value_dim is above 1) that `combiner` combines.
    """

    feature_type: ClassVar[str] = "raw_feature"
    type_default: ClassVar[str] = "0"
    is_single_input: ClassVar[bool] = True

    expression: str | None = None
    value_dim: Count = 1
    min_val: float = 0.0
    max_val: float = 0.0
    num_buckets: Count | None = None
    seq_multi_sep: Name | None = None
    combiner: Literal["sum", "mean", "min", "max"] | None = None


class ComboFeature(FeatureSpec, Defaulted, Vocabularies, Separated):
    """Every combination of the tokens of two or more inputs.

    Of the profile easyrec-tf: `combo_join_sep` joins them, and without it their hashes are crossed;
    `combo_input_seps` has a separator for each input, "" for one whose text is a single value; `combo_input_defaults`
    has a text for each input that stands in for a missing one.
    """

    feature_type: ClassVar[str] = "combo_feature"

    expression: Strings = ()
    value_dim: Size | None = None
    combo_join_sep: Name | None = None
    combo_input_seps: Strings = ()
    combo_input_defaults: Strings = ()


class CombineFeature(FeatureSpec, Numeric):
    """Many values, perhaps mapped to numbers, combined into one."""

    feature_type: ClassVar[str] = "combine_feature"
    is_single_input: ClassVar[bool] = True

    expression: str | None = None
    value_map: dict[str, float] = Field(default={})
    combiner: Annotated[Combiner, BeforeValidator(_lower)] = "sum"
    num_buckets: Count | None = None
    value_dim: Count = 1


class LookupFeature(FeatureSpec, Numeric, IdMapping):
    """Values of a map under one or more keys.

    Of the profile easyrec-tf: `kv_separator` splits a key from its value; pairs end at `separator`, the key's text is
    one key, and all values of equal keys count.
    """

    feature_type: ClassVar[str] = "lookup_feature"
    input_options: ClassVar[tuple[str, ...]] = ("map", "key")
    type_default: ClassVar[str] = "0"

    map: str | None = None
    key: str | None = None
    combiner: Annotated[Combiner | Literal[""], BeforeValidator(_lower)] = "sum"
    need_discrete: bool = False
    need_key: bool = False
    kv_separator: Name | None = None
    value_dim: Size | None = None
    value_separator: Name = ","


class MatchFeature(FeatureSpec, Numeric, IdMapping):
    """Values of a two-level map under a primary and a secondary key, each of which may be ALL."""

    feature_type: ClassVar[str] = "match_feature"
    input_options: ClassVar[tuple[str, ...]] = ("nested_map", "pkey", "skey")
    type_default: ClassVar[str] = "0"

    nested_map: str | None = None
    pkey: str | None = None
    skey: str | None = None
    need_discrete: bool = False
    show_pkey: bool = False
    show_skey: bool = False
    value_dim: Size | None = None
    matchType: Literal["hit", "multihit"] | None = None  # noqa: N815  (as fg.json spells it)


class ExprFeature(FeatureSpec, Numeric):
    """An expression over numbers."""

    feature_type: ClassVar[str] = "expr_feature"
    input_options: ClassVar[tuple[str, ...]] = ("variables",)
    type_default: ClassVar[str] = "0"

    expression: str | None = None
    variables: Strings = ()
    fill_missing: float | None = None
    value_dim: Size | None = None


class OverlapFeature(FeatureSpec, Bucketised, Normalised, DenseEmbedded, Separated):
    """How much two lists of terms overlap."""

    feature_type: ClassVar[str] = "overlap_feature"
    input_options: ClassVar[tuple[str, ...]] = ("query", "title")
    type_default: ClassVar[str] = "0"

    query: str | None = None
    title: str | None = None
    method: OverlapMethod | None = None


class KvDotProduct(FeatureSpec, Numeric):
    """Dot product of two sparse vectors `key:value`."""

    feature_type: ClassVar[str] = "kv_dot_product"
    input_options: ClassVar[tuple[str, ...]] = ("query", "document")
    type_default: ClassVar[str] = "0"

    query: str | None = None
    document: str | None = None
    kv_delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ":"


class BoolMaskFeature(FeatureSpec, Defaulted, IdMapping, Separated):
    """Tokens of the first input where the second is true."""

    feature_type: ClassVar[str] = "bool_mask_feature"

    expression: Strings = ()
    value_dim: Size | None = None


class TextNormalizer(Model):
    """How text is unified before it is tokenised."""

    max_length: Count | None = None
    stop_char_file: Name | None = None
    norm_options: Annotated[
        tuple[NormOption, ...], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
    ] = ()


class TokenizeFeature(FeatureSpec, Defaulted):
    """Ids of the pieces of a text."""

    feature_type: ClassVar[str] = "tokenize_feature"
    is_single_input: ClassVar[bool] = True

    expression: str | None = None
    vocab_file: Name | None = None
    tokenizer_type: Literal["bpe", "sentencepiece"] = "bpe"
    text_normalizer: TextNormalizer | None = None
    tokens_as_sequence: bool = False


class CustomFeature(FeatureSpec, Numeric, IdMapping):
    """One of the official operators: EditDistance, RegexReplace, SeqExpr."""

    feature_type: ClassVar[str] = "custom_feature"
    type_default: ClassVar[str] = "0"

    operator_name: Name | None = None
    operator_lib_file: str | None = None
    operator_params: dict[str, Any] = Field(default={})
    is_op_thread_safe: bool = False
    expression: Strings = ()
    value_dim: Size | None = None


class RegexReplaceFeature(FeatureSpec, Defaulted, IdMapping):
    """A text after replacements."""

    feature_type: ClassVar[str] = "regex_replace_feature"
    is_single_input: ClassVar[bool] = True

    expression: str | None = None
    regex_pattern: Strings | None = None
    replacement: str = ""
    replace_all: bool = True
    icase: bool = False
    value_dim: Size | None = None


class SidFeature(FeatureSpec, Defaulted, Separated):
    """Semantic ids: a flat sequence of codes, level after level."""

    feature_type: ClassVar[str] = "sid_feature"
    is_single_input: ClassVar[bool] = True

    expression: str | None = None
    codebook: Sizes = ()


TYPES: Final[dict[str, type[FeatureSpec]]] = {
    spec.feature_type: spec
    for spec in (
        IdFeature,
        TagFeature,
        RawFeature,
        ComboFeature,
        CombineFeature,
        LookupFeature,
        MatchFeature,
        ExprFeature,
        OverlapFeature,
        KvDotProduct,
        BoolMaskFeature,
        TokenizeFeature,
        CustomFeature,
        RegexReplaceFeature,
        SidFeature,
    )
}
"""The model of each feature_type; `sequence_<feature_type>` is the same over the steps of a sequence."""
