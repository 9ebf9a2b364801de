"""Training features are serving features: what the stages make of a request is, bit for bit, what the plan makes of it.

The flat side reads tiled columns, as training does. The staged side goes the way of a request: items through the item
stage into the item store, out of it into the candidate stage.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recserve import memory
from recserve.columns import Ragged
from recserve.features.graph import GraphOutput
from recserve.features.op import Kind
from recserve.features.stage import Workspace
from recserve.rates import Rate
from recserve.staging.pipeline import CandidateBatch, ItemPayloads, Pipeline, RequestState, Scratch
from recserve.staging.tensors import Buffers
from recserve.store.items import ItemStore
from recserve.store.layout import PayloadLayout

MODEL = "mmoe"
"""It reads every feature."""
COLORS = ("red", "green", "blue", "mauve")


def fields(workspace: Workspace, slot: int) -> tuple[list[int], list[int], int]:
    """Starts and ends of each row of a value, and its address."""
    row = workspace.values[slot]
    stride, rows = int(row[memory.STRIDE]), int(row[memory.ROWS])
    span = (rows - 1) * stride + 1 if rows else 0
    starts, ends = (workspace.read(int(row[field]), span, np.int64) for field in (memory.STARTS, memory.ENDS))
    return [int(starts[n * stride]) for n in range(rows)], [int(ends[n * stride]) for n in range(rows)], int(row[0])


def read_ids(workspace: Workspace, output: GraphOutput, slot: int, steps_slot: int | None) -> Ragged:
    """An IDS value as the plan hands it out."""
    starts, ends, values = fields(workspace, slot)
    weights_at = int(workspace.values[slot][memory.WEIGHTS])
    picked, lengths, seq_lengths = [], [], []
    rows = [range(n, n + 1) for n in range(len(starts))]
    if steps_slot is not None:
        first, last, _ = fields(workspace, steps_slot)
        rows = [range(a, b) for a, b in zip(first, last, strict=True)]
    for row in rows:
        seq_lengths.append(len(row))
        for n in row:
            lengths.append(ends[n] - starts[n])
            picked += list(range(starts[n], ends[n]))
    count = max(picked, default=-1) + 1
    found = workspace.read(values, count, np.int64)[picked]
    weights = workspace.read(weights_at, count, np.float32)[picked] if weights_at else None
    keys = np.array(lengths, np.int64)
    if steps_slot is None:
        return Ragged(found, keys, weights)
    bounds = np.cumsum([0, *keys])[np.cumsum([0, *seq_lengths])]
    return Ragged(found, np.diff(bounds), weights, keys, np.array(seq_lengths))


class Served:
    """One request on its way through the stages, with an item store between them."""

    def __init__(self, pipeline: Pipeline, items: list[dict[str, Any]]) -> None:
        cuts = pipeline.cuts
        self.pipeline = pipeline
        self.columns = {name: [item.get(name) for item in items] for name in pipeline.columns_of("item")}
        self.layout = PayloadLayout(
            tuple((column.name, column.width) for column in cuts.fixed),
            tuple((column.name, column.kind) for column in cuts.ragged),
        )
        self.store = ItemStore(self.layout, "int64")
        self.scratch: dict[Rate, Scratch] = {rate: pipeline.scratch() for rate in Rate}
        ids = [item["item_id"] for item in items]
        self.store.upsert_rows(ids, *self.payloads(len(items)))

    def payloads(self, rows: int) -> tuple[Any, Any]:
        stage = self.pipeline.item
        made: ItemPayloads = stage.make_payloads(self.scratch[Rate.ITEM], stage.read_columns(self.columns, rows), rows)
        return made.fixed, made.ragged

    def run(self, row: dict[str, Any], ids: list[int], candidate: dict[str, list[Any]]) -> None:
        """Leaves the values of all stages in their scratch."""
        pipeline = self.pipeline
        rows = len(ids)
        self.columns = {name: [cells[i] for i in ids] for name, cells in self.columns.items()}
        self.payloads(rows)
        request = pipeline.request.read_row(row)
        state: RequestState = pipeline.request.make_state(self.scratch[Rate.REQUEST], request)
        with self.store.read() as view:
            slots = view.find(ids)
            ranges = np.empty((2, len(self.layout.ragged), rows), np.int64)
            ragged = view.gather_ragged(slots, ranges[0], ranges[1])
            fixed = view.fixed(slots)
            shapes = {column.name: (rows, *column.shape) for column in pipeline.cuts.fixed}
            gathered = {name: fixed[name].reshape(shape) for name, shape in shapes.items()}
            columns = pipeline.candidate.read_columns(candidate, rows)
            pipeline.candidate.score(
                self.scratch[Rate.CANDIDATE], state, CandidateBatch(rows, columns, gathered, ragged, ranges)
            )
            self.ids = self._ids()
        self.tensors = self._tensors(rows)

    def _stage(self, rate: Rate) -> Any:
        return {Rate.ITEM: self.pipeline.item, Rate.REQUEST: self.pipeline.request}.get(rate, self.pipeline.candidate)

    def _ids(self) -> dict[str, Ragged]:
        found = {}
        for entry in self.pipeline.cuts.inputs:
            output = entry.output
            if output is not None and self.pipeline.graph.values[output.value].kind is Kind.IDS:
                features = self._stage(entry.rate).features
                steps = None if output.steps is None else features.slot_of(output.steps)
                workspace = self.scratch[entry.rate].workspace
                found[entry.name] = read_ids(workspace, output, features.slot_of(output.value), steps)
        return found

    def _tensors(self, rows: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for rate in (Rate.ITEM, Rate.REQUEST, Rate.CANDIDATE):
            count = 1 if rate is Rate.REQUEST else rows
            found |= self._stage(rate).tensors.make(self.scratch[rate].workspace.values, count, Buffers())
        return found


def repeat(ragged: Ragged, rows: int) -> Ragged:
    """One row as `rows` equal ones."""
    parts = {name: getattr(ragged, name) for name in ("values", "lengths", "weights", "key_lengths", "seq_lengths")}
    return Ragged(**{name: None if part is None else np.concatenate([part] * rows) for name, part in parts.items()})


def assert_same(name: str, found: Ragged, expected: Ragged) -> None:
    for part in ("values", "lengths", "weights", "key_lengths", "seq_lengths"):
        np.testing.assert_array_equal(getattr(found, part), getattr(expected, part), f"{name}.{part}")


USER = st.fixed_dictionaries(
    {},
    optional={
        "user_id": st.integers(0, 99),
        "gender": st.sampled_from(["f", "m", "f\x1dm", ""]),
        "category_clicks": st.dictionaries(st.sampled_from(COLORS), st.floats(-3, 3), max_size=4),
        "category_levels": st.sampled_from(["red:3", "red:3\x1dblue:1", "mauve:0"]),
        "budget": st.floats(0, 10),
    },
)
STEPS = st.lists(st.tuples(st.integers(0, 59), st.sampled_from(COLORS), st.floats(0, 3)), min_size=1, max_size=8)
IDS = st.lists(st.integers(0, 63), min_size=1, max_size=20)


@pytest.fixture(scope="module")
def pipeline(market: Any) -> Pipeline:
    from recserve.bundle import Bundle

    return Bundle.open(market.bundle(MODEL)).pipeline()


def test_every_feature_is_the_one_training_saw(market: Any, pipeline: Pipeline) -> None:
    flat, plan = market.flat(market.bundle(MODEL)), market.features.compile()

    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(user=USER, steps=STEPS | st.just([]), ids=IDS, recall=st.floats(-3, 3))
    def holds(user: dict[str, Any], steps: list[Any], ids: list[int], recall: float) -> None:
        names = ("item_id", "category", "age") if steps else ()
        user = user | {f"clicks__{name}": [step[n] for step in steps] for n, name in enumerate(names)}
        context = {"hour": len(ids)}
        candidate = {"recall": [recall + n for n in range(len(ids))]}
        served = Served(pipeline, market.items)
        served.run(user | context, ids, candidate)
        columns = market.tile(user, context, {"item_id": ids} | candidate)
        assert_equal_values(pipeline, served, plan.run(columns), len(ids))
        for name, want in flat.make_tensors(columns).items():
            found = served.tensors[name]
            np.testing.assert_array_equal(np.broadcast_to(found, want.shape), want, name)

    holds()


def assert_equal_values(pipeline: Pipeline, served: Served, expected: dict[str, Any], rows: int) -> None:
    assert served.ids
    for entry in pipeline.cuts.inputs:
        if entry.name in served.ids:
            found = served.ids[entry.name]
            found = repeat(found, rows) if entry.rate is Rate.REQUEST else found
            assert_same(entry.name, found, expected[entry.name])
