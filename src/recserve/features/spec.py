"""What an author declares: the options that feature types share, and sequence groups.

Each feature type is one model in `spec_types`, strict and closed: an unknown option or a wrong type is an error.
Options are named as in TorchEasyRec's feature config. What one option alone can get wrong is checked here; what options
get wrong together is checked in `check`.
"""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from recserve.errors import ConfigError
from recserve.features import normalizers


def _as_text(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return str(int(value)) if float(value).is_integer() else repr(value)


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _check_boundaries(value: tuple[float, ...]) -> tuple[float, ...]:
    if any(not math.isfinite(x) for x in value):
        raise ValueError(f"boundaries {list(value)} are not all finite numbers")
    if any(a >= b for a, b in itertools.pairwise(value)):
        raise ValueError(f"boundaries {list(value)} do not increase")
    return value


def _check_normalizer(value: str) -> str:
    try:
        normalizers.parse(value)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return value


Name = Annotated[str, StringConstraints(min_length=1)]
Text = Annotated[str, BeforeValidator(_as_text)]
Strings = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
Count = Annotated[int, Field(ge=1, lt=1 << 63)]
Size = Annotated[int, Field(ge=0, lt=1 << 63)]
Sizes = Annotated[tuple[Count, ...], BeforeValidator(_as_tuple)]


class Model(BaseModel):
    """Base of all models: strict types, no unknown options, immutable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class FeatureSpec(Model):
    """Options that every feature type has.

    `embedding_*`, `pooling`, `init_fn`, `trainable`, `data_type` and `use_mask` matter to training and to tables only.
    `need_prefix` puts the feature's name in front of tokens, in profiles that do so.
    """

    feature_type: ClassVar[str]
    input_options: ClassVar[tuple[str, ...]] = ("expression",)
    """Options that name inputs, in the order of the inputs."""
    type_default: ClassVar[str] = ""
    """default_value where unset, outside sequences."""
    is_single_input: ClassVar[bool] = False

    feature_name: Name
    embedding_name: Name | None = None
    embedding_dim: Size = 0
    pooling: Literal["sum", "mean", "SUM", "MEAN"] = "sum"
    init_fn: str | None = None
    use_mask: bool = False
    trainable: bool = True
    stub_type: bool = False
    data_type: Literal["FP32", "FP16"] = "FP32"
    embedding_constraints: dict[str, Any] | None = None
    fg_encoded_default_value: Text | None = None
    asset_dir: str | None = None
    need_prefix: bool | None = None
    sequence_length: Size | None = None
    sequence_delim: Name | None = None
    sequence_fields: Strings = ()

    def references(self) -> tuple[str, ...]:
        """The inputs as written: `side:name`, in order; empty where none are given."""
        found: list[str] = []
        for option in self.input_options:
            value = getattr(self, option)
            found += value if isinstance(value, tuple) else () if value is None else (value,)
        return tuple(found)


class Defaulted(Model):
    """A feature with a `default_value`: stands in for missing input, before the id mapping, and is not normalised."""

    default_value: Text | None = None


class Separated(Model):
    """A feature whose text cells hold several values. `separator` adds to the byte 0x1d, which always separates.

    Profiles may tell otherwise; see `profiles.Profile.adds_separator`.
    """

    separator: Name | None = None


class ZeroCollisionHash(Model):
    """Ids from an unbounded hash, mapped to rows by the table (managed collisions)."""

    zch_size: Count
    eviction_interval: Count = 5
    lfu: dict[str, Any] | None = None
    lru: dict[str, Any] | None = None
    distance_lfu: dict[str, Any] | None = None
    threshold_filtering_func: str | None = None


class DynamicEmbedding(Model):
    """Ids from an unbounded hash, kept in a table that grows."""

    max_capacity: Count
    initializer_args: dict[str, Any] | None = None
    eval_initializer_args: dict[str, Any] | None = None
    score_strategy: str = "STEP"
    cache_load_factor: float | None = None
    init_capacity_per_rank: Count | None = None
    init_table: str | None = None
    bucket_capacity: Count | None = None
    frequency_admission_strategy: dict[str, Any] | None = None


class Vocabularies(Model):
    """Ways to map tokens to ids; at most one may be set."""

    hash_bucket_size: Count | None = None
    vocab_list: Strings = ()
    vocab_dict: dict[str, Size] = Field(default={})
    vocab_file: Name | None = None
    default_bucketize_value: Size | None = None
    zch: ZeroCollisionHash | None = None
    dynamicemb: DynamicEmbedding | None = None
    fg_value_type: str | None = None


class IdMapping(Vocabularies):
    """Vocabularies, or integers that are ids."""

    num_buckets: Count | None = None


class Bucketised(Model):
    """`boundaries` b: a number x becomes the id count(b <= x)."""

    boundaries: Annotated[tuple[float, ...], BeforeValidator(_as_tuple), AfterValidator(_check_boundaries)] = ()


class Normalised(Model):
    """`normalizer`: see `normalizers`."""

    normalizer: Annotated[str, AfterValidator(_check_normalizer)] = ""


class DenseEmbedded(Model):
    """Embeddings that training makes of a dense feature; extraction ignores them."""

    autodis: dict[str, Any] | None = None
    mlp: dict[str, Any] | None = None


class Numeric(Defaulted, Bucketised, Normalised, DenseEmbedded, Separated):
    """A feature that is a number, or its bucket."""


class SequenceGroup(Model):
    """A sequence group: its members' sequence inputs are columns `<sequence_name>__<input>`."""

    sequence_name: Name
    sequence_length: Size | None = None
    sequence_delim: Name = ";"
    sequence_pk: str | None = None
