"""One request, three forms: what JSON, gRPC and Arrow are answered is the same, on drawn requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recserve.client.calls import Answer, Target
from recserve.client.grpc_wire import GrpcWire
from recserve.client.rest_wire import RestWire
from recserve.client.results import Ranking
from recserve.errors import RequestError
from recserve.ranker import Ranker
from recserve.serving.dialects import Serving
from recserve.serving.grpc.ranking import RankingService
from recserve.serving.messages import Limits, decode_rank, encode_answers, encode_rank
from recserve.serving.overload.turn import Turn
from recserve.serving.service import RankService
from recserve.serving.users import UserStore
from recserve.wire.ranking import RankByEachRequest, RankRequest

FEATURES: list[dict[str, Any]] = [
    {"feature_name": "bias", "feature_type": "raw_feature", "expression": "user:bias"},
    {"feature_name": "hour", "feature_type": "raw_feature", "expression": "context:hour"},
    {"feature_name": "value", "feature_type": "raw_feature", "expression": "item:value"},
    {"feature_name": "boost", "feature_type": "raw_feature", "expression": "candidate:boost"},
    {"feature_name": "hit", "feature_type": "lookup_feature", "map": "user:clicks", "key": "item:category"},
]
ITEMS = [{"item_id": n, "value": float(n), "category": "even" if n % 2 == 0 else "odd"} for n in range(8)]
NUMBERS = st.integers(-1000, 1000).map(lambda n: n / 8)
USERS = st.fixed_dictionaries(
    {},
    optional={
        "bias": st.one_of(st.none(), NUMBERS, st.integers(-9, 9)),
        "clicks": st.dictionaries(st.sampled_from(["even", "odd"]), NUMBERS, min_size=1),
        "unread": st.lists(st.text(max_size=3), min_size=1, max_size=2),
    },
)


@pytest.fixture
def serving(sum_model: Callable[..., Path], serving_of: Any, tmp_path: Path) -> Iterator[Serving]:
    names = [entry["feature_name"] for entry in FEATURES]
    paths = [
        sum_model(FEATURES, {"ctr": names, "double": names * 2}, out=f"{name}/1", score="ctr")
        for name in ("one", "two")
    ]
    made: Serving = serving_of([Ranker.open(path, items=ITEMS) for path in paths])
    users = UserStore(tmp_path / "users")
    users.upsert({"ann": {"bias": 3.0, "clicks": {"odd": 2.0}}, 7: {"bias": 4.0}})
    object.__setattr__(made, "service", RankService(made.registry, users=users))
    yield made
    made.threads.close(5)
    users.close()


@st.composite
def requests(draw: Any) -> dict[str, Any]:
    ids = draw(st.lists(st.integers(0, 11), min_size=1, max_size=6, unique=True))
    cells = st.lists(st.one_of(st.none(), NUMBERS), min_size=len(ids), max_size=len(ids))
    inline = st.dictionaries(st.integers(0, 11), st.fixed_dictionaries({"value": NUMBERS}), max_size=2)
    return {
        "item_ids": ids,
        "user": draw(USERS),
        "context": draw(st.fixed_dictionaries({}, optional={"hour": NUMBERS})),
        "columns": {"boost": draw(cells)} if draw(st.booleans()) else None,
        "items": draw(inline),
        "top_k": draw(st.one_of(st.none(), st.integers(1, 7))),
        "user_id": draw(st.sampled_from([None, "ann", 7, "nobody"])),
        "request_id": "q",
        "explain": draw(st.booleans()),
    }


def by_json(serving: Serving, request: dict[str, Any]) -> Ranking:
    call = RestWire().rank(Target("one"), request)
    parsed = decode_rank(call.body, Limits(), is_arrow=False, is_multi=False)
    return call.read(Answer(encode_rank(serving.service.rank("one", None, parsed), parsed)))


def by_grpc(serving: Serving, request: dict[str, Any]) -> Ranking:
    call = GrpcWire().rank(Target("one"), request)
    answer = RankingService(serving).rank(RankRequest.FromString(call.body), Turn())
    return call.read(Answer(answer.SerializeToString()))


def by_arrow(serving: Serving, request: dict[str, Any]) -> Ranking:
    """JSON in the stream's metadata carries what is no column of candidates."""
    fields = json.loads(RestWire().rank(Target("one"), request).body)
    del fields["candidates"]
    columns = {
        "item_id": pa.array(request["item_ids"]),
        **{k: pa.array(v) for k, v in (request["columns"] or {}).items()},
    }
    batch = pa.record_batch(columns).replace_schema_metadata({"recserve": json.dumps(fields)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    parsed = decode_rank(sink.getvalue().to_pybytes(), Limits(), is_arrow=True, is_multi=False)
    content = encode_rank(serving.service.rank("one", None, parsed), parsed, as_arrow=True)
    table = pa.ipc.open_stream(content).read_all()
    rest = orjson.loads(table.schema.metadata[b"recserve"])
    rest |= {"item_ids": table.column("item_id").to_pylist(), "scores": table.column("score").to_pylist()}
    rest["outputs"] = {
        name.removeprefix("output."): table.column(name).to_pylist()
        for name in table.column_names
        if name.startswith("output.")
    }
    return RestWire().rank(Target("one"), request).read(Answer(orjson.dumps(rest)))


def told(ranking: Ranking) -> dict[str, Any]:
    return {
        "ids": list(ranking.item_ids),
        "scores": np.float32(ranking.scores).tolist(),
        "outputs": {name: np.float32(values).tolist() for name, values in ranking.outputs.items()},
        "version": ranking.version,
        "request_id": ranking.request_id,
        "unknown": list(ranking.unknown_items),
        "missing": sorted(ranking.missing_columns),
        "user_found": ranking.is_user_found,
        "explanations": [(item_id, list(lines)) for item_id, lines in ranking.explanations],
    }


@given(request=requests())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_form_is_answered_the_same(serving: Serving, request: dict[str, Any]) -> None:
    expected = by_json(serving, request)
    assert told(by_grpc(serving, request)) == told(expected)
    assert told(by_arrow(serving, request)) == told(expected)
    stages = set(expected.timings_us)
    assert bool(stages) == request["explain"]
    if stages:
        assert stages <= set(by_grpc(serving, request).timings_us) | {"queue", "parse"}


def test_several_models_answer_one_request(serving: Serving) -> None:
    request = {"item_ids": [1, 2], "user_id": "ann", "request_id": "q"}
    targets = [Target("one"), Target("two", 1)]
    call = RestWire().rank_by_each(targets, request)
    parsed = decode_rank(call.body, Limits(), is_arrow=False, is_multi=True)
    in_json = call.read(Answer(encode_answers(serving.service.rank_by_each(parsed), parsed)))
    packed = GrpcWire().rank_by_each(targets, request)
    service = RankingService(serving)
    answer = service.rank_by_each(RankByEachRequest.FromString(packed.body), Turn())
    in_grpc = packed.read(Answer(answer.SerializeToString()))
    assert [told(ranking) for ranking in in_grpc] == [told(ranking) for ranking in in_json]
    assert [ranking.version.model for ranking in in_grpc] == ["one", "two"]
    assert [ranking.is_user_found for ranking in in_grpc] == [True, True]


def ask_each(serving: Serving, message: Any) -> Any:
    return RankingService(serving).rank_by_each(message, Turn())


def test_a_request_of_several_models_names_them_in_one_place(serving: Serving) -> None:
    message = RankByEachRequest()
    message.request.item_ids.integers.value.append(1)
    with pytest.raises(RequestError, match="expected a list of 1 to 16 models, got 0"):
        ask_each(serving, message)
    message.models.add(name="one")
    message.request.model = "one"
    with pytest.raises(RequestError, match="the model, its version and outputs are not told here"):
        ask_each(serving, message)
    message.request.model = ""
    message.request.user_id = ""
    with pytest.raises(RequestError, match="expected a text that is not empty"):
        ask_each(serving, message)
