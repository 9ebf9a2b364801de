"""Semantics profiles: which engine's rules a feature config follows, where engines differ.

A profile has a name and a version; both are part of the digest of a feature set. The version grows with every change of
what its features compute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from recserve.errors import ConfigError


@dataclass(frozen=True)
class Profile:
    """The rules in which engines differ.

    Attributes:
        name: of the profile.
        version: grows with every change of its rules.
        algorithm: hash of tokens, "murmur64a" or "farmhash".
        separator: default of `separator`.
        adds_separator: a configured separator adds to 0x1d; otherwise it stands in its place.
        splits_ids: text cells of id and combo features hold several values; otherwise one.
        unknown_is_zero: unknown words and ids outside `num_buckets` are 0, and the words of a vocabulary count from 0.
        fills_sequences: a missing sequence is one step with the default; otherwise it has no step.
        normalizes_default: the default of a dense feature is normalised like a number that was given.
        prefixes_tokens: tokens of lookup and match features begin with the feature's name and `_`.
        shows_hits: tokens of match features (matchType "hit") begin with their keys.
        scales_ratios: overlap ratios are whole numbers: tenths of the query, hundredths of the title.
        rounds_float_ids: a float of a float column that is an id is rounded, half away from zero.
        combines_vectors: lookups of vectors combine all hits, component by component; otherwise the first hit counts.
        crosses_hashes: a combo feature without `combo_join_sep` crosses the hashes of tokens, not the tokens; with it,
            an input whose text is one value is an empty token where it is missing.
        finds_runs: overlap's is_contain wants the terms of query side by side.
    """

    name: str
    version: int
    algorithm: str = "murmur64a"
    separator: str = "\x1d"
    adds_separator: bool = True
    splits_ids: bool = True
    unknown_is_zero: bool = False
    fills_sequences: bool = True
    normalizes_default: bool = False
    prefixes_tokens: bool = False
    shows_hits: bool = False
    scales_ratios: bool = False
    rounds_float_ids: bool = False
    combines_vectors: bool = False
    finds_runs: bool = False
    crosses_hashes: bool = False


PYFG: Final = Profile("pyfg", 1)
EASYREC: Final = Profile(
    "easyrec-tf",
    2,
    algorithm="farmhash",
    separator="|",
    adds_separator=False,
    splits_ids=False,
    unknown_is_zero=True,
    fills_sequences=False,
    normalizes_default=True,
    crosses_hashes=True,
)
LEGACY: Final = Profile(
    "legacy-rtp-fg",
    1,
    normalizes_default=True,
    prefixes_tokens=True,
    shows_hits=True,
    scales_ratios=True,
    rounds_float_ids=True,
    combines_vectors=True,
    finds_runs=True,
)
PROFILES: Final[dict[str, Profile]] = {
    profile.name: profile for profile in (PYFG, Profile("farmhash", 1, algorithm="farmhash"), LEGACY, EASYREC)
}
"""All profiles by name."""

OPTION_PROFILES: Final[dict[tuple[str, str], str]] = {
    ("raw_feature", "min_val"): EASYREC.name,
    ("raw_feature", "max_val"): EASYREC.name,
    ("raw_feature", "num_buckets"): EASYREC.name,
    ("raw_feature", "seq_multi_sep"): EASYREC.name,
    ("raw_feature", "combiner"): EASYREC.name,
    ("combo_feature", "combo_join_sep"): EASYREC.name,
    ("combo_feature", "combo_input_seps"): EASYREC.name,
    ("combo_feature", "combo_input_defaults"): EASYREC.name,
    ("lookup_feature", "kv_separator"): EASYREC.name,
    ("combine_feature", "value_dim"): LEGACY.name,
}
"""The only profile in which a feature type has an option."""


def profile_named(name: str) -> Profile:
    """The profile of this name.

    Raises:
        ConfigError: there is none; code "unsupported_profile".
    """
    if name not in PROFILES:
        hint = f"There are {', '.join(PROFILES)}"
        raise ConfigError(f"profile {name!r} is not supported", code="unsupported_profile", hint=hint)
    return PROFILES[name]
