"""What options and features get wrong together: contradictory, unused and missing options, names, references.

Each function takes features and yields problems, each a sentence that names the feature and the option.
"""

from __future__ import annotations

import dataclasses
import graphlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from recserve.errors import ConfigError, suggest
from recserve.features import expressions, operators
from recserve.features import spec_types as types
from recserve.features.declared import WILDCARD, Declared, boundaries_of, num_buckets_of, vocabularies_of
from recserve.features.profiles import OPTION_PROFILES
from recserve.features.spec import DenseEmbedded, Normalised, SequenceGroup

_MAPPINGS = (
    *("hash_bucket_size", "num_buckets", "vocab_list", "vocab_dict", "vocab_file", "zch", "dynamicemb", "boundaries"),
)


@dataclass(frozen=True)
class Problem:
    """Something wrong.

    Attributes:
        text: a sentence.
        feature: name of the feature, None of what is wrong between features.
        drops: options without which the feature is right and means what it meant; () if no options are.
    """

    text: str
    feature: str | None = None
    drops: tuple[str, ...] = ()


def check(features: Iterable[Declared]) -> list[Problem]:
    """All problems of a feature set."""
    features = list(features)
    problems = [Problem(f"feature {name!r} is declared {count} times") for name, count in _repeated(features)]
    problems += map(Problem, _group_problems(features))
    for feature in features:
        for found in _feature_problems(feature):
            problem = found if isinstance(found, Problem) else Problem(found)
            text = f"feature {feature.name!r}: {problem.text}"
            problems.append(Problem(text, feature.name, problem.drops))
    return problems + [Problem(f"feature {name!r}: {text}", name) for name, text in _reference_problems(features)]


def relax(features: Iterable[Declared]) -> tuple[tuple[Declared, ...], list[str]]:
    """The features without the options that have no effect or contradict others, and what was left out, as warnings."""
    kept = list(features)
    warnings: list[str] = []
    while drops := [problem for problem in check(kept) if problem.drops]:
        warnings += [problem.text for problem in drops]
        dropped: dict[str | None, tuple[str, ...]] = {}
        for problem in drops:
            dropped[problem.feature] = dropped.get(problem.feature, ()) + problem.drops
        kept = [_without(feature, dropped[feature.name]) if feature.name in dropped else feature for feature in kept]
    return tuple(kept), warnings


def _without(feature: Declared, options: tuple[str, ...]) -> Declared:
    spec = feature.spec
    given = {name: getattr(spec, name) for name in spec.model_fields_set if name not in options}
    return dataclasses.replace(feature, spec=type(spec).model_validate(given))


def _repeated(features: list[Declared]) -> Iterator[tuple[str, int]]:
    for name, count in Counter(feature.name for feature in features).items():
        if count > 1:
            yield name, count


def _group_problems(features: list[Declared]) -> Iterator[str]:
    """Sequences that share a name, and with it the length that the network sees, but not their options."""
    groups: dict[str, set[SequenceGroup]] = {}
    for feature in features:
        if feature.group:
            groups.setdefault(feature.group.sequence_name, set()).add(feature.group)
    for name, found in groups.items():
        if len(found) > 1:
            yield f"sequence {name!r} is declared {len(found)} times with different options"
        for group in found:
            side, _, key = (group.sequence_pk or f"user:{name}").partition(":")
            if side not in ("user", "context") or not key:
                given = group.sequence_pk
                yield f"sequence {name!r}: option 'sequence_pk' is {given!r}, not `user:name` or `context:name`"
    for feature in features:
        if feature.is_sequence and not feature.group and feature.name in groups:
            yield f"feature {feature.name!r} has the name of a sequence group. Rename one"


def _feature_problems(feature: Declared) -> Iterator[str | Problem]:
    yield from _profile_problems(feature)
    yield from _mapping_problems(feature)
    yield from _sequence_problems(feature)
    yield from _input_problems(feature)
    yield from _embedding_problems(feature)
    yield from _type_problems(feature)


def _is_set(feature: Declared, option: str) -> bool:
    return option in feature.spec.model_fields_set


def _unused(option: str, reason: str, hint: str = "") -> Problem:
    text = f"option {option!r} has no effect: {reason}"
    return Problem(f"{text}. {hint}" if hint else text, drops=(option,))


