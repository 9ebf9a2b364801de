"""Stages and plans where a drawn graph does not reach: errors, memory, chunks, masks, constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recserve import memory
from recserve.errors import DataError
from recserve.features import ops
from recserve.features.compiled import CompiledPlan, Workspace
from recserve.features.feature_set import FeatureSet
from recserve.features.graph import GraphOutput, PlanGraph
from recserve.features.infer import infer
from recserve.features.ingest import ColumnBatch
from recserve.features.op import Kind, Op, Value
from recserve.features.outputs import OutputKind, OutputSpec


def graph_of(*given_ops: Op) -> PlanGraph:
    """A plan of these ops, and of each NUMBERS value as a dense one; all values that can are features v0, v1, ..."""
    made: list[Op] = list(given_ops)
    values: list[Value] = []
    for number, op in enumerate(made):
        values.append(infer(op, number, made[:number], values, "f"))
    for number, value in enumerate(list(values)):
        if value.kind is Kind.NUMBERS:
            made.append(ops.ToDense(number, (-7.0, 0.25)))
            values.append(infer(made[-1], len(values), made[:-1], values, "f"))
    outputs = []
    for number, value in enumerate(values):
        if value.kind in (Kind.TOKENS, Kind.IDS, Kind.DENSE):
            kind = OutputKind.DENSE if value.kind is Kind.DENSE else OutputKind.SPARSE
            outputs.append(GraphOutput(OutputSpec(f"v{number}", kind, value.dim, value.rate), number, value.domain))
    return PlanGraph(tuple(made), tuple(values), tuple(outputs))


def run(cells: Any, *given_ops: Any, **options: Any) -> dict[str, Any]:
    return CompiledPlan(graph_of(*given_ops)).run(cells, **options)


TOKENS = ops.ParseTokens("c", "item", (",",), None)
STEPS = ops.SplitSteps("c", "item", ";", None, True)


NUMBERS = ops.ParseNumbers("c", "item", (",",), None)
VALUES = ops.PairNumbers("c", "item", (",",), ":", 1.0, None)
CODES = (TOKENS, ops.SemanticIds(0, (4, 4)))
MAP_HINT = "column 'c': a map cannot be read as values. Give text, a number or a list"
CODE = "row 1: '4' is no code of its level of the codebook [4, 4]"


@pytest.mark.parametrize(
    ("cells", "given_ops", "message"),
    [
        (["1", "2,x"], [NUMBERS], "column 'c', row 1: 'x' is not a number"),
        ([["1"], ["x"]], [NUMBERS], "column 'c', row 1: 'x' is not a number"),
        (
            ["1", "2;3;x"],
            [STEPS, ops.ParseNumbers("c", "item", (",",), 0)],
            "column 'c', row 1, step 2: 'x' is not a number",
        ),
        (["a:1", "b:z"], [VALUES], "column 'c', row 1: 'z' is not a number"),
        ([{"a": "z"}], [VALUES], "column 'c', row 0: 'z' is not a number"),
        (["1", "7,1.5"], [TOKENS, ops.ParseInts(0)], "row 1: '1.5' is not an integer"),
        (["1", "7,ü"], [TOKENS, ops.TokensToNumbers(0)], "row 1: 'ü' is not a number"),
        ([{"a": 1}], [TOKENS], MAP_HINT),
        ([{"a": 1}], [NUMBERS], MAP_HINT),
        (
            ["a" + ",a" * 400],
            [TOKENS, ops.JoinTokens((0, 0))],
            "row 0: more than 100000 combinations. Give fewer values, or split the feature",
        ),
        (["1", "1,2,3"], CODES, "row 0: the number of codes is not a multiple of 2"),
        (["1,2", "1,4"], CODES, CODE),
    ],
)
def test_bad_data_is_named_by_feature_column_row_and_value(cells: Any, given_ops: Any, message: str) -> None:
    with pytest.raises(DataError) as error:
        run({"c": cells}, *given_ops)
    assert str(error.value) == f"feature 'f', {message}"


@pytest.mark.parametrize("expression", ["x + y", "len(x + y)"])
def test_vectors_of_different_lengths_are_an_error_of_their_row(expression: str) -> None:
    made = (
        ops.ParseNumbers("x", "item", (",",), None),
        ops.ParseNumbers("y", "item", (",",), None),
        ops.Evaluate(expression, ("x", "y"), (0, 1)),
    )
    with pytest.raises(DataError) as error:
        run({"x": ["1,2", "1,2"], "y": ["3,4", "3,4,5"]}, *made)
    assert str(error.value) == f"feature 'f', row 1: vectors of different lengths in expression '{expression}'"


def test_a_stage_out_of_memory_runs_again_with_more() -> None:
    graph = graph_of(TOKENS, ops.JoinTokens((0, 0)), ops.HashIds(1, 1000))
    stage = CompiledPlan(graph).item
    workspace = Workspace(stage.slots, 4096)
    batch = ColumnBatch.from_columns({"c": ["a,b,c,d,e,f,g,h,i,j"] * 100}, stage.columns)
    stage.run(workspace, batch, 100)
    assert workspace.arena.size_bytes > 4096
    assert int(workspace.values[2, memory.COUNT]) == 100 * 100
    assert workspace.read(int(workspace.values[2, memory.VALUES]), 100, np.int64).max() < 1000


def test_rows_beyond_one_chunk_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = {"c": [f"{n},a;b" for n in range(25)], "u": ["q"]}
    made = (
        STEPS,
        ops.ParseTokens("c", "item", (",",), 0),
        ops.ParseTokens("u", "user", (",",), None),
        ops.Broadcast(2, 0),
        ops.JoinTokens((1, 3)),
        ops.HashIds(4, 100),
        ops.ParseNumbers("n", "item", (",",), None),
    )
    columns = cells | {"n": np.arange(25.0)}
    whole = run(columns, *made)
    monkeypatch.setattr("recserve.features.compiled.CHUNK_ROWS", 4)
    for name, value in run(columns, *made).items():
        for part in ("values", "lengths", "key_lengths", "seq_lengths"):
            got, want = (getattr(x, part, x) for x in (value, whole[name]))
            assert (got is None and want is None) or got.tolist() == want.tolist(), (name, part)


def test_a_long_arrow_table_is_read_in_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    made = (TOKENS, ops.HashIds(0, 100), ops.ParseNumbers("n", "item", (",",), None), ops.ToDense(2, (-1.0,)))
    numbers: list[str | None] = [None if n % 5 == 0 else str(n) for n in range(30)]
    table = pa.table({"c": [f"{n},a" for n in range(30)], "n": numbers})
    whole = run(table, *made)
    monkeypatch.setattr("recserve.features.compiled.CHUNK_ROWS", 4)
    monkeypatch.setattr("recserve.features.compiled.INGEST_ROWS", 12)
    for name, value in run(table, *made).items():
        for part in ("values", "lengths"):
            assert getattr(value, part, value).tolist() == getattr(whole[name], part, whole[name]).tolist()
    bad = table.set_column(1, "n", pa.array([*numbers[:26], "x", *numbers[27:]]))
    with pytest.raises(DataError, match="column 'n', row 26: 'x' is not a number"):
        run(bad, *made)


@pytest.mark.parametrize("rows", [1, 3])
def test_masked_rows_are_missing_in_training(rows: int) -> None:
    masked = ops.ParseTokens("c", "item", (",",), None, is_masked=True)
    steps = ops.SplitSteps("c", "item", ";", None, True, is_masked=True)
    cells = {"c": ["a,b"] * rows, "__SAMPLE_MASK__": [True, False, None][:rows]}
    made = (masked, steps, ops.ParseTokens("c", "item", (",",), 1, is_masked=True))
    assert run(cells, *made)["v0"].lengths.tolist() == [2] * rows
    out = run(cells, *made, training=True)
    assert out["v0"].lengths.tolist() == [0, 2, 2][:rows]
    assert out["v2"].lengths.tolist() == [0, 2, 2][:rows]
    assert out["v2"].seq_lengths.tolist() == [1] * rows
    del cells["__SAMPLE_MASK__"]
    assert run(cells, *made, training=True)["v0"].lengths.tolist() == [2] * rows


def test_a_mask_tells_rows_of_a_one_row_column_apart() -> None:
    masked = ops.ParseTokens("c", "user", (",",), None, is_masked=True)
    cells = {"c": ["a,b"], "__SAMPLE_MASK__": [True, False]}
    assert run(cells, masked, training=True)["v0"].lengths.tolist() == [0, 2]


def test_the_steps_of_a_one_row_column_are_those_of_every_row() -> None:
    made = (STEPS, ops.ParseTokens("c", "item", (",",), 0), ops.ParseTokens("r", "item", (",",), None))
    out = run({"c": ["a,b;c"], "r": ["x", "y"]}, *made)["v1"]
    assert out.values.tolist() == ["a", "b", "c", "a", "b", "c"]
    assert out.key_lengths.tolist() == [2, 1, 2, 1]
    assert out.seq_lengths.tolist() == [2, 2]


def test_weights_go_along_with_their_elements() -> None:
    made = (
        ops.PairKeys("c", "item", (",",), ":", None),
        ops.PairNumbers("c", "item", (",",), ":", 1.0, None),
        ops.AttachWeights(0, 1),
        ops.VocabIds(2, (("a", 1), ("b", 2))),
        ops.FillIds(3, (9,)),
        ops.FirstElements(2, 1),
        ops.HashIds(5, 10),
    )
    out = run({"c": ["a:2,z:3,b", "z:4", ""]}, *made)
    assert out["v4"].values.tolist() == [1, 2, 9, 9]
    assert out["v4"].weights.tolist() == [2.0, 1.0, 1.0, 1.0]
    assert out["v6"].weights.tolist() == [2.0, 4.0]


def test_no_rows_give_empty_outputs() -> None:
    made = (STEPS, ops.ParseTokens("c", "item", (",",), 0), ops.HashIds(1, 5), ops.ParseNumbers("n", "item", (), None))
    out = run({"c": [], "n": np.zeros(0)}, *made)
    assert out["v2"].lengths.tolist() == []
    assert out["v2"].values.dtype == np.int64
    assert out["v4"].shape == (0, 2)


def test_constants_belong_to_every_stage_that_reads_them() -> None:
    graph = graph_of(ops.Literal(("k",)), TOKENS, ops.JoinTokens((0, 1)), ops.HashIds(0, 7))
    plan = CompiledPlan(graph)
    assert plan.item.imports == ()
    assert set(plan.item.op_numbers) == {0, 1, 2}
    assert set(plan.request.op_numbers) == {0, 3}


def test_a_warm_plan_has_all_stages() -> None:
    plan = CompiledPlan(graph_of(TOKENS, ops.ParseTokens("u", "user", (",",), None), ops.JoinTokens((0, 1))))
    plan.warm()
    assert {"item", "request", "candidate", "flat"} <= set(plan.__dict__)
    assert plan.candidate.imports == (0, 1)
    assert [use.name for use in plan.flat.columns] == ["c", "u"]


EXPLOSIONS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "hits": (
        {"feature_type": "match_feature", "nested_map": "user:a", "pkey": "user:b", "skey": "ALL"},
        {"a": ["a^" + ",".join("k:1" for _ in range(1000))], "b": [["a"] * 101]},
        "row 0: more than 100000 combinations",
    ),
    "joined bytes": (
        {"feature_type": "combo_feature", "expression": ["user:a", "user:b"], "hash_bucket_size": 9},
        {"a": ["x" * 10_000], "b": [["b"] * 30_000]},
        "row 0: its tokens have more than 268435456 bytes",
    ),
    "outer keys": (
        {"feature_type": "match_feature", "nested_map": "user:a", "pkey": "user:b", "skey": "user:b"},
        {"a": ["k" * 30_000 + "^" + ",".join(["a:1"] * 10_000)], "b": ["k"]},
        "column 'a', row 0: its tokens have more than 268435456 bytes",
    ),
    "distances of terms": (
        {"feature_type": "overlap_feature", "query": "user:a", "title": "user:b", "method": "proximity_min_dist"},
        {"a": [[str(n) for n in range(3000)]], "b": [[str(n) for n in range(3000)]]},
        "row 0: more than 10000000 comparisons",
    ),
    "distance of texts": (
        {"feature_type": "custom_feature", "operator_name": "EditDistance", "expression": ["user:a", "user:b"]},
        {"a": ["x" * 4000], "b": ["y" * 4000]},
        "row 0: more than 10000000 comparisons",
    ),
}


@pytest.mark.parametrize("reference", [True, False])
@pytest.mark.parametrize("name", EXPLOSIONS)
def test_what_explodes_is_refused_by_row(name: str, reference: bool) -> None:
    entry, columns, problem = EXPLOSIONS[name]
    plan = FeatureSet.from_fg_json({"features": [{"feature_name": "f", **entry}]}).compile(reference=reference)
    with pytest.raises(DataError, match=problem) as caught:
        plan.run(columns)
    assert "feature 'f'" in str(caught.value)


def test_a_batch_that_finds_no_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = CompiledPlan(graph_of(TOKENS, ops.JoinTokens((0, 0)))).item
    workspace = Workspace(stage.slots, 4096)
    batch = ColumnBatch.from_columns({"c": [",".join("a" * 100)]}, stage.columns)

    def grow(_bytes: int) -> None:
        raise MemoryError

    monkeypatch.setattr(workspace.arena, "grow", grow)
    with pytest.raises(DataError, match="there is no memory for a batch of 1 rows"):
        stage.run(workspace, batch, 1)


def test_a_map_with_many_equal_keys_keeps_them_in_order() -> None:
    keys = [f"k{n % 7}" for n in range(50_000)]
    entry: dict[str, Any] = {"feature_type": "match_feature", "nested_map": "user:m", "pkey": "item:p", "skey": "ALL"}
    entry |= {"need_discrete": True, "feature_name": "f", "default_value": ""}
    text = "|".join(f"{key}^s:{n}" for n, key in enumerate(keys))
    plan = FeatureSet.from_fg_json({"features": [entry]}).compile()
    found: Any = plan.run({"m": [text], "p": ["k3", "k9", "k0"]})["f"]
    want = [[str(n) for n, key in enumerate(keys) if key == wanted] for wanted in ("k3", "k9", "k0")]
    assert found.values.tolist() == [value for row in want for value in row]
    assert found.lengths.tolist() == [len(row) for row in want]


def test_the_scratch_of_a_nested_map_grows_with_its_text_not_with_its_square() -> None:
    text = "|".join(f"outer{n}^a:1,b:2,c:3" for n in range(10_000))
    made = [ops.NestedPairs("c", "user", part, None, False) for part in ("outer", "inner", "value")]
    stage = CompiledPlan(graph_of(*made)).flat
    workspace = Workspace(stage.slots, 4096)
    stage.run(workspace, ColumnBatch.from_columns({"c": [text]}, stage.columns), 1)
    assert int(workspace.values[0, memory.COUNT]) == 30_000
    assert workspace.arena.size_bytes < 1 << 23
