"""Lowering of each feature type: from its inputs to its output.

Each function returns the number of the output's value, over the steps that it returns beside (None: over rows).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import orjson

from recserve.errors import InvariantError
from recserve.features import custom, operators, ops
from recserve.features import spec_types as types
from recserve.features.declared import WILDCARD, Declared, Input
from recserve.features.lower_inputs import FeatureInputs, Operand
from recserve.features.lower_text import lower_regex, lower_semantic, lower_tokenize
from recserve.features.lower_values import Finisher
from recserve.features.spec import FeatureSpec

Result = tuple[int, int | None]
Probe = tuple[int, int, int]
"""Numbers of a map, its values and the keys to look up."""
_RATIO_SCALES: Final = {"query_common_ratio": 10, "title_common_ratio": 100}
_Spec = TypeVar("_Spec", bound=FeatureSpec)


def lower_raw_mode(feature: Declared, inputs: FeatureInputs, finish: Finisher) -> Result:
    """The output of a feature from its inputs."""
    for spec_type, lower in _LOWER.items():
        if isinstance(feature.spec, spec_type):
            return lower(feature, inputs, finish)
    raise InvariantError(f"no lowering for {type(feature.spec).__name__}")


def lower_bucketize_mode(feature: Declared, inputs: FeatureInputs, finish: Finisher) -> Result:
    """The output of a feature from a column of its unmapped values."""
    given, spec = feature.inputs[0], feature.spec
    if feature.is_weighted:
        return _weighted(given, inputs, finish)
    if isinstance(spec, (types.TokenizeFeature, types.SidFeature)):
        tokens = inputs.tokens(given)
        return inputs.add(ops.FillIds(inputs.add(ops.ParseInts(tokens.values[0])), ())), tokens.steps
    if feature.is_sparse and feature.mapping_option != "boundaries" and not isinstance(spec, types.CombineFeature):
        tokens = inputs.tokens(given)
        keeps = 0 if isinstance(spec, (types.LookupFeature, types.MatchFeature, types.CustomFeature)) else None
        return finish.finish_tokens(tokens.values[0], keeps), tokens.steps
    numbers = inputs.numbers(given)
    keeps_all = not isinstance(spec, types.RawFeature)
    return finish.finish_numbers(numbers.values[0], normalizes=False, keeps_all=keeps_all), numbers.steps


# ---- ids and numbers of one input


def _id(feature: Declared, inputs: FeatureInputs, finish: Finisher) -> Result:
    if feature.is_weighted:
        return _weighted(feature.inputs[0], inputs, finish)
    tokens = inputs.tokens(feature.inputs[0])
    return finish.finish_tokens(tokens.values[0]), tokens.steps


def _weighted(given: Input, inputs: FeatureInputs, finish: Finisher) -> Result:
    pairs = inputs.pairs(given, absent=1.0)
    return finish.finish_tokens(inputs.add(ops.AttachWeights(*pairs.values))), pairs.steps


def _tag(feature: Declared, inputs: FeatureInputs, finish: Finisher) -> Result:
    spec = _as(types.TagFeature, feature)
    if spec.kv_separator is not None:
        pairs = inputs.pairs(feature.inputs[0], spec.kv_separator, absent=1.0)
        return finish.finish_tokens(inputs.add(ops.AttachWeights(*pairs.values))), pairs.steps
    tags = inputs.tokens(feature.inputs[0])
    if len(feature.inputs) == 1:
        return finish.finish_tokens(tags.values[0]), tags.steps
    (found, weights), steps = inputs.unify([tags, inputs.numbers(feature.inputs[1])])
    return finish.finish_tokens(inputs.add(ops.AttachWeights(found[0], weights[0]))), steps


def _raw(feature: Declared, inputs: FeatureInputs, finish: Finisher) -> Result:
    spec = _as(types.RawFeature, feature)
    numbers = inputs.numbers(feature.inputs[0])
    value = numbers.values[0]
    if spec.combiner:
        value = inputs.add(ops.CombineNumbers(value, spec.combiner, spec.value_dim))
    return finish.finish_numbers(value), numbers.steps


def _combine(feature: Declared, inputs: FeatureInputs, finish: Finisher) -> Result:
    spec = _as(types.CombineFeature, feature)
    if spec.value_map:
        tokens = inputs.tokens(feature.inputs[0])
        mapped = inputs.add(ops.VocabNumbers(tokens.values[0], tuple(spec.value_map.items())))
        numbers = Operand((mapped,), tokens.steps)
    else:
        numbers = inputs.numbers(feature.inputs[0])
    combined = inputs.add(ops.CombineNumbers(numbers.values[0], _combiner(spec.combiner), spec.value_dim))
    return finish.finish_numbers(combined, keeps_all=True), numbers.steps


def _combiner(name: str) -> str:
    return "mean" if name == "avg" else name


# ---- several inputs


def _combo(feature: Declared, inputs: FeatureInputs, finish: Finisher) -> Result:
    spec = _as(types.ComboFeature, feature)
    cuts: Sequence[tuple[str, ...]] = [inputs.separators] * len(feature.inputs)
    if spec.combo_input_seps:
        cuts = [(separator,) if separator else () for separator in spec.combo_input_seps]
    operands, steps = inputs.unify([inputs.tokens(*pair) for pair in zip(feature.inputs, cuts, strict=True)])
    sources = tuple(values[0] for values in operands)
    if feature.profile.crosses_hashes:
        defaults = [None if cut or feature.crosses_hashes else "" for cut in cuts]
        given = [text or default for text, default in zip(spec.combo_input_defaults or defaults, defaults, strict=True)]
        filled = zip(sources, given, strict=True)
        sources = tuple(s if text is None else inputs.add(ops.FillTokens(s, (text,))) for s, text in filled)
    if feature.value_dim == 1:  # the first combination is that of the first tokens
        sources = tuple(inputs.add(ops.FirstElements(source, 1)) for source in sources)
    if feature.crosses_hashes:
        hashes = tuple(inputs.add(ops.HashIds(source, 0, finish.algorithm)) for source in sources)
        return finish.fill(inputs.add(ops.CrossIds(hashes, finish.hash_buckets or 0))), steps
    return finish.finish_tokens(inputs.add(ops.JoinTokens(sources, spec.combo_join_sep or "_"))), steps


def _bool_mask(feature: Declared, inputs: FeatureInputs, finish: Finisher) -> Result:
    operands, steps = inputs.unify([inputs.tokens(given, keeps_empty=True) for given in feature.inputs])
    return finish.finish_tokens(inputs.add(ops.MaskTokens(operands[0][0], operands[1][0]))), steps


def _expr(feature: Declared, inputs: FeatureInputs, finish: Finisher) -> Result:
    spec = _as(types.ExprFeature, feature)
    operands, steps = inputs.unify([inputs.numbers(given) for given in feature.inputs])
    sources = tuple(values[0] for values in operands)
    if spec.fill_missing is not None:
        sources = tuple(inputs.add(ops.FillNumbers(source, (spec.fill_missing,))) for source in sources)
    names = tuple(given.name for given in feature.inputs)
    result = inputs.add(ops.Evaluate(str(spec.expression), names, sources))
    return finish.finish_numbers(result, keeps_all=not spec.value_dim), steps


def _overlap(feature: Declared, inputs: FeatureInputs, finish: Finisher) -> Result:
    spec = _as(types.OverlapFeature, feature)
    operands, steps = inputs.unify([inputs.tokens(given) for given in feature.inputs])
    method, formula = str(spec.method), ""
    if feature.profile.scales_ratios and method in _RATIO_SCALES:
        formula = f"floor({_RATIO_SCALES[method]} * x + 1e-9)"  # a ratio of n terms is no nearer to a whole number
    elif feature.profile.finds_runs and method == "is_contain":
        method, formula = "index_of", "x >= 0"
    result = inputs.add(ops.Overlap(operands[0][0], operands[1][0], method))
    if formula:
        result = inputs.add(ops.Evaluate(formula, ("x",), (result,)))
    return finish.finish_numbers(result), steps


def _custom(feature: Declared, inputs: FeatureInputs, finish: Finisher) -> Result:
    spec = _as(types.CustomFeature, feature)
    if (function := custom.function_of(spec.operator_name)) is not None:
        return _call(feature, inputs, finish, function)
    if spec.operator_name == "SeqExpr":
        operands, steps = inputs.unify([inputs.numbers(given) for given in feature.inputs])
        sources, names = tuple(values[0] for values in operands), tuple(given.name for given in feature.inputs)
        return finish.finish_numbers(inputs.add(ops.Evaluate(operators.formula_of(spec), names, sources))), steps
    operands, steps = inputs.unify([inputs.tokens(given, separators=()) for given in feature.inputs])
    texts = [values[0] for values in operands]
    if spec.operator_name == "EditDistance":
        encoding = str(spec.operator_params.get("encoding", "latin"))
        return finish.finish_numbers(inputs.add(ops.EditDistance(texts[0], texts[1], encoding))), steps
    params = spec.operator_params
    replaced = ops.RegexReplace(
        texts[0],
        operators.patterns_of(spec),
        str(params.get("replacement", "")),
        bool(params.get("replace_all", True)),
        bool(params.get("icase", False)),
    )
    tokens = inputs.add(replaced)
    if feature.is_sparse and feature.mapping_option != "boundaries":
        return finish.finish_tokens(tokens, keeps=0, splits_default=False), steps
    return finish.finish_numbers(inputs.add(ops.TokensToNumbers(tokens))), steps


def _call(feature: Declared, inputs: FeatureInputs, finish: Finisher, function: custom.Function) -> Result:
    """A registered function of the numbers, or the texts, of the inputs."""
    spec = _as(types.CustomFeature, feature)
    read = inputs.numbers if function.reads == "numbers" else inputs.tokens
    operands, steps = inputs.unify([read(given) for given in feature.inputs])
    sources = tuple(values[0] for values in operands)
    parameters = orjson.dumps(spec.operator_params, option=orjson.OPT_SORT_KEYS).decode()
    if function.returns == "texts":
        tokens = inputs.add(ops.CallForTokens(function, sources, parameters))
        if feature.is_sparse and feature.mapping_option != "boundaries":
            return finish.finish_tokens(tokens, keeps=0, splits_default=False), steps
        return finish.finish_numbers(inputs.add(ops.TokensToNumbers(tokens))), steps
    if function.is_compiled:
        return finish.finish_numbers(inputs.add(ops.CallCompiled(function, sources))), steps
    return finish.finish_numbers(inputs.add(ops.CallForNumbers(function, sources, parameters))), steps


# ---- maps. Values are mapped to ids where the map is built, so that only the probe depends on both sides.


def _hashed_map(inputs: FeatureInputs, keys: int, keeps_all: bool = False) -> int:
    return inputs.add(ops.BuildMap(inputs.add(ops.HashIds(keys)), keeps_all))


def _lookup(feature: Declared, inputs: FeatureInputs, finish: Finisher) -> Result:
    spec = _as(types.LookupFeature, feature)
    map_input, key_input = feature.inputs
    is_number = not feature.is_sparse or feature.mapping_option == "boundaries"
    is_vector = is_number and feature.value_dim > 1
    absent = math.nan if is_number and not is_vector else None
    by_text = spec.kv_separator is not None  # as EasyRec cuts maps and keys
    separators = inputs.separators if by_text else ("\x1d",)
    pairs = inputs.pairs(map_input, spec.kv_separator or ":", absent, separators)
    keys, values = pairs.values
    if not is_number:
        if spec.need_key:
            values = inputs.add(ops.ConcatTokens((keys, values)))
        values = finish.prefixed(values)
        values = finish.ids_of_tokens(values) if finish.maps_tokens else values
    tokens = inputs.tokens(key_input, () if by_text else None)
    wanted = Operand((inputs.add(ops.HashIds(tokens.values[0])),), tokens.steps)
    (found, wanted_keys), steps = inputs.unify(
        [Operand((_hashed_map(inputs, keys, by_text), values), pairs.steps), wanted]
    )
    probe = (found[0], found[1], wanted_keys[0])
    if is_vector:
        return _lookup_vector(inputs, finish, probe, spec), steps
    if is_number:
        return finish.finish_numbers(_lookup_number(inputs, probe, spec.combiner), keeps_all=True), steps
    op = ops.LookupIds(*probe) if finish.maps_tokens else ops.LookupTokens(*probe)
    return finish.fill(inputs.add(op), splits_default=False), steps


def _lookup_number(inputs: FeatureInputs, probe: Probe, combiner: str) -> int:
    name = _combiner(combiner)
    if name.startswith("gap_"):
        return inputs.add(ops.CombineNumbers(inputs.add(ops.LookupNumbers(*probe, combiner="")), name))
    return inputs.add(ops.LookupNumbers(*probe, combiner=name))


def _lookup_vector(inputs: FeatureInputs, finish: Finisher, probe: Probe, spec: types.LookupFeature) -> int:
    """The first hit, or (where the profile combines vectors) all hits, split into numbers."""
    combines = inputs.feature.profile.combines_vectors and spec.combiner
    text = inputs.add(ops.LookupTokens(*probe))
    text = text if combines else inputs.add(ops.FirstElements(text, 1))
    numbers = inputs.add(ops.TokensToNumbers(inputs.add(ops.SplitTokens(text, (spec.value_separator,)))))
    if combines:
        numbers = inputs.add(ops.CombineNumbers(numbers, _combiner(spec.combiner), inputs.feature.value_dim))
    return finish.finish_numbers(numbers)


def _match(feature: Declared, inputs: FeatureInputs, finish: Finisher) -> Result:
    spec = _as(types.MatchFeature, feature)
    nested = inputs.nested_pairs(feature.inputs[0])
    outer, inner, values = nested.values
    shown = [outer] * (spec.pkey != WILDCARD) + [inner] * (spec.skey != WILDCARD)
    is_number = not feature.is_sparse or feature.mapping_option == "boundaries"
    values = inputs.add(ops.TokensToNumbers(values)) if is_number else _match_ids(finish, spec, nested.values)
    if not shown:
        (found,), steps = inputs.unify([Operand((values,), nested.steps)])
        return _finish_match(feature, finish, found[0]), steps
    keys = shown[0] if len(shown) == 1 else inputs.add(ops.ConcatTokens(tuple(shown), "^"))
    built = Operand((_hashed_map(inputs, keys, WILDCARD in (spec.pkey, spec.skey)), values), nested.steps)
    (wanted,), wanted_steps = _match_keys(feature, inputs)
    hashed = Operand((inputs.add(ops.HashIds(wanted)),), wanted_steps)
    (found, wanted_keys), steps = inputs.unify([built, hashed])
    probe = (found[0], found[1], wanted_keys[0])
    if is_number:
        return _finish_match(feature, finish, inputs.add(ops.LookupNumbers(*probe, combiner=""))), steps
    op = ops.LookupIds(*probe) if finish.maps_tokens else ops.LookupTokens(*probe)
    return _finish_match(feature, finish, inputs.add(op)), steps


def _match_keys(feature: Declared, inputs: FeatureInputs) -> tuple[tuple[int], int | None]:
    """The keys to look up: every primary key with every secondary key."""
    operands = [inputs.tokens(given) for given in feature.inputs[1:]]
    if len(operands) == 1:
        return (operands[0].values[0],), operands[0].steps
    if all(operand.steps is None for operand in operands):
        return (inputs.add(ops.JoinTokens(tuple(o.values[0] for o in operands), "^")),), None
    parts, steps = inputs.unify(operands)
    return (inputs.add(ops.JoinTokens(tuple(part[0] for part in parts), "^")),), steps


def _match_ids(finish: Finisher, spec: types.MatchFeature, nested: tuple[int, ...]) -> int:
    """Ids (or tokens) of the values of the map. Hashed tokens have the feature's name in front."""
    outer, inner, values = nested
    shows_all = finish.feature.profile.shows_hits and spec.matchType != "multihit"
    parts = (outer,) * (spec.show_pkey or shows_all) + (inner,) * (spec.show_skey or shows_all) + (values,)
    tokens = values if len(parts) == 1 else finish.add(ops.ConcatTokens(parts))
    tokens = finish.prefixed(tokens)
    if finish.hash_buckets is not None and not finish.feature.profile.prefixes_tokens:
        tokens = finish.add(ops.PrefixTokens(tokens, f"{spec.feature_name}_"))
    return finish.ids_of_tokens(tokens) if finish.maps_tokens else tokens


