"""Drawn configs of every feature type on drawn columns: the compiled engine against the interpreter, in every form.

Offline a batch runs at once, online a request has one row of the user side and many candidates: the same bits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recserve.columns import Ragged
from recserve.errors import DataError
from recserve.features import custom
from recserve.features.compiled import CompiledPlan, join_parts
from recserve.features.feature_set import FeatureSet
from recserve.features.spec_types import TYPES
from recserve.staging.draw import column_sides

WORDS = ("a", "b", "c", "3", "07", "x_y", "é")
Entry = dict[str, Any]
Columns = dict[str, Any]

words = st.sampled_from(WORDS)
digits = st.integers(0, 12).map(str)
numbers = st.one_of(digits, st.floats(-50, 50, width=32).map(lambda x: format(x, ".4g")))
numbers = st.one_of(numbers, st.sampled_from(("", "nan", "1e3", "-0.5")))
sides = st.sampled_from(("user", "item", "context", "candidate"))


BPE = {"type": "BPE", "vocab": {"a": 0, "b": 1, "A": 2, "ab": 3, "_": 4}, "merges": ["a b"]}


def spread_of(numbers: Any, others: Any) -> Any:
    return numbers.max() - others.min()


def halves(texts: list[str], other: list[str]) -> list[str]:
    return [text[: len(text) // 2 + 1] for text in texts] + other[:1]


@pytest.fixture(scope="module", autouse=True)
def _functions() -> Iterator[None]:
    custom.register("spread_of", spread_of, compiled=True, version="1")
    custom.register("halves", halves, reads="texts", returns="texts", version="1")
    yield
    for name in ("spread_of", "halves"):
        custom.unregister(name)


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that drawn configs name."""
    folder = tmp_path_factory.mktemp("assets")
    (folder / "t.json").write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": BPE}), encoding="utf-8")
    (folder / "stops.txt").write_text("_ é", encoding="utf-8")
    return folder


def pairs_of(values: Any) -> Any:
    return st.tuples(words, values).map(":".join)


def cells(elements: Any, separator: str = "\x1d", most: int = 4) -> Any:
    """Cells of one column: delimited text, or lists of the same elements; some missing."""
    lists = st.lists(elements, max_size=most)
    text = st.one_of(st.none(), lists.map(separator.join))
    return st.sampled_from((text, st.one_of(st.none(), lists))).flatmap(
        lambda cell: st.lists(cell, min_size=3, max_size=3)
    )


def steps_of(elements: Any) -> Any:
    step = st.lists(elements, max_size=2).map("\x1d".join)
    cell = st.one_of(st.none(), st.lists(step, max_size=4).map(";".join))
    return st.lists(cell, min_size=3, max_size=3)


MAPPINGS: tuple[Entry, ...] = (
    {"hash_bucket_size": 7},
    {"hash_bucket_size": 1000},
    {"vocab_list": ["a", "c", "x_y"]},
    {"vocab_dict": {"a": 2, "b": 5}, "default_bucketize_value": 1},
    {},
)
BOUNDARIES: tuple[Entry, ...] = ({}, {"boundaries": [-1.0, 0.5, 3.0]})
NORMALIZERS: tuple[Entry, ...] = (
    {},
    {"normalizer": "method=log10,threshold=0.5,default=-2"},
    {"normalizer": "method=zscore,mean=1,standard_deviation=2"},
    {"normalizer": "method=minmax,min=-1,max=4"},
    {"normalizer": "method=expression,expr=x*x+1"},
)
OVERLAPS = ("query_common_ratio", "title_common_ratio", "is_contain", "is_equal", "proximity_min_cover")


