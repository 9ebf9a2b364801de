"""Lowering of what comes after the inputs: id mappings, defaults, buckets, dense rows."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recserve.errors import ConfigError
from recserve.features import normalizers, ops
from recserve.features import spec_types as types
from recserve.features.declared import (
    UNBOUNDED_IDS,
    Declared,
    boundaries_of,
    normalizer_of,
    num_buckets_of,
    vocabularies_of,
)
from recserve.features.lower_inputs import FeatureInputs, split_text
from recserve.features.operators import default_parts, is_number
from recserve.features.ops import MISSING_ID
from recserve.features.reference_hash import HASHES, to_bucket
from recserve.features.vocabularies import Vocabulary, vocabulary_of


class Finisher:
    """Turns tokens or numbers of one feature into its output."""

    def __init__(self, inputs: FeatureInputs, asset_dir: Path | None) -> None:
        self.inputs, self.feature = inputs, inputs.feature
        self.algorithm = self.feature.profile.algorithm
        self.add, self.asset_dir = inputs.add, asset_dir
        self.vocabulary: Vocabulary | None = None
        self.tokenizer_rows: int | None = None
        if self.feature.mode != "encoded" and not isinstance(self.feature.spec, types.TokenizeFeature):
            self.vocabulary = vocabulary_of(self.feature, asset_dir)
        self.hash_buckets = _hash_buckets(self.feature)

    @property
    def maps_tokens(self) -> bool:
        """An id mapping from tokens is configured."""
        buckets = num_buckets_of(self.feature.spec)
        return self.hash_buckets is not None or self.vocabulary is not None or buckets is not None

    # ---- tokens

    def ids_of_tokens(self, tokens: int) -> int:
        """The ids of tokens, element by element."""
        if self.hash_buckets is not None:
            return self.add(ops.HashIds(tokens, self.hash_buckets, self.algorithm))
        if self.vocabulary is not None:
            return self.add(ops.VocabIds(tokens, self.vocabulary.ids, self.vocabulary.unknown))
        outside = 0 if self.feature.profile.unknown_is_zero else MISSING_ID
        return self.add(ops.ParseInts(tokens, num_buckets_of(self.feature.spec), outside))

    def default_ids(self, parts: Sequence[str]) -> tuple[int, ...]:
        """The ids of default_value, computed once."""
        if self.hash_buckets is not None:
            return tuple(to_bucket(HASHES[self.algorithm](part.encode()), self.hash_buckets) for part in parts)
        if self.vocabulary is not None:
            return tuple(self.vocabulary.id_of(part) for part in parts)
        return tuple(int(part) for part in parts)

    def prefixed(self, tokens: int) -> int:
        """Tokens with the feature's name in front, where the profile puts it there."""
        if not self.feature.has_prefix:
            return tokens
        return self.add(ops.PrefixTokens(tokens, f"{self.feature.spec.feature_name}_"))

    def finish_tokens(self, tokens: int, keeps: int | None = None, splits_default: bool = True) -> int:
        """Tokens to the output: at most `keeps` (value_dim; 0: all), mapped, defaulted."""
        keeps = self.feature.value_dim if keeps is None else keeps
        if keeps:
            tokens = self.add(ops.FirstElements(tokens, keeps))
        tokens = self.prefixed(tokens)
        return self.fill(self.ids_of_tokens(tokens) if self.maps_tokens else tokens, splits_default, keeps)

    def fill(self, value: int, splits_default: bool = True, keeps: int = 0) -> int:
        """Mapped ids, or tokens where nothing is mapped, with (at most `keeps` of) the default in rows without any."""
        parts = default_parts(self.feature) if splits_default else list(split_text(self.feature.default, ()))
        parts = parts[: keeps or None]
        if self.feature.has_prefix:
            parts = [f"{self.feature.spec.feature_name}_{part}" for part in parts]
        if self.maps_tokens:
            return self.add(ops.FillIds(value, self.default_ids(parts)))
        return self.add(ops.FillTokens(value, tuple(parts)))

    # ---- numbers

    def normalized(self, numbers: int) -> int:
        """Numbers after the normalizer."""
        normalizer = normalizer_of(self.feature.spec)
        if normalizer is None:
            return numbers
        if normalizer.method == "expression":
            return self.add(ops.Evaluate(normalizer.expression, ("x",), (numbers,)))
        return self.add(ops.Normalize(numbers, normalizer.method, normalizer.a, normalizer.b))

    def finish_numbers(self, numbers: int, normalizes: bool = True, keeps_all: bool = False) -> int:
        """Numbers to the output: normalised, then bucketised, truncated to ids, mapped as text, or made dense.

        Args:
            numbers: number of a NUMBERS value.
            normalizes: False in bucketize mode.
            keeps_all: buckets of all numbers, not of the first value_dim.
        """
        numbers = self.normalized(numbers) if normalizes else numbers
        boundaries = boundaries_of(self.feature.spec)
        if boundaries:
            return self._finish_buckets(numbers, boundaries, keeps_all)
        buckets = num_buckets_of(self.feature.spec)
        if buckets is not None:
            ids = self.add(ops.TruncateToIds(numbers, buckets))
            return self.add(ops.FillIds(ids, tuple(int(x) for x in self._default_numbers())))
        if self.feature.is_sparse:
            return self.finish_tokens(self.add(ops.NumbersToTokens(numbers)))
        return self.add(ops.ToDense(numbers, self.default_row()))

    def _finish_buckets(self, numbers: int, boundaries: tuple[float, ...], keeps_all: bool) -> int:
        width, default = self.feature.value_dim, self._default_numbers()
        if isinstance(self.feature.spec, types.KvDotProduct) and not default:
            default = [0.0]
        if not keeps_all and width > 1 and default:
            numbers = self.add(ops.DenseToNumbers(self.add(ops.ToDense(numbers, self.default_row()))))
            default = []
        elif not keeps_all and width:
            numbers = self.add(ops.FirstElements(numbers, width))
        ids = [bucket_of(x, boundaries) for x in default]
        return self.add(ops.FillIds(self.add(ops.Bucketize(numbers, boundaries)), tuple(i for i in ids if i >= 0)))

    def _default_numbers(self) -> list[float]:
        numbers = [parse_number(part) for part in default_parts(self.feature)]
        normalizer = normalizer_of(self.feature.spec)
        if normalizer is None or not self.feature.profile.normalizes_default:
            return numbers
        return [normalizers.normalize(normalizer, x) for x in numbers or [0.0]]

    def default_row(self) -> tuple[float, ...]:
        """The default of a dense row: value_dim numbers; one number stands for all, none for zeros."""
        return _row(self._default_numbers(), max(self.feature.value_dim, 1))

    # ---- finished values

    def finish_encoded(self) -> int:
        """The output of a column of finished ids or numbers, over the rows or steps of the column."""
        given, default = self.feature.inputs[0], self._encoded_default()
        if not self.feature.is_sparse:
            numbers = self.inputs.numbers(given).values[0]
            return self.add(ops.ToDense(numbers, _row(default, max(self.feature.value_dim, 1))))
        if self.feature.is_weighted:
            keys, weights = self.inputs.pairs(given, absent=1.0).values
            ids = self.add(ops.AttachWeights(self.add(ops.ParseInts(keys)), weights))
        else:
            ids = self.add(ops.ParseInts(self.inputs.tokens(given).values[0]))
        return self.add(ops.FillIds(ids, tuple(int(x) for x in default)))

    def _encoded_default(self) -> list[float]:
        parts = split_text(self.feature.encoded_default, self.inputs.separators)
        if not all(is_number(part) for part in parts):
            problem = f"option 'fg_encoded_default_value' is {self.feature.encoded_default!r}, not numbers"
            raise ConfigError(problem, where=f"feature {self.feature.name!r}")
        return [parse_number(part) for part in parts]


def _hash_buckets(feature: Declared) -> int | None:
    spec = vocabularies_of(feature.spec)
    if spec is None or feature.mode == "encoded":
        return None
    return UNBOUNDED_IDS if spec.zch or spec.dynamicemb else spec.hash_bucket_size


def _row(numbers: Sequence[float], width: int) -> tuple[float, ...]:
    if len(numbers) <= 1:
        return tuple(numbers or [0.0]) * width
    return tuple(numbers)


def parse_number(text: str) -> float:
    """The number that a text spells, which `is_number`."""
    return float(text.strip())


def bucket_of(x: float, boundaries: Sequence[float]) -> int:
    """Count of boundaries <= x, compared as float32; MISSING_ID for NaN."""
    if math.isnan(x):
        return MISSING_ID
    with np.errstate(over="ignore"):
        return bisect.bisect_right([np.float32(b) for b in boundaries], np.float32(x))
