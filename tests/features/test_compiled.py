"""The compiled engine against the interpreter, whole and by stages, on drawn graphs and drawn cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recserve import memory
from recserve.columns import Ragged
from recserve.errors import DataError
from recserve.features import ops
from recserve.features.compiled import CompiledPlan, Stage, Workspace, read_output
from recserve.features.graph import GraphOutput, PlanGraph
from recserve.features.infer import infer
from recserve.features.ingest import ColumnBatch, ingest_row
from recserve.features.op import Kind, Op, Value
from recserve.features.outputs import OutputKind, OutputSpec
from recserve.features.reference import Interpreter
from recserve.rates import Rate

SEPARATORS = ("\x1d", ",")
WORDS = st.sampled_from(["a", "b", "ü", "7", "12", "x y", "-3", "0.5", "7.0", "1e3"])
NUMERALS = st.sampled_from(["1", "2", "3.5", "-4", "1e-3", "0.1234567890123456789", "nan", "17"])
FLOATS = st.sampled_from([0.0, 1.0, -2.5, 0.1, 1e18, 123456.75, float("nan")])


def texts(words: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(words, max_size=4).map(",".join)


def sequences(words: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(texts(words), max_size=4).map(";".join)


CELLS: dict[str, st.SearchStrategy[Any]] = {
    "words": texts(WORDS),
    "list": st.lists(WORDS | st.none(), max_size=3),
    "ints": st.lists(st.integers(-5, 50), max_size=3),
    "int": st.integers(0, 60),
    "numerals": texts(NUMERALS),
    "floats": st.lists(FLOATS, max_size=3),
    "float": FLOATS,
    "pairs": st.lists(st.tuples(WORDS, NUMERALS).map(":".join), max_size=4).map(",".join),
    "map": st.dictionaries(WORDS, st.floats(-9, 9, width=32), max_size=4),
    "intmap": st.dictionaries(st.integers(0, 9).map(str), st.integers(0, 9), max_size=4),
    "sequence": sequences(WORDS),
    "numbersequence": sequences(NUMERALS),
    "listsequence": st.lists(texts(WORDS), max_size=3),
    "nestedsequence": st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=3),
    "nested": st.sampled_from(["a^b:1,c:2|d^b:3", "x^", "^:,|", "a^b", ""]),
}
NUMERIC = ("ints", "int", "numerals", "floats", "float")
SIDES = {"user": "u", "item": "i", "candidate": "c"}
WITH_COLUMN = (ops.ParseTokens, ops.ParseNumbers, ops.SplitSteps, ops.PairKeys, ops.PairNumbers)


class Builder:
    """Ops as they are drawn, with what is known of their values."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.draw = draw
        self.ops: list[Op] = []
        self.values: list[Value] = []
        self.columns: dict[str, str] = {}

    def add(self, op: Op) -> int:
        self.values.append(infer(op, len(self.ops), self.ops, self.values, "f"))
        self.ops.append(op)
        return len(self.ops) - 1

    def pick(self, items: Any) -> Any:
        return self.draw(st.sampled_from(list(items)))

    def of(self, kind: Kind, domain: int | None) -> list[int]:
        return [i for i, v in enumerate(self.values) if v.kind is kind and v.domain == domain]

    def column(self, kinds: Any) -> tuple[str, str]:
        side, kind = self.pick(SIDES), self.pick(kinds)
        name = f"{SIDES[side]}_{kind}"
        self.columns[name] = kind
        return name, side

    def source(self) -> None:
        """Ops that read a column."""
        what = self.pick(["tokens", "numbers", "steps", "pairs", "nested", "literal"])
        if what == "tokens":
            name, side = self.column(["words", "list", "ints", "int", "float", "floats", "numerals"])
            keeps = self.draw(st.booleans())
            self.add(ops.ParseTokens(name, side, SEPARATORS, None, keeps_empty=keeps))
        elif what == "numbers":
            self.add(ops.ParseNumbers(*self.column(NUMERIC), SEPARATORS, None))
        elif what == "steps":
            self.sequence()
        elif what == "pairs":
            name, side = self.column(["pairs", "map", "intmap"])
            keys = self.add(ops.PairKeys(name, side, SEPARATORS, ":", None))
            self.add(ops.PairTokens(name, side, SEPARATORS, ":", None))
            numbers = self.add(ops.PairNumbers(name, side, SEPARATORS, ":", 1.0, None))
            hashes = self.add(ops.HashIds(keys))
            found = self.add(ops.BuildMap(hashes, self.draw(st.booleans())))
            self.lookups(found, numbers, keys)
        elif what == "nested":
            name, side = self.column(["nested"])
            self.add(ops.NestedPairs(name, side, self.pick(["outer", "inner", "value"]), None))
        else:
            self.add(ops.Literal(tuple(self.draw(st.lists(WORDS, max_size=2)))))

    def lookups(self, found: int, numbers: int, texts_: int) -> None:
        domain = self.values[found].domain
        for keys in self.of(Kind.TOKENS, domain)[:3]:
            hashed = self.add(ops.HashIds(keys))
            self.add(ops.LookupNumbers(found, numbers, hashed, self.pick(["", "sum", "mean", "min", "max", "count"])))
            self.add(ops.LookupTokens(found, texts_, hashed))

    def sequence(self) -> None:
        kind = self.pick(["sequence", "numbersequence", "listsequence", "nestedsequence"])
        name, side = self.column([kind])
        limit = self.pick([None, 1, 2])
        steps = self.add(ops.SplitSteps(name, side, ";", limit, self.draw(st.booleans())))
        parse = ops.ParseNumbers if kind == "numbersequence" and self.draw(st.booleans()) else ops.ParseTokens
        over = self.add(parse(name, side, SEPARATORS, steps))
        row = self.of(self.values[over].kind, None)
        if row:
            spread = self.add(ops.Broadcast(self.pick(row), steps))
            if self.values[over].kind is Kind.TOKENS:
                self.add(ops.JoinTokens((over, spread)))
        others = [i for i, v in enumerate(self.values) if v.domain not in (None, steps) and v.kind is not Kind.STEPS]
        if others:
            self.add(ops.AlignSteps(self.pick(others), steps))

    def step(self) -> None:
        """Ops on values."""
        number = self.pick(range(len(self.ops)))
        value = self.values[number]
        if value.kind is Kind.TOKENS:
            self.on_tokens(number, value.domain)
        elif value.kind is Kind.NUMBERS:
            self.on_numbers(number, value.domain)
        elif value.kind is Kind.IDS:
            self.on_ids(number)
        if value.kind in (Kind.TOKENS, Kind.NUMBERS, Kind.IDS):
            what = self.pick(["first", "flatten", "elements", "none"])
            if what == "first":
                self.add(ops.FirstElements(number, self.pick([1, 2])))
            elif what == "flatten" and value.domain is not None:
                self.add(ops.FlattenSteps(number))
            elif what == "elements" and value.domain is None:
                steps = self.add(ops.ElementSteps(number, self.pick([None, 1])))
                self.add(ops.SpreadElements(number, steps))

    def on_tokens(self, number: int, domain: int | None) -> None:
        others = self.of(Kind.TOKENS, domain)
        vocabulary = (("a", 3), ("ü", 5), ("a", 4), ("7", 0))
        made: list[Callable[[], Op]] = [
            lambda: ops.HashIds(number, self.pick([0, 7, 1000]), self.pick(["murmur64a", "farmhash"])),
            lambda: ops.VocabIds(number, vocabulary, self.pick([-1, 9])),
            lambda: ops.VocabNumbers(number, (("a", 1.5), ("b", -2.0))),
            lambda: ops.JoinTokens((number, self.pick(others))),
            lambda: ops.JoinTokens((number, self.pick(others), self.pick(others)), "-/"),
            lambda: ops.ConcatTokens((number, number), "^"),
            lambda: ops.PrefixTokens(number, "é"),
            lambda: ops.SplitTokens(number, (" ", "::")),
            lambda: ops.FillTokens(number, ("z", "")),
            lambda: ops.MaskTokens(number, self.pick(others)),
            lambda: ops.RegexReplace(number, ("[ab]",), "q"),
            lambda: ops.EditDistance(number, self.pick(others), self.pick(["utf-8", "latin"])),
            lambda: ops.Overlap(number, self.pick(others), self.pick(OVERLAPS)),
            lambda: ops.ParseInts(number, self.pick([None, 10])),
            lambda: ops.TokensToNumbers(number),
        ]
        self.add(self.pick(made)())

    def on_numbers(self, number: int, domain: int | None) -> None:
        others = self.of(Kind.NUMBERS, domain)
        made: list[Callable[[], Op]] = [
            lambda: ops.TruncateToIds(number, self.pick([None, 5])),
            lambda: ops.Bucketize(number, (-1.0, 0.1, 2.0, 2.0, 50.0)),
            lambda: ops.FillNumbers(number, (1.0, float("nan"))),
            lambda: ops.NumbersToTokens(number),
            lambda: ops.CombineNumbers(number, self.pick(["sum", "mean", "min", "max", "count", "gap_min", "gap_max"])),
            lambda: ops.Normalize(number, "log10", 0.5, -1.0),
            lambda: ops.Normalize(number, "zscore", 1.0, 4.0),
            lambda: ops.Evaluate(self.pick(EXPRESSIONS), ("x", "y"), (number, self.pick(others))),
        ]
        self.add(self.pick(made)())

    def on_ids(self, number: int) -> None:
        made: list[Callable[[], Op]] = [
            lambda: ops.FillIds(number, (4, 5)),
            lambda: ops.FillIds(number),
            lambda: ops.IdsToTokens(number),
            lambda: ops.IdsToNumbers(number),
        ]
        others = self.of(Kind.IDS, self.values[number].domain)
        made.append(lambda: ops.CrossIds((number, self.pick(others)), self.pick([7, 2**63 - 1])))
        made.append(lambda: ops.CrossIds((self.pick(others), number, self.pick(others)), 1000))
        self.add(self.pick(made)())

    def graph(self) -> PlanGraph:
        """All values that can leave the plan, as features."""
        outputs = []
        for number in range(len(self.ops)):
            if self.values[number].kind is Kind.NUMBERS:
                self.add(ops.ToDense(number, (-7.0, 0.25)))
        for number, value in enumerate(self.values):
            if value.kind in (Kind.TOKENS, Kind.IDS, Kind.DENSE):
                dense, over = value.kind is Kind.DENSE, value.domain is not None
                kinds = (OutputKind.SPARSE, OutputKind.SPARSE_SEQUENCE, OutputKind.DENSE, OutputKind.DENSE_SEQUENCE)
                spec = OutputSpec(f"v{number}", kinds[2 * dense + over], value.dim or 1, value.rate)
                outputs.append(GraphOutput(spec, number, value.domain))
        return PlanGraph(tuple(self.ops), tuple(self.values), tuple(outputs))