def _profile_problems(feature: Declared) -> Iterator[Problem]:
    """Options of other profiles."""
    for option in sorted(feature.spec.model_fields_set):
        owner = OPTION_PROFILES.get((feature.spec.feature_type, option), feature.profile.name)
        value = getattr(feature.spec, option)
        if owner != feature.profile.name and value != type(feature.spec).model_fields[option].default:
            yield _unused(option, f"it belongs to the profile {owner!r}")
    if feature.spec.need_prefix and not feature.profile.prefixes_tokens:
        yield _unused("need_prefix", f"the profile {feature.profile.name!r} puts no name in front of tokens")


# ---- id mappings


def _mapping_problems(feature: Declared) -> Iterator[str | Problem]:
    spec = feature.spec
    if isinstance(spec, (types.TokenizeFeature, types.RawFeature)):
        return
    mappings = [name for name in _MAPPINGS if getattr(spec, name, None)]
    if len(mappings) > 1:
        text = f"options {' and '.join(map(repr, mappings))} contradict one another. Set one way to make ids"
        yield Problem(text, drops=tuple(name for name in mappings if name != feature.mapping_option))
        return
    vocabularies = vocabularies_of(spec)
    if vocabularies is None:
        return
    given = vocabularies.default_bucketize_value
    has_vocabulary = bool(vocabularies.vocab_list or vocabularies.vocab_dict or vocabularies.vocab_file)
    if given is not None and not has_vocabulary:
        yield _unused("default_bucketize_value", "there is no vocabulary")
    needs = feature.mode != "encoded" and not feature.profile.unknown_is_zero
    if given is None and vocabularies.vocab_file and needs:
        yield "option 'vocab_file' needs 'default_bucketize_value', the id of unknown tokens"
    if given is not None and vocabularies.vocab_list and given >= len(vocabularies.vocab_list):
        yield f"option 'default_bucketize_value' is {given}, but 'vocab_list' has {len(vocabularies.vocab_list)} words"
    mapping = feature.mapping_option
    if mapping not in (None, "boundaries") and isinstance(spec, Normalised) and spec.normalizer:
        yield _unused("normalizer", f"{mapping!r} maps tokens, not numbers")


def _sequence_problems(feature: Declared) -> Iterator[str | Problem]:
    spec = feature.spec
    if feature.group:
        for option in ("sequence_length", "sequence_delim"):
            if _is_set(feature, option):
                yield _unused(option, f"it belongs to the sequence {feature.group.sequence_name!r}")
    elif not feature.is_sequence:
        for option in ("sequence_length", "sequence_delim", "sequence_fields"):
            if _is_set(feature, option):
                hint = f"The sequence type is 'sequence_{spec.feature_type}'"
                yield _unused(option, "the feature is not a sequence", hint)
    names = [text.partition(":")[2] for text in spec.references()]
    if feature.is_sequence and names and feature.mode == "raw":
        for name in spec.sequence_fields:
            if name not in names:
                near = suggest(name, names)
                yield f"option 'sequence_fields' names {name!r}, which is no input" + (f". {near}" if near else "")


def _input_problems(feature: Declared) -> Iterator[str]:
    if feature.mode != "raw":
        return
    for option in feature.spec.input_options:
        if not getattr(feature.spec, option):
            yield f"option {option!r} is missing: the input, as `side:name`"
    count = len(feature.spec.references())
    if isinstance(feature.spec, types.TagFeature) and count > 2:
        yield f"option 'expression' names {count} inputs, and takes tags and perhaps their weights"
    wanted = {types.ComboFeature: "at least 2", types.BoolMaskFeature: "2"}.get(type(feature.spec))
    if wanted and 0 < count != 2 and (wanted == "2" or count < 2):
        yield f"option 'expression' names {count} inputs, and needs {wanted}"
    try:
        columns = feature.inputs
    except ConfigError as error:
        yield str(error)
        return
    if columns and all(given.side == "const" for given in columns):
        yield "all inputs are constants"


def _embedding_problems(feature: Declared) -> Iterator[str | Problem]:
    spec = feature.spec
    if not isinstance(spec, DenseEmbedded):
        return
    made = [name for name in ("autodis", "mlp") if getattr(spec, name) is not None]
    if len(made) > 1:
        yield "options 'autodis' and 'mlp' contradict one another"
    if made and feature.is_sparse:
        yield f"option {made[0]!r} is for dense features, but {feature.mapping_option or 'need_discrete'!r} makes ids"
    if made and feature.is_sequence:
        yield _unused(made[0], "sequences have no dense embedding")
    if "autodis" in made and feature.value_dim > 1:
        yield f"option 'autodis' is for one number, not for value_dim {feature.value_dim}"


# ---- single types


