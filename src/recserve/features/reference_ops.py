"""Ops of the reference interpreter that work on one element or one row at a time, as plain functions.

ELEMENTWISE functions take the op and one element. ROWWISE functions take the op and the elements of one row of each
value that the op reads, and return the elements of the result. `prepared` makes one of them ready for many rows.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import orjson

from recserve.errors import DataError
from recserve.features import custom, expressions, ops
from recserve.features import reference_cells as cells
from recserve.features import reference_text as texts
from recserve.features.lower_values import bucket_of
from recserve.features.normalizers import Normalizer, normalize
from recserve.features.operators import is_number
from recserve.features.ops import MISSING_ID, Op
from recserve.features.reference_hash import HASHES, cross_hash, to_bucket
from recserve.features.reference_overlap import overlap

_INT64_LIMIT: Final = 1 << 63

# ---- element by element


def _parse_int(op: ops.ParseInts, token: bytes) -> int:
    if not token:
        return MISSING_ID
    text = cells.as_text(token)
    if not is_number(text) or not (number := float(text)).is_integer():
        raise DataError(f"{text!r} is not an integer")
    try:
        value = int(text)
    except ValueError:
        value = int(number)
    return _within(value, op.limit, op.outside)


def _within(value: int, limit: int | None, outside: int = MISSING_ID) -> int:
    return value if 0 <= value < (_INT64_LIMIT if limit is None else limit) else outside


def _truncate(op: ops.TruncateToIds, number: float) -> int:
    return _within(int(number), op.limit) if math.isfinite(number) else MISSING_ID


def _normalize(op: ops.Normalize, x: float) -> float:
    return normalize(Normalizer(op.method, op.a, op.b), x)


def _token_number(_op: ops.TokensToNumbers, token: bytes) -> float:
    return cells.number_of(token) if token else math.nan


def _vocab_id(op: ops.VocabIds) -> Callable[[bytes], int]:
    ids = dict(op.vocabulary)
    return lambda token: ids.get(cells.as_text(token), op.unknown)


def _vocab_number(op: ops.VocabNumbers) -> Callable[[bytes], float]:
    numbers = dict(op.vocabulary)
    return lambda token: numbers.get(cells.as_text(token), math.nan)


def _hash(op: ops.HashIds, token: bytes) -> int:
    return to_bucket(HASHES[op.algorithm](token), op.buckets)


def _normalize_text(op: ops.NormalizeText, token: bytes) -> bytes:
    text = texts.normalize_text(cells.as_text(token), op.operations, op.stops, op.max_length)
    return text.encode("utf-8", "surrogateescape")


ELEMENTWISE: Final[dict[type[Op], Callable[[Any, Any], Any]]] = {
    ops.PrefixTokens: lambda op, token: op.prefix.encode() + token,
    ops.RegexReplace: lambda op, token: texts.replace_regex(
        token, op.patterns, op.replacement, op.replaces_all, op.ignores_case
    ),
    ops.NormalizeText: _normalize_text,
    ops.HashIds: _hash,
    ops.ParseInts: _parse_int,
    ops.TruncateToIds: _truncate,
    ops.Bucketize: lambda op, x: bucket_of(x, op.boundaries),
    ops.IdsToTokens: lambda _op, x: str(x).encode(),
    ops.IdsToNumbers: lambda _op, x: float(x),
    ops.TokensToNumbers: _token_number,
    ops.DenseToNumbers: lambda _op, x: float(x),
    ops.NumbersToTokens: lambda _op, x: cells.write_number(x),
    ops.Normalize: _normalize,
}

# ---- row by row


def _join(op: ops.JoinTokens, *sources: list[bytes]) -> list[bytes]:
    _check_combinations(sources)
    if (count := math.prod(map(len, sources))) > 1:
        width = sum(sum(map(len, tokens)) * (count // len(tokens)) for tokens in sources)
        cells.check_bytes(width + count * (len(sources) - 1) * len(op.joiner.encode()))
    return [op.joiner.encode().join(parts) for parts in itertools.product(*sources)]


def _cross(op: ops.CrossIds, *sources: list[int]) -> list[int]:
    _check_combinations(sources)
    return [cross_hash(x % (1 << 64) for x in parts) % op.buckets for parts in itertools.product(*sources)]


def _check_combinations(sources: Sequence[list[Any]]) -> None:
    count = math.prod(map(len, sources))
    if count > ops.MAX_COMBINATIONS:
        raise DataError(f"{count} combinations of tokens, and at most {ops.MAX_COMBINATIONS} are allowed")


def _split(op: ops.SplitTokens, tokens: list[bytes]) -> list[bytes]:
    return [part for token in tokens for part in cells.split(token, op.separators) if part]


def _mask(_op: ops.MaskTokens, tokens: list[bytes], mask: list[bytes]) -> list[bytes]:
    return [token for token, flag in zip(tokens, mask, strict=False) if token and _is_true(flag)]


def _is_true(token: bytes) -> bool:
    text = cells.as_text(token).lower()
    return text == "true" or (is_number(text) and float(text) != 0)


def _tokenize(op: ops.Tokenize, tokens: list[bytes]) -> list[int]:
    tokenizer = texts.load_tokenizer(op.model, op.file, op.sha256)
    return [i for token in tokens for i in tokenizer.encode(token.decode("utf-8", "replace"))]


def _edit_distance(op: ops.EditDistance, left: list[bytes], right: list[bytes]) -> list[float]:
    if not left or not right:
        return []
    a, b = left[0], right[0]
    if op.encoding == "utf-8":
        return [float(texts.edit_distance(cells.as_text(a), cells.as_text(b)))]
    return [float(texts.edit_distance(a, b))]


def _semantic(op: ops.SemanticIds, codes: list[bytes]) -> list[int]:
    levels = len(op.codebook)
    if len(codes) % levels:
        raise DataError(f"{len(codes)} codes are not a multiple of the {levels} levels")
    offsets = [0, *itertools.accumulate(op.codebook)]
    result: list[int] = []
    for j, token in enumerate(codes):
        level, text = j % levels, cells.as_text(token)
        if not is_number(text) or not float(text).is_integer() or not 0 <= float(text) < op.codebook[level]:
            raise DataError(f"code {text!r} of level {level} is not in [0, {op.codebook[level]})")
        result.append(int(float(text)) + offsets[level])
    return result


def _combine(op: ops.CombineNumbers, numbers: list[float]) -> list[float]:
    vectors = len(numbers) // op.width
    parts = [numbers[i : vectors * op.width : op.width] for i in range(op.width)]
    found = [combine([x for x in part if not math.isnan(x)], op.combiner) for part in parts]
    if op.width == 1 or not vectors:
        return found[0]
    return [part[0] if part else math.nan for part in found]


def combine(numbers: Sequence[float], combiner: str) -> list[float]:
    """One number of many, none of none; NaN where infinities cancel."""
    if not numbers:
        return []
    with np.errstate(all="ignore"):
        found = np.array(numbers, np.float64)
        gaps = np.abs(np.diff(found)) if len(found) > 1 else np.zeros(1)
        results: dict[str, Callable[[], Any]] = {
            "sum": lambda: sum(found),
            "mean": lambda: sum(found) / len(found),
            "min": found.min,
            "max": found.max,
            "count": lambda: len(found),
            "gap_min": gaps.min,
            "gap_max": gaps.max,
        }
        return [float(results[combiner]())]


def _evaluate(op: ops.Evaluate) -> Callable[..., list[float]]:
    tree = expressions.parse(op.expression, op.names)

    def evaluate(*sources: list[float]) -> list[float]:
        if not all(sources):
            return []
        values = {name: np.array(source, np.float64) for name, source in zip(op.names, sources, strict=True)}
        return [float(x) for x in expressions.evaluate(tree, values)]

    return evaluate


def _call(op: ops.CallForNumbers | ops.CallForTokens | ops.CallCompiled) -> Callable[..., list[Any]]:
    function = op.function
    parameters = {} if isinstance(op, ops.CallCompiled) else orjson.loads(op.parameters)

    def call(*sources: list[Any]) -> list[Any]:
        if not all(sources):
            return []
        if function.reads == "numbers":
            inputs: list[Any] = [np.array(source, np.float64) for source in sources]
        else:
            inputs = [[cells.as_text(token) for token in source] for source in sources]
        found = custom.results(function, inputs, parameters)
        return found if function.returns == "texts" else [x for x in found if not math.isnan(x)]

    return call


def _to_dense(op: ops.ToDense, numbers: list[float]) -> list[float]:
    given = [*numbers, *[math.nan] * len(op.default)]
    with np.errstate(over="ignore"):
        return [
            float(np.float32(default if math.isnan(x) else x)) for x, default in zip(given, op.default, strict=False)
        ]


Map = dict[int, list[int]]


def _build_map(op: ops.BuildMap, keys: list[int]) -> Map:
    found: Map = {}
    for i, key in enumerate(keys):
        found[key] = [*found.get(key, ()), i] if op.keeps_all else [i]
    return found


def _hits(found: Map, values: list[Any], keys: list[int]) -> list[Any]:
    if sum(len(found.get(key, ())) for key in keys) > max(ops.MAX_COMBINATIONS, len(keys)):
        raise DataError(f"more than {ops.MAX_COMBINATIONS} combinations", hint="Give fewer values")
    return [values[i] for key in keys for i in found.get(key, ())]


def _lookup_numbers(op: ops.LookupNumbers, found: Map, values: list[float], keys: list[int]) -> list[float]:
    hits = [x for x in _hits(found, values, keys) if not math.isnan(x)]
    return combine(hits, op.combiner) if op.combiner else hits


def _lookup_ids(_op: ops.LookupIds, found: Map, values: list[int], keys: list[int]) -> list[int]:
    return [x for x in _hits(found, values, keys) if x != MISSING_ID]


def _lookup_tokens(_op: ops.LookupTokens, found: Map, values: list[bytes], keys: list[int]) -> list[bytes]:
    return _hits(found, values, keys)


def _dot(_op: ops.DotProduct, found: Map, values: list[float], keys: list[int], factors: list[float]) -> list[float]:
    if not found or not keys:
        return []
    products = (values[i] * f for key, f in zip(keys, factors, strict=True) for i in found.get(key, ()))
    return [sum((x for x in products if not math.isnan(x)), 0.0)]


ROWWISE: Final[dict[type[Op], Callable[..., Any]]] = {
    ops.JoinTokens: _join,
    ops.CrossIds: _cross,
    ops.ConcatTokens: lambda op, *sources: [op.joiner.encode().join(parts) for parts in zip(*sources, strict=True)],
    ops.SplitTokens: _split,
    ops.MaskTokens: _mask,
    ops.Tokenize: _tokenize,
    ops.EditDistance: _edit_distance,
    ops.Overlap: lambda op, query, title: overlap(query, title, op.method),
    ops.SemanticIds: _semantic,
    ops.CombineNumbers: _combine,
    ops.ToDense: _to_dense,
    ops.BuildMap: _build_map,
    ops.LookupNumbers: _lookup_numbers,
    ops.LookupIds: _lookup_ids,
    ops.LookupTokens: _lookup_tokens,
    ops.DotProduct: _dot,
}

_PREPARED: Final[dict[type[Op], Callable[[Any], Callable[..., Any]]]] = {
    ops.VocabIds: _vocab_id,
    ops.VocabNumbers: _vocab_number,
    ops.Evaluate: _evaluate,
    ops.CallForNumbers: _call,
    ops.CallForTokens: _call,
    ops.CallCompiled: _call,
}


def works_by_element(op: Op) -> bool:
    """The op maps element to element."""
    return type(op) in ELEMENTWISE or isinstance(op, (ops.VocabIds, ops.VocabNumbers))


def prepared(op: Op) -> Callable[..., Any]:
    """The function of one element, or of one row of each value that the op reads."""
    if (prepare := _PREPARED.get(type(op))) is not None:
        return prepare(op)
    return functools.partial(ELEMENTWISE.get(type(op)) or ROWWISE[type(op)], op)
