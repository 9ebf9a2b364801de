"""A feature in its place: options, sequence and mode together, with every default that applies filled in.

Modes of a feature set: "raw" columns are inputs; "encoded" columns are named as the features and hold finished ids or
numbers; "bucketize" columns are named as the features and hold tokens or numbers, to which only the id mapping applies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from recserve.errors import ConfigError, suggest
from recserve.features import normalizers
from recserve.features import spec_types as types
from recserve.features.normalizers import Normalizer
from recserve.features.profiles import PYFG, Profile
from recserve.features.spec import Bucketised, FeatureSpec, IdMapping, Normalised, SequenceGroup, Vocabularies
from recserve.rates import SIDE_RATES

Mode = Literal["raw", "encoded", "bucketize"]
MODES: Final = ("raw", "encoded", "bucketize")
SIDES: Final = (*SIDE_RATES, "feature")
UNBOUNDED_IDS: Final = (1 << 63) - 1
"""Number of ids of features whose table maps them to rows (zch, dynamicemb, or num_buckets of this size)."""
WILDCARD: Final = "ALL"
"""A key of a match feature that every key matches."""

_KEEPS_ALL: Final = (
    *(types.IdFeature, types.TagFeature, types.ComboFeature, types.BoolMaskFeature, types.RegexReplaceFeature),
)
"""Types whose value_dim is 0 (all values) outside sequences and 1 (the first) inside."""
_ALWAYS_SPARSE: Final = (*_KEEPS_ALL, types.TokenizeFeature, types.SidFeature)


@dataclass(frozen=True)
class Input:
    """One input of a feature.

    Attributes:
        side: "user", "item", "context", "candidate", "feature" or "const".
        name: as written after the colon.
        column: name of the column or feature that is read, or the literal; `<sequence>__<name>` of a sequence input of
            a group.
        is_sequence: its cells are sequences.
    """

    side: str
    name: str
    column: str
    is_sequence: bool


@dataclass(frozen=True)
class Declared:
    """A feature in its place.

    Attributes:
        spec: its options.
        group: the sequence group that it is a member of, or None.
        is_plain_sequence: its type is `sequence_<type>`.
        mode: see the module docstring.
        profile: the rules that apply.
    """

    spec: FeatureSpec
    group: SequenceGroup | None = None
    is_plain_sequence: bool = False
    mode: Mode = "raw"
    profile: Profile = PYFG

    @property
    def name(self) -> str:
        """Name of the output: `<sequence>__<feature>` in a group."""
        return f"{self.group.sequence_name}__{self.spec.feature_name}" if self.group else self.spec.feature_name

    @property
    def is_sequence(self) -> bool:
        """The output is a sequence."""
        return self.group is not None or self.is_plain_sequence or self.is_spread

    @property
    def is_spread(self) -> bool:
        """The values of a row are the steps of its output."""
        spec = self.spec
        return isinstance(spec, types.SidFeature) or (
            isinstance(spec, types.TokenizeFeature) and spec.tokens_as_sequence
        )

    @property
    def delimiter(self) -> str:
        """What ends a step in text."""
        if self.group:
            return self.group.sequence_delim
        return self.spec.sequence_delim or ";"

    @property
    def limit(self) -> int | None:
        """Most steps that are kept; None: all."""
        return (self.group.sequence_length if self.group else self.spec.sequence_length) or None

    @property
    def sequence(self) -> str | None:
        """The sequence whose length the output shares: its group, or itself; None outside sequences."""
        if not self.is_sequence:
            return None
        return self.group.sequence_name if self.group else self.name

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        """The inputs in the order of the options; in encoded and bucketize mode one, the feature itself."""
        if self.mode != "raw":
            return (Input("user", self.name, self.name, self.is_sequence),)
        return tuple(self._input(text) for text in self.spec.references() if text != WILDCARD)

    def _input(self, text: str) -> Input:
        side, colon, name = text.partition(":")
        if not colon or not name:
            raise ConfigError(f"input {text!r} is not `side:name`", hint="For example `item:category`")
        if side not in SIDES:
            raise ConfigError(f"input {text!r} has the unknown side {side!r}", hint=suggest(side, SIDES))
        is_sequence = self._is_sequence_input(side, name)
        prefix = f"{self.group.sequence_name}__" if self.group and is_sequence else ""
        return Input(side, name, prefix + name, is_sequence)

    def _is_sequence_input(self, side: str, name: str) -> bool:
        if not self.is_sequence or side == "const":
            return False
        if self.spec.sequence_fields:
            return name in self.spec.sequence_fields
        if isinstance(self.spec, types.TokenizeFeature) and self.spec.tokens_as_sequence:
            return False
        is_single = self.spec.is_single_input or isinstance(self.spec, types.TagFeature)
        return side != "feature" if is_single else side == "item"

    @property
    def default(self) -> str:
        """The default_value that applies; "" leaves missing rows empty."""
        given = getattr(self.spec, "default_value", None)
        value = self.spec.type_default if given is None else str(given)
        if given is None and self.profile.prefixes_tokens and self.makes_tokens:
            value = ""
        return "0" if self.is_sequence and self.profile.fills_sequences and not value else value

    @property
    def encoded_default(self) -> str:
        """The default of finished values: fg_encoded_default_value; "" leaves missing rows empty."""
        return self.spec.fg_encoded_default_value or ""

    @property
    def value_dim(self) -> int:
        """The value_dim that applies; 0 keeps all values."""
        given = getattr(self.spec, "value_dim", None)
        if isinstance(self.spec, _KEEPS_ALL):
            return int(given) if given is not None else int(self.is_sequence)
        if isinstance(self.spec, types.TokenizeFeature):
            return int(self.spec.tokens_as_sequence)
        return 1 if given is None else int(given)

    @property
    def separators(self) -> tuple[str, ...]:
        """What separates the values of a text cell, or of a step."""
        profile = self.profile
        given = getattr(self.spec, "separator", None)
        if given is None:
            is_one = not profile.splits_ids and isinstance(self.spec, (types.IdFeature, types.ComboFeature))
            given = "" if is_one else profile.separator
        if profile.adds_separator:
            return ("\x1d",) if given == "\x1d" else ("\x1d", str(given))
        more = getattr(self.spec, "seq_multi_sep", None)
        return tuple(separator for separator in (given, more) if separator)

    @property
    def is_sparse(self) -> bool:
        """The output are ids (or tokens, where no id mapping is configured), not numbers."""
        spec = self.spec
        if isinstance(spec, _ALWAYS_SPARSE) or self.mapping_option is not None:
            return True
        discrete = isinstance(spec, (types.LookupFeature, types.MatchFeature)) and spec.need_discrete
        return discrete and self.mode != "encoded"

    @property
    def makes_tokens(self) -> bool:
        """A lookup or match feature of tokens, not of numbers."""
        is_map = isinstance(self.spec, (types.LookupFeature, types.MatchFeature))
        return is_map and self.is_sparse and self.mapping_option != "boundaries"

    @property
    def has_prefix(self) -> bool:
        """Tokens begin with the feature's name and `_`."""
        asked = self.spec.need_prefix
        return self.profile.prefixes_tokens and (self.makes_tokens if asked is None else asked)

    @property
    def crosses_hashes(self) -> bool:
        """A combo feature whose ids come of the hashes of its tokens, not of a joined token."""
        is_joined = not isinstance(self.spec, types.ComboFeature) or self.spec.combo_join_sep is not None
        return self.profile.crosses_hashes and not is_joined

    @property
    def mapping_option(self) -> str | None:
        """The option that makes ids: the first that is set, by precedence; None if none is."""
        names = ("zch", "dynamicemb", "hash_bucket_size", "vocab_list", "vocab_dict", "vocab_file", "num_buckets")
        if isinstance(self.spec, (types.TokenizeFeature, types.SidFeature)):
            return None
        if isinstance(self.spec, types.RawFeature):
            return "boundaries" if boundaries_of(self.spec) else None
        return next((name for name in (*names, "boundaries") if getattr(self.spec, name, None)), None)

    @property
    def is_dynamic(self) -> bool:
        """Ids are not numbers of table rows: only a hashed table can keep them."""
        found = vocabularies_of(self.spec)
        is_hash = found is not None and (found.zch is not None or found.dynamicemb is not None)
        return self.mode != "encoded" and (is_hash or num_buckets_of(self.spec) == UNBOUNDED_IDS)

    @property
    def is_weighted(self) -> bool:
        """Each id comes with a weight."""
        spec = self.spec
        if isinstance(spec, types.TagFeature):
            return spec.kv_separator is not None or len(spec.expression) > 1
        return isinstance(spec, types.IdFeature) and spec.weighted

    @property
    def has_embedding(self) -> bool:
        """The network sees `embedding_dim` numbers: of table rows, or of a dense embedding."""
        made = getattr(self.spec, "autodis", None) is not None or getattr(self.spec, "mlp", None) is not None
        return self.is_sparse or (made and not self.is_sequence)

    @property
    def output_dim(self) -> int:
        """embedding_dim, or value_dim of a dense feature without an embedding."""
        return self.spec.embedding_dim if self.has_embedding else max(self.value_dim, 1)


def boundaries_of(spec: FeatureSpec) -> tuple[float, ...]:
    """`boundaries`, () where the type has none; of a raw feature also those of its uniform buckets."""
    if isinstance(spec, types.RawFeature) and spec.num_buckets and spec.max_val > spec.min_val:
        return tuple(i / spec.num_buckets for i in range(spec.num_buckets))
    return spec.boundaries if isinstance(spec, Bucketised) else ()


def num_buckets_of(spec: FeatureSpec) -> int | None:
    """`num_buckets`, None where it is not set or the type has none."""
    return spec.num_buckets if isinstance(spec, (IdMapping, types.CombineFeature)) else None


def normalizer_of(spec: FeatureSpec) -> Normalizer | None:
    """The normalizer that applies, None where there is none."""
    if isinstance(spec, types.RawFeature) and spec.max_val > spec.min_val:
        return Normalizer("minmax", spec.min_val, spec.max_val - spec.min_val)
    return normalizers.parse(spec.normalizer) if isinstance(spec, Normalised) else None


def vocabularies_of(spec: FeatureSpec) -> Vocabularies | None:
    """The spec as one with vocabularies, or None."""
    return spec if isinstance(spec, Vocabularies) else None