def _type_problems(feature: Declared) -> Iterator[str | Problem]:
    match feature.spec:
        case types.TagFeature(kv_separator=str(), expression=(_, _, *_)):
            yield "options 'kv_separator' and a second input contradict one another: both give weights"
        case types.RawFeature():
            yield from _raw_problems(feature.spec)
        case types.ComboFeature():
            yield from _combo_problems(feature, feature.spec)
        case types.LookupFeature():
            yield from _lookup_problems(feature, feature.spec)
        case types.MatchFeature():
            yield from _match_problems(feature, feature.spec)
        case types.ExprFeature():
            yield from _expression_problems(feature, feature.spec)
        case types.OverlapFeature(method=None) if feature.mode == "raw":
            yield "option 'method' is missing"
        case types.RegexReplaceFeature(regex_pattern=patterns) if feature.mode == "raw":
            yield from _pattern_problems(patterns)
        case types.TokenizeFeature():
            yield from _tokenize_problems(feature, feature.spec)
        case types.SidFeature(codebook=()) if feature.mode == "raw":
            yield "option 'codebook' is missing: the number of codes of each level"
        case types.SidFeature(codebook=codebook) if codebook and (feature.limit or 0) % len(codebook):
            yield f"option 'sequence_length' is {feature.limit}, not a multiple of the {len(codebook)} levels"
        case types.CustomFeature() if feature.mode == "raw":
            yield from operators.problems(feature.spec)
    yield from _default_problems(feature)


def _raw_problems(spec: types.RawFeature) -> Iterator[str | Problem]:
    has_range = spec.max_val > spec.min_val
    if spec.normalizer and has_range:
        yield "options 'normalizer' and 'max_val' contradict one another: both normalise"
    if spec.num_buckets and not has_range:
        yield _unused("num_buckets", "max_val is not above min_val")
    if spec.num_buckets and spec.boundaries:
        text = "options 'boundaries' and 'num_buckets' contradict one another. Set one way to make ids"
        yield Problem(text, drops=("num_buckets",))
    if bool(spec.seq_multi_sep) != bool(spec.combiner):
        option = "combiner" if spec.combiner else "seq_multi_sep"
        yield _unused(option, "it takes both 'seq_multi_sep' and 'combiner'")


def _combo_problems(feature: Declared, spec: types.ComboFeature) -> Iterator[str]:
    inputs = len(spec.expression)
    for option, what in (("combo_input_seps", "separators"), ("combo_input_defaults", "defaults")):
        if (given := len(getattr(spec, option))) not in (0, inputs):
            yield f"option {option!r} has {given} {what} for {inputs} inputs"
    if feature.crosses_hashes and feature.mode != "encoded":
        hashes = ("hash_bucket_size", "zch", "dynamicemb")
        if feature.mapping_option not in hashes:
            yield "option 'hash_bucket_size' is missing: without 'combo_join_sep' the hashes of the inputs are crossed"
        elif feature.mode == "bucketize":
            yield "without 'combo_join_sep' its hashes are crossed, which no column of tokens tells"


def _lookup_problems(feature: Declared, spec: types.LookupFeature) -> Iterator[str | Problem]:
    discrete = feature.is_sparse and feature.mapping_option != "boundaries"
    if discrete and spec.combiner and _is_set(feature, "combiner"):
        yield _unused("combiner", "ids are not combined")
    if not discrete and spec.need_key and feature.mode == "raw":
        yield _unused("need_key", "the values are numbers")
    if _is_set(feature, "value_separator") and feature.value_dim <= 1:
        yield _unused("value_separator", "value_dim is not above 1")
    if feature.value_dim > 1 and discrete:
        yield _unused("value_dim", "all ids that are found are kept")
    combines = feature.profile.combines_vectors
    if feature.value_dim > 1 and spec.combiner and _is_set(feature, "combiner") and not combines:
        yield _unused("combiner", "vectors (value_dim above 1) are not combined")


def _match_problems(feature: Declared, spec: types.MatchFeature) -> Iterator[str | Problem]:
    if not feature.is_sparse and feature.value_dim > 1:
        yield f"option 'value_dim' is {feature.value_dim}, but a dense match is one number"
    if not feature.is_sparse or feature.mapping_option == "boundaries":
        for option in ("show_pkey", "show_skey"):
            if getattr(spec, option) and feature.mode == "raw":
                yield _unused(option, "the values are numbers")
    wild = WILDCARD in (spec.pkey, spec.skey)
    if spec.nested_map == WILDCARD:
        yield f"option 'nested_map' cannot be {WILDCARD!r}"
    if spec.matchType == "hit" and wild:
        yield f"option 'matchType' is 'hit', but a key is {WILDCARD!r}"