OVERLAPS = [
    "query_common_ratio",
    "title_common_ratio",
    "is_contain",
    "is_equal",
    "index_of",
    "proximity_min_cover",
    "proximity_min_dist",
    "proximity_max_dist",
    "proximity_avg_dist",
]
EXPRESSIONS = (
    "x + y",
    "x * 2 - y / 3 > 1 ? x : -y",
    "sigmoid(x) + round(y) ^ 2",
    "len(x)",
    "reduce_mean(x) + 1",
    "min(x, 3, 2 * x)",
    "y",
)


@st.composite
def drawn(draw: Any, rows: int) -> tuple[PlanGraph, dict[str, list[Any]]]:
    builder = Builder(draw)
    for _ in range(draw(st.integers(1, 4))):
        builder.source()
    for _ in range(draw(st.integers(0, 10))):
        builder.step()
    graph = builder.graph()
    cells = {}
    for name, kind in builder.columns.items():
        count = 1 if name.startswith("u_") else rows
        cells[name] = draw(st.lists(st.none() | CELLS[kind], min_size=count, max_size=count))
    return graph, cells


PROPERTY = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def assert_same(got: Any, want: Any, name: str) -> None:
    if isinstance(want, np.ndarray):
        assert isinstance(got, np.ndarray), name
        assert got.dtype == want.dtype, name
        assert got.shape == want.shape, name
        if want.dtype.kind == "f":
            np.testing.assert_allclose(got, want, rtol=1e-6, err_msg=name)
        else:
            assert got.tolist() == want.tolist(), name
    elif isinstance(want, Ragged):
        for part in ("values", "lengths", "weights", "key_lengths", "seq_lengths"):
            assert_same(getattr(got, part), getattr(want, part), f"{name}.{part}")
    else:
        assert got == want, name