@st.composite
def features(draw: Any, name: str) -> tuple[Entry, Columns]:
    """(one feature, the columns that it reads); column names begin with `name`."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    entry, columns = KINDS[kind](draw, name)
    entry = {"feature_name": name, "feature_type": entry.pop("feature_type", f"{kind}_feature"), **entry}
    mapped = {"hash_bucket_size", "vocab_list", "vocab_dict", "num_buckets", "boundaries"} & entry.keys()
    return entry | ({"embedding_dim": 4} if mapped else {}), columns


def source(draw: Any, name: str) -> str:
    return f"{draw(sides)}:{name}"


def draw_id(draw: Any, name: str) -> tuple[Entry, Columns]:
    options = draw(st.sampled_from((*MAPPINGS, {"num_buckets": 9})))
    elements = digits if "num_buckets" in options else words
    default = draw(st.sampled_from(("", "3")))
    entry = {
        **options,
        "expression": source(draw, name),
        "default_value": default,
        "value_dim": draw(st.integers(0, 2)),
    }
    return entry, {name: draw(cells(elements))}


def draw_weighted(draw: Any, name: str) -> tuple[Entry, Columns]:
    entry = {"feature_type": "id_feature", "expression": source(draw, name), "weighted": True, "hash_bucket_size": 9}
    return entry, {name: draw(cells(pairs_of(digits)))}


def draw_raw(draw: Any, name: str) -> tuple[Entry, Columns]:
    dim = draw(st.integers(1, 3))
    default = "\x1d".join(["0.25"] * dim)
    options = draw(st.sampled_from(NORMALIZERS)) | draw(st.sampled_from(BOUNDARIES))
    entry = {**options, "expression": source(draw, name), "value_dim": dim, "default_value": default}
    return entry, {name: draw(cells(numbers))}


def draw_sequence(draw: Any, name: str) -> tuple[Entry, Columns]:
    common = {"expression": source(draw, name), "sequence_delim": ";", "sequence_length": draw(st.integers(1, 5))}
    if draw(st.booleans()):
        entry = {"feature_type": "sequence_raw_feature", **draw(st.sampled_from(BOUNDARIES)), **common}
        return entry, {name: draw(steps_of(numbers))}
    options = draw(st.sampled_from(MAPPINGS))
    entry = {"feature_type": "sequence_id_feature", **options, **common, "value_dim": draw(st.integers(0, 1))}
    return entry, {name: draw(steps_of(words))}


def draw_combo(draw: Any, name: str) -> tuple[Entry, Columns]:
    names = [f"{name}_{i}" for i in range(draw(st.integers(2, 3)))]
    entry = {**draw(st.sampled_from(MAPPINGS)), "expression": [source(draw, n) for n in names]}
    return entry | {"default_value": draw(st.sampled_from(("", "z")))}, {n: draw(cells(words, most=2)) for n in names}


def draw_combine(draw: Any, name: str) -> tuple[Entry, Columns]:
    combiner = draw(st.sampled_from(("sum", "mean", "min", "max", "count", "gap_min", "gap_max")))
    entry = {"expression": source(draw, name), "combiner": combiner, "default_value": "0"}
    return entry | draw(st.sampled_from(BOUNDARIES)), {name: draw(cells(digits))}


def draw_lookup(draw: Any, name: str) -> tuple[Entry, Columns]:
    entry = {"map": source(draw, f"{name}_m"), "key": source(draw, f"{name}_k")}
    options = draw(st.sampled_from((*MAPPINGS[:3], *BOUNDARIES, {"combiner": "mean"}, {"combiner": "max"})))
    columns = {f"{name}_m": draw(cells(pairs_of(digits), most=6)), f"{name}_k": draw(cells(words, most=3))}
    return entry | options, columns


def draw_match(draw: Any, name: str) -> tuple[Entry, Columns]:
    inner = st.lists(pairs_of(digits), min_size=1, max_size=3).map(",".join)
    cell = st.lists(st.tuples(words, inner).map("^".join), max_size=3).map("|".join)
    entry = {
        "nested_map": source(draw, f"{name}_m"),
        "pkey": source(draw, f"{name}_p"),
        "skey": source(draw, f"{name}_s"),
    }
    keys = st.lists(st.one_of(st.none(), words), min_size=3, max_size=3)
    columns = {f"{name}_m": draw(st.lists(st.one_of(st.none(), cell), min_size=3, max_size=3))}
    columns |= {f"{name}_{part}": draw(keys) for part in "ps"}
    return entry | draw(st.sampled_from((*BOUNDARIES, {"hash_bucket_size": 50}))) | {"default_value": "0"}, columns


def draw_expr(draw: Any, name: str) -> tuple[Entry, Columns]:
    text = draw(
        st.sampled_from(("a + b * 2", "a > b ? a : -b", "max(a, b) - abs(a)", "round(a / (1 + b ^ 2))", "a && b"))
    )
    expression = text.replace("a", "A").replace("b", "B")
    for word in ("mAx", "ABs"):
        expression = expression.replace(word, word.lower())
    expression = expression.replace("A", f"{name}_a").replace("B", f"{name}_b")
    entry = {"expression": expression, "variables": [source(draw, f"{name}_a"), source(draw, f"{name}_b")]}
    columns = {f"{name}_{v}": draw(st.lists(st.one_of(st.none(), numbers), min_size=3, max_size=3)) for v in "ab"}
    return entry | draw(st.sampled_from(BOUNDARIES)) | {"default_value": "0.5"}, columns


def draw_overlap(draw: Any, name: str) -> tuple[Entry, Columns]:
    entry = {
        "query": source(draw, f"{name}_q"),
        "title": source(draw, f"{name}_t"),
        "method": draw(st.sampled_from(OVERLAPS)),
    }
    return entry, {f"{name}_{part}": draw(cells(words, most=5)) for part in "qt"}


def draw_kv_dot(draw: Any, name: str) -> tuple[Entry, Columns]:
    entry = {
        "feature_type": "kv_dot_product",
        "query": source(draw, f"{name}_q"),
        "document": source(draw, f"{name}_d"),
    }
    keys = st.one_of(words, pairs_of(digits))
    return entry | {"separator": "|", "default_value": "0"}, {f"{name}_{p}": draw(cells(keys, "|")) for p in "qd"}


def draw_bool_mask(draw: Any, name: str) -> tuple[Entry, Columns]:
    entry = {"expression": [source(draw, f"{name}_v"), source(draw, f"{name}_m")], "separator": ","}
    masks = st.sampled_from(("true", "false", "1", "0"))
    columns = {f"{name}_v": draw(cells(words, ",")), f"{name}_m": draw(cells(masks, ","))}
    return entry | draw(st.sampled_from(MAPPINGS[:2])), columns


def draw_regex(draw: Any, name: str) -> tuple[Entry, Columns]:
    pattern, replacement = draw(st.sampled_from((("[0-9]+", "n"), ("a|b", ""), ("(.)_(.)", r"\2\1"))))
    entry: Entry = {
        "feature_type": "regex_replace_feature",
        "expression": source(draw, name),
        "regex_pattern": [pattern],
    }
    entry |= {"replacement": replacement, "replace_all": draw(st.booleans()), "hash_bucket_size": 9}
    return entry, {name: draw(st.lists(st.one_of(st.none(), words), min_size=3, max_size=3))}


def draw_sid(draw: Any, name: str) -> tuple[Entry, Columns]:
    code = st.lists(st.integers(0, 2), min_size=2, max_size=2)
    cell = st.lists(code, min_size=1, max_size=3).map(lambda codes: [c for pair in codes for c in pair])
    return {"expression": source(draw, name), "codebook": [3, 3]}, {name: draw(st.lists(cell, min_size=3, max_size=3))}


def draw_tag(draw: Any, name: str) -> tuple[Entry, Columns]:
    options = draw(st.sampled_from(MAPPINGS))
    if draw(st.booleans()):
        entry = {"expression": [source(draw, name)], "kv_separator": "=", "separator": "|", **options}
        return entry, {name: draw(cells(st.tuples(words, digits).map("=".join), "|"))}
    entry = {"expression": [source(draw, f"{name}_t"), source(draw, f"{name}_w")], **options}
    lengths = draw(st.lists(st.integers(0, 3), min_size=3, max_size=3))
    columns = {f"{name}_t": [draw(st.lists(words, min_size=n, max_size=n)) for n in lengths]}
    return entry, columns | {f"{name}_w": [draw(st.lists(digits, min_size=n, max_size=n)) for n in lengths]}


NORM_OPTIONS = ("TEXT_LOWER2UPPER", "TEXT_SBC2DBC", "TEXT_FILTER", "TEXT_SPLITCHRS", "TEXT_REMOVE_SPACE")
texts = st.text(st.sampled_from("abAB _é!ａ中"), max_size=6)


def draw_tokenize(draw: Any, name: str) -> tuple[Entry, Columns]:
    entry: Entry = {"expression": source(draw, name), "vocab_file": "t.json", "tokenizer_type": "bpe"}
    entry |= {"default_value": draw(st.sampled_from(("", "abA")))}
    if draw(st.booleans()):
        normalizer = {"norm_options": draw(st.lists(st.sampled_from(NORM_OPTIONS), unique=True, min_size=1))}
        normalizer |= draw(st.sampled_from(({}, {"max_length": 3}, {"stop_char_file": "stops.txt"})))
        entry["text_normalizer"] = normalizer
    if draw(st.booleans()):
        entry |= {"tokens_as_sequence": True, "sequence_length": draw(st.integers(0, 4))}
    elif draw(st.booleans()):
        entry["feature_type"] = "sequence_tokenize_feature"
        cell = st.lists(texts, max_size=3).map(";".join)
        return entry, {name: draw(st.lists(st.one_of(st.none(), cell), min_size=3, max_size=3))}
    cell = draw(st.sampled_from((texts, st.lists(texts, max_size=2))))  # texts and lists do not mix in a column
    return entry, {name: draw(st.lists(st.one_of(st.none(), cell), min_size=3, max_size=3))}


OPERATORS: tuple[tuple[str, Entry], ...] = (
    ("EditDistance", {"operator_params": {"encoding": "utf-8"}}),
    ("EditDistance", {"operator_params": {"encoding": "latin"}, "boundaries": [1.0, 3.0]}),
    ("RegexReplace", {"operator_params": {"regex_pattern": "[a-c]", "replacement": "z"}, "hash_bucket_size": 9}),
    ("SeqExpr", {}),
    ("spread_of", {"default_value": "-1"}),
    ("spread_of", {"boundaries": [-1.0, 0.5, 3.0], "default_value": ""}),
    ("halves", {"vocab_list": ["a", "x_"], "default_value": ""}),
)


def draw_custom(draw: Any, name: str) -> tuple[Entry, Columns]:
    operator, options = draw(st.sampled_from(OPERATORS))
    names = [name] if operator == "RegexReplace" else [f"{name}_a", f"{name}_b"]
    side = draw(st.sampled_from(("user", "item", "context")))  # Python functions do not run for each candidate
    chosen = [side if operator in ("RegexReplace", "halves") else draw(sides) for _ in names]
    entry = {
        **options,
        "operator_name": operator,
        "expression": [f"{s}:{n}" for s, n in zip(chosen, names, strict=True)],
    }
    if operator == "SeqExpr":
        entry["operator_params"] = {"formula": f"{names[0]} - 2 * {names[1]}"}
    reads_numbers = operator in ("SeqExpr", "spread_of")
    elements = numbers if reads_numbers else words
    if draw(st.booleans()):
        is_sequence = draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names)))
        fields = [n for n, steps in zip(names, is_sequence, strict=True) if steps] or names[:1]
        entry |= {"feature_type": "sequence_custom_feature", "sequence_fields": fields}
        return entry, {n: draw(steps_of(elements) if n in fields else cells(elements, most=1)) for n in names}
    return entry, {n: draw(cells(elements, most=1 if operator == "SeqExpr" else 3)) for n in names}


KINDS: dict[str, Any] = {
    "id": draw_id,
    "weighted": draw_weighted,
    "raw": draw_raw,
    "sequence": draw_sequence,
    "combo": draw_combo,
    "combine": draw_combine,
    "lookup": draw_lookup,
    "match": draw_match,
    "expr": draw_expr,
    "overlap": draw_overlap,
    "kv_dot": draw_kv_dot,
    "bool_mask": draw_bool_mask,
    "regex": draw_regex,
    "sid": draw_sid,
    "tag": draw_tag,
    "tokenize": draw_tokenize,
    "custom": draw_custom,
}


def assert_equal(got: Any, want: Any, name: str) -> None:
    if isinstance(want, Ragged):
        for part in ("values", "lengths", "weights", "key_lengths", "seq_lengths"):
            assert_equal(getattr(got, part), getattr(want, part), f"{name}.{part}")
    elif want is None or got is None:
        assert got is want, name
    elif want.dtype == np.float32:
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7, err_msg=name)
    else:
        assert got.tolist() == want.tolist(), name


def drawn_sets() -> Any:
    return st.integers(1, 4).flatmap(lambda count: st.tuples(*(features(f"f{i}") for i in range(count))))


def read(drawn: tuple[tuple[Entry, Columns], ...], assets: Path) -> tuple[FeatureSet, Columns]:
    columns = {name: cells for _, part in drawn for name, cells in part.items()}
    return FeatureSet.from_fg_json({"features": [entry for entry, _ in drawn]}, asset_dir=assets), columns


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=drawn_sets())
def test_both_engines_give_the_same_on_drawn_configs(drawn: tuple[tuple[Entry, Columns], ...], assets: Path) -> None:
    feature_set, columns = read(drawn, assets)
    answers: list[Any] = []
    for reference in (True, False):
        try:
            answers.append(feature_set.compile(reference=reference).run(columns))
        except DataError as error:
            answers.append(error)
    want, got = answers
    if isinstance(want, DataError) or isinstance(got, DataError):
        assert type(want) is type(got), (want, got)
        return
    assert list(got) == list(want)
    for name, value in want.items():
        assert_equal(got[name], value, name)


def assert_identical(got: Any, want: Any, name: str) -> None:
    if isinstance(want, Ragged):
        for part in ("values", "lengths", "weights", "key_lengths", "seq_lengths"):
            assert_identical(getattr(got, part), getattr(want, part), f"{name}.{part}")
    elif want is None or got is None:
        assert got is want, name
    else:
        assert (got.dtype, got.shape) == (want.dtype, want.shape), name
        same = got.tolist() == want.tolist() if want.dtype == object else got.tobytes() == want.tobytes()
        assert same, f"{name}: {got} is not {want}"


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=drawn_sets(), index=st.lists(st.integers(0, 2), min_size=3, max_size=3))
def test_rows_requests_and_batches_give_the_same_bits(
    drawn: tuple[tuple[Entry, Columns], ...], index: list[int], assets: Path
) -> None:
    feature_set, columns = read(drawn, assets)
    plan, of = feature_set.compile(), column_sides(feature_set.graph)
    once = {name: cells for name, cells in columns.items() if of[name] in ("user", "context")}
    each = {name: cells for name, cells in columns.items() if name not in once}
    tiled = {name: [cells[r] for r in index] for name, cells in once.items()} | each
    try:
        plan.run(columns)
        offline = plan.run(tiled)
    except DataError:
        return
    assert CompiledPlan(feature_set.graph).candidate is not None
    grouped = plan.run_grouped(once, each, index)
    alone = [
        plan.run_grouped({n: [c[r]] for n, c in once.items()}, {n: [c[i]] for n, c in each.items()}, [0])
        for i, r in enumerate(index)
    ]
    for name, value in offline.items():
        assert_identical(grouped[name], value, name)
        assert_identical(join_parts([part[name] for part in alone]), value, name)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=features("f"))
def test_every_drawn_config_survives_its_file_form(drawn: tuple[Entry, Columns], assets: Path) -> None:
    feature_set = FeatureSet.from_fg_json({"features": [drawn[0]]}, asset_dir=assets)
    assert FeatureSet.from_fg_json(feature_set.to_fg_json(), asset_dir=assets).digest == feature_set.digest


def test_a_kind_is_drawn_for_every_type() -> None:
    drawn = {name.removesuffix("_feature") for name in TYPES}
    assert drawn <= {
        "kv_dot_product" if name == "kv_dot" else "regex_replace" if name == "regex" else name for name in KINDS
    }