def _expression_problems(feature: Declared, spec: types.ExprFeature) -> Iterator[str]:
    if feature.mode != "raw":
        return
    names = [text.partition(":")[2] for text in spec.variables]
    for name, count in Counter(names).items():
        if count > 1:
            yield f"option 'variables' has {name!r} {count} times"
    if not spec.expression:
        yield "option 'expression' is missing"
        return
    try:
        used = expressions.variables_of(expressions.parse(spec.expression, names))
    except ConfigError as error:
        yield f"option 'expression': {error}"
        return
    for name in names:
        if name not in used:
            yield f"option 'variables' has {name!r}, which the expression does not use"


def _pattern_problems(patterns: tuple[str, ...] | None) -> Iterator[str]:
    if not patterns:
        yield "option 'regex_pattern' has no pattern"
    for pattern in patterns or ():
        yield from operators.pattern_problem("regex_pattern", pattern)


def _tokenize_problems(feature: Declared, spec: types.TokenizeFeature) -> Iterator[str]:
    if spec.vocab_file is None and feature.mode == "raw":
        yield "option 'vocab_file' is missing: the tokenizer's file"
    if spec.tokens_as_sequence and (feature.is_plain_sequence or feature.group):
        yield "option 'tokens_as_sequence' is for texts, not for sequences of texts"


def _default_problems(feature: Declared) -> Iterator[str]:
    """Defaults that are not numbers or ids where they must be."""
    if feature.mode == "encoded":
        return
    default, buckets = feature.default, num_buckets_of(feature.spec)
    numeric = not feature.is_sparse or boundaries_of(feature.spec) or isinstance(feature.spec, types.CombineFeature)
    if numeric and not isinstance(feature.spec, types.SidFeature):
        parts = operators.default_parts(feature)
        if not all(operators.is_number(part) for part in parts):
            yield f"option 'default_value' is {default!r}, not a number"
        elif len(parts) not in (0, 1, max(feature.value_dim, 1)):
            yield f"option 'default_value' has {len(parts)} numbers, but value_dim is {feature.value_dim}"
    elif buckets is not None and default:
        for part in operators.default_parts(feature):
            if not (part.isascii() and part.isdigit() and int(part) < buckets):
                yield f"option 'default_value' is {default!r}, not an id below num_buckets {buckets}"


# ---- references


def _reference_problems(features: list[Declared]) -> Iterator[tuple[str, str]]:
    """References to features that are not there, and circles of references."""
    if not features or features[0].mode != "raw":
        return
    known = {feature.name for feature in features}
    edges: dict[str, list[str]] = {}
    for feature in features:
        edges[feature.name] = []
        try:
            named = [given for given in feature.inputs if given.side == "feature"]
        except ConfigError:
            continue
        for given in named:
            target = resolve_reference(feature, given.name, given.column, known)
            if target is None:
                hint = suggest(given.name, known - {feature.name})
                yield feature.name, f"there is no feature {given.column!r}" + (f". {hint}" if hint else "")
            else:
                edges[feature.name].append(target)
    if circle := _circle(edges):
        yield circle[0], f"features read one another in a circle: {' → '.join(circle)}"


def resolve_reference(feature: Declared, name: str, column: str, known: Iterable[str]) -> str | None:
    """The feature that a `feature:` input means: as named, or else a member of the same group; None if neither is."""
    member = f"{feature.group.sequence_name}__{name}" if feature.group else name
    return next((candidate for candidate in (column, name, member) if candidate in known), None)


def _circle(edges: dict[str, list[str]]) -> list[str] | None:
    """Names along a circle, the first again at the end; None if there is none."""
    try:
        graphlib.TopologicalSorter(edges).prepare()
    except graphlib.CycleError as error:
        return list(reversed(error.args[1]))
    return None


def order_by_references(features: Iterable[Declared]) -> list[Declared]:
    """The features, each after those that it reads."""
    by_name = {feature.name: feature for feature in features}
    ordered: dict[str, Declared] = {}
    stack = list(reversed(by_name))
    while stack:
        feature = by_name[stack[-1]]
        reads = (resolve_reference(feature, i.name, i.column, by_name) for i in feature.inputs if i.side == "feature")
        waiting = [name for name in reads if name is not None and name not in ordered]
        if waiting:
            stack += waiting
        else:
            ordered.setdefault(stack.pop(), feature)
    return list(ordered.values())