def reference(graph: PlanGraph, cells: dict[str, list[Any]], rows: int) -> dict[str, Any]:
    spread = {name: column * rows if len(column) == 1 else column for name, column in cells.items()}
    return Interpreter(graph, spread, rows, False).run()


@PROPERTY
@given(st.data())
def test_the_compiled_plan_equals_the_interpreter(data: st.DataObject) -> None:
    rows = data.draw(st.sampled_from([1, 2, 3, 5]))
    graph, cells = data.draw(drawn(rows))
    if not any(len(column) == rows for column in cells.values()):
        rows = 1
    if not cells:
        return  # a plan of constants has no rows
    try:
        want = reference(graph, cells, rows)
    except DataError:
        with pytest.raises(DataError):
            CompiledPlan(graph).run(cells)
        return
    got = CompiledPlan(graph).run(cells)
    assert list(got) == list(want)
    for name, value in want.items():
        assert_same(got[name], value, f"{name} of {graph.ops}")


def fill_imports(
    stage: Stage, candidate: Workspace, sources: dict[Rate, Workspace], picks: Any, rows: int
) -> list[Any]:
    """Descriptors of what the candidate stage imports: request values by stride 0, item values by a directory."""
    candidate.reserve(stage.slots)
    kept = []
    for number in stage.imports:
        value = stage.graph.values[number]
        source = sources[value.rate].values[number]
        row = candidate.values[number]
        row[:] = source
        row[memory.COUNT] = 0 if value.rate is Rate.ITEM else row[memory.COUNT]
        if value.domain is not None:
            continue
        if value.rate is Rate.REQUEST:
            row[memory.STRIDE], row[memory.ROWS] = 0, rows
            continue
        items = int(source[memory.ROWS])
        starts, ends = (
            sources[value.rate].read(int(source[place]), (items - 1) * int(source[memory.STRIDE]) + 1, np.int64)
            for place in (memory.STARTS, memory.ENDS)
        )
        stride = int(source[memory.STRIDE])
        directory = np.empty((rows, 3), np.int64)
        directory[:, 0], directory[:, 1] = starts[picks * stride], ends[picks * stride]
        row[memory.STARTS], row[memory.ENDS] = directory.ctypes.data, directory.ctypes.data + 8
        row[memory.STRIDE], row[memory.ROWS] = 3, rows
        kept.append(directory)
    return kept