def _finish_match(feature: Declared, finish: Finisher, value: int) -> int:
    if not feature.is_sparse or feature.mapping_option == "boundaries":
        return finish.finish_numbers(value, keeps_all=True)
    return finish.fill(value, splits_default=False)


def _kv_dot(feature: Declared, inputs: FeatureInputs, finish: Finisher) -> Result:
    spec = _as(types.KvDotProduct, feature)
    query, document = (inputs.pairs(given, spec.kv_delimiter, absent=1.0) for given in feature.inputs)
    built = Operand((_hashed_map(inputs, query.values[0]), query.values[1]), query.steps)
    wanted = Operand((inputs.add(ops.HashIds(document.values[0])), document.values[1]), document.steps)
    (left, right), steps = inputs.unify([built, wanted])
    return finish.finish_numbers(inputs.add(ops.DotProduct(*left, *right))), steps


def _as(kind: type[_Spec], feature: Declared) -> _Spec:
    if not isinstance(feature.spec, kind):
        raise InvariantError(f"{type(feature.spec).__name__} is no {kind.__name__}")
    return feature.spec


_LOWER: Final[dict[type[FeatureSpec], Callable[[Declared, FeatureInputs, Finisher], Result]]] = {
    types.IdFeature: _id,
    types.TagFeature: _tag,
    types.RawFeature: _raw,
    types.CombineFeature: _combine,
    types.ComboFeature: _combo,
    types.BoolMaskFeature: _bool_mask,
    types.ExprFeature: _expr,
    types.OverlapFeature: _overlap,
    types.CustomFeature: _custom,
    types.LookupFeature: _lookup,
    types.MatchFeature: _match,
    types.KvDotProduct: _kv_dot,
    types.RegexReplaceFeature: lower_regex,
    types.TokenizeFeature: lower_tokenize,
    types.SidFeature: lower_semantic,
}
