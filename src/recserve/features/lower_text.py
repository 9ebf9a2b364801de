"""Lowering of texts and semantic ids."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from recserve.errors import ConfigError, InvariantError
from recserve.features import ops
from recserve.features import spec_types as types
from recserve.features.declared import Declared
from recserve.features.lower_inputs import FeatureInputs
from recserve.features.lower_values import Finisher
from recserve.features.operators import default_parts
from recserve.features.reference_text import DEFAULT_STOPS, load_simplifier, load_tokenizer
from recserve.features.vocabularies import asset_path, digest, read_asset

NORMALIZATIONS: Final = {
    "TEXT_SBC2DBC": "width",
    "TEXT_LOWER2UPPER": "upper",
    "TEXT_UPPER2LOWER": "lower",
    "TEXT_CHT2CHS": "simplify",
    "TEXT_FILTER": "filter",
    "TEXT_SPLITCHRS": "split",
    "TEXT_REMOVE_SPACE": "squeeze",
}
"""Operations of NormalizeText by norm_options, in the order in which they apply."""
DEFAULT_OPTIONS: Final = ("TEXT_LOWER2UPPER", "TEXT_SBC2DBC", "TEXT_CHT2CHS", "TEXT_FILTER")


def lower_regex(feature: Declared, inputs: FeatureInputs, finish: Finisher) -> tuple[int, int | None]:
    """A regex_replace feature: the whole text, replaced and mapped. The default is not replaced."""
    spec = feature.spec
    if not isinstance(spec, types.RegexReplaceFeature):
        raise InvariantError(f"{type(spec).__name__} is no regex_replace_feature")
    texts = inputs.tokens(feature.inputs[0], separators=())
    op = ops.RegexReplace(texts.values[0], spec.regex_pattern or (), spec.replacement, spec.replace_all, spec.icase)
    return finish.finish_tokens(inputs.add(op), splits_default=False), texts.steps


def lower_tokenize(feature: Declared, inputs: FeatureInputs, finish: Finisher) -> tuple[int, int | None]:
    """A tokenize feature: the text, normalised and cut into pieces. The default is cut, but not normalised."""
    spec = feature.spec
    if not isinstance(spec, types.TokenizeFeature):
        raise InvariantError(f"{type(spec).__name__} is no tokenize_feature")
    texts = inputs.tokens(feature.inputs[0], separators=())
    value = texts.values[0]
    if spec.text_normalizer:
        value = inputs.add(_normalize(value, feature, spec.text_normalizer, finish.asset_dir))
    path = asset_path(feature, str(spec.vocab_file), finish.asset_dir)
    content = read_asset(path)
    op = ops.Tokenize(value, spec.tokenizer_type, str(path), digest(content))
    tokenizer = load_tokenizer(op.model, op.file, op.sha256)
    finish.tokenizer_rows = tokenizer.size
    defaults = tokenizer.encode(feature.default) if feature.default else ()
    return inputs.add(ops.FillIds(inputs.add(op), tuple(defaults))), texts.steps


def _normalize(source: int, feature: Declared, options: types.TextNormalizer, asset_dir: Path | None) -> ops.Op:
    stops = DEFAULT_STOPS
    if options.stop_char_file:
        path = asset_path(feature, options.stop_char_file, asset_dir)
        try:
            stops = "".join(read_asset(path).decode("utf-8").split())
        except UnicodeDecodeError:
            raise ConfigError(f"stop_char_file {str(path)!r} is not UTF-8") from None
    chosen = options.norm_options or DEFAULT_OPTIONS
    operations = tuple(name for option, name in NORMALIZATIONS.items() if option in chosen)
    if "simplify" in operations:
        load_simplifier()
    return ops.NormalizeText(source, operations, stops if "filter" in operations else "", options.max_length or 0)


def lower_semantic(feature: Declared, inputs: FeatureInputs, finish: Finisher) -> tuple[int, int | None]:  # noqa: ARG001
    """A sid feature: codes to ids, level after level. A missing row is one whole tuple of default codes."""
    spec = feature.spec
    if not isinstance(spec, types.SidFeature):
        raise InvariantError(f"{type(spec).__name__} is no sid_feature")
    codes = inputs.tokens(feature.inputs[0], separators=(*inputs.separators, feature.delimiter))
    default = default_parts(feature)
    levels = len(spec.codebook)
    filled = inputs.add(ops.FillTokens(codes.values[0], tuple(default * levels if len(default) == 1 else default)))
    return inputs.add(ops.SemanticIds(filled, spec.codebook)), codes.steps