@PROPERTY
@given(st.data())
def test_the_stages_in_turn_equal_the_flat_plan(data: st.DataObject) -> None:
    items, rows = 3, data.draw(st.sampled_from([1, 4]))
    graph, cells = data.draw(drawn(items))
    picks = np.array(data.draw(st.lists(st.integers(0, items - 1), min_size=rows, max_size=rows)))
    flat_cells = {
        name: column if name.startswith("u_") else [column[i] for i in picks] for name, column in cells.items()
    }
    outputs = [o for o in graph.outputs if o.spec.rate is Rate.CANDIDATE]
    try:
        want = reference(graph, flat_cells, rows)
        reference(graph, cells, items)
    except DataError:
        return
    plan = CompiledPlan(graph)
    candidate = Stage(graph, graph.of_rate(Rate.CANDIDATE), exports=[o.value for o in outputs])
    sources = {Rate.ITEM: Workspace(plan.item.slots), Rate.REQUEST: Workspace(plan.request.slots)}
    item_cells = {name: column for name, column in cells.items() if name.startswith("i_")}
    plan.item.run(sources[Rate.ITEM], ColumnBatch.from_columns(item_cells, plan.item.columns, rows=items), items)
    user = {name: column[0] for name, column in cells.items() if name.startswith("u_")}
    plan.request.run(sources[Rate.REQUEST], ingest_row(user, [use.name for use in plan.request.columns]), 1)
    workspace = Workspace(candidate.slots)
    kept = fill_imports(candidate, workspace, sources, picks, rows)
    candidate.run(workspace, ColumnBatch.from_columns(flat_cells, candidate.columns, rows=rows), rows)
    for output in outputs:
        got = read_output(candidate, workspace, output)
        assert_same(got, want[output.spec.name], f"{output.spec.name} of {graph.ops}")
    assert kept is not None
