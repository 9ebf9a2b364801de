"""From event logs to a ranked response over a socket, and back: the record gives the features that were served."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("torch")

from recserve.bundle import Bundle
from recserve.cli.record_log import RecordLog
from recserve.columns import Ragged
from recserve.demo.documents import shop_features
from recserve.demo.simulator import SHOP_GOALS, Shop, ShopLog
from recserve.features.feature_set import FeatureSet
from recserve.ranker import Ranker
from recserve.samples.duckdb import join
from recserve.samples.events import EVENT_SCHEMA, read_events
from recserve.samples.records import read_records
from recserve.samples.sampleset import Samples
from recserve.samples.writer import RecordWriter
from recserve.serving.run import ServeOptions, ServerProcess
from recserve.training import TrainedModel, train
from recserve.training.zoo.din import DinConfig

CANDIDATES = 25


@dataclass(frozen=True)
class World:
    """What one run of the whole path leaves behind."""

    items: pa.Table
    log: ShopLog
    features: FeatureSet
    samples: Samples
    model: TrainedModel
    bundle: Path
    folder: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("shop")
    shop = Shop(users=25, items=60, rounds=4, seed=3)
    log = shop.simulate()
    log.write(folder)
    items = shop.item_table()
    records, events = read_records(folder / "records"), read_events(folder / "events.ndjson")
    samples = join(records, events, SHOP_GOALS, items=items)
    features = FeatureSet.from_fg_json(shop_features())
    config = DinConfig(attention=(4,), hidden=(8,))
    labels = {"ctr": samples.label("ctr")}
    model = train(features, samples.columns, labels, config=config, epochs=4, batch_size=64, learning_rate=5e-3)
    exported = model.export(folder / "export")
    bundle = Bundle.build(
        features=features,
        tables=exported.tables,
        network=exported.network_path,
        out=folder / "models" / "shop" / "1",
        samples=samples.columns,
    )
    return World(items, log, features, samples, model, bundle.path, folder)


@pytest.fixture(scope="module")
def ranker(world: World) -> Ranker:
    return Ranker.open(world.bundle, items=world.items)


@dataclass(frozen=True)
class Served:
    """One request over a socket and what came of it."""

    request: dict[str, Any]
    answer: dict[str, Any]
    health: int
    refused: list[httpx.Response]
    records: Path


@pytest.fixture(scope="module")
def served(world: World, ranker: Ranker) -> Served:
    user_id, user = next((name, row) for name, row in world.log.users.items() if row["click_seq__item_id"])
    request = {
        "request_id": "live",
        "user": user | {"user_id": user_id},
        "context": world.log.context,
        "candidates": [*world.items["item_id"].to_pylist()[:CANDIDATES], "no such item"],
    }
    records = world.folder / "live"
    sink = RecordLog(RecordWriter(records))
    for client in serve(world.bundle, ranker, sink):
        health = client.get("/readyz").status_code
        wrong = [{"candidates": []}, {"user": user | {"mean_price": "cheap"}}, {"candidates": "i1"}, {"users": {}}]
        refused = [client.post("/v1/models/shop:rank", json=request | change) for change in wrong]
        answer = client.post("/v1/models/shop:rank", json=request)
    assert answer.status_code == 200, answer.text
    return Served(request, answer.json(), health, refused, records)


def serve(bundle: Path, ranker: Ranker, sink: RecordLog) -> Iterator[httpx.Client]:
    """A client of a server on a socket of its own, which ends when the caller is done."""
    urls: list[str] = []
    ready = threading.Event()
    process = ServerProcess(
        ServeOptions([str(bundle)], port=0),
        lambda _: ranker,
        records=sink,
        on_ready=lambda url: (urls.append(url), ready.set()),  # type: ignore[func-returns-value,return-value]
    )
    thread = threading.Thread(target=process.run)
    thread.start()
    try:
        assert ready.wait(20)
        with httpx.Client(base_url=urls[0], timeout=20) as client:
            yield client
    finally:
        process.stop()
        thread.join(20)
        gc.unfreeze()  # the server froze what was alive when it was ready: the whole test session
    assert not thread.is_alive()


def joined(world: World, served: Served) -> Samples:
    """The samples of the live record; nothing followed."""
    nothing = EVENT_SCHEMA.empty_table()
    return join(read_records(served.records), nothing, SHOP_GOALS, items=world.items)


def test_the_samples_are_what_the_shop_saw(world: World) -> None:
    report = world.samples.report
    assert report is not None
    assert report.requests == len(world.log.records)
    assert 0 < report.positives["ctr"] < len(world.samples)
    assert world.model.history[-1].loss < world.model.history[0].loss


def test_the_answer_is_the_ranking_of_the_trained_model(world: World, served: Served) -> None:
    answer = served.answer
    assert served.health == 200
    assert answer["unknown_items"] == ["no such item"]
    assert answer["missing_columns"] == []
    assert answer["scores"] == sorted(answer["scores"], reverse=True)
    assert len(answer["item_ids"]) == CANDIDATES
    samples = joined(world, served)
    expected = dict(zip(samples.table["item_id"].to_pylist(), world.model.predict(samples.columns)["ctr"], strict=True))
    np.testing.assert_allclose(answer["scores"], [expected[item] for item in answer["item_ids"]], rtol=1e-5, atol=1e-5)


def test_wrong_requests_are_explained_before_the_right_one_is_answered(served: Served) -> None:
    assert [answer.status_code for answer in served.refused] == [400] * 4
    empty, number, *_ = (answer.json()["error"] for answer in served.refused)
    assert empty["code"] == "empty_candidates"
    assert number["message"] == "'cheap' is not a number"
    assert "column 'mean_price'" in number["where"]


def test_the_served_record_gives_the_features_that_were_served(world: World, served: Served) -> None:
    samples = joined(world, served)
    assert len(samples) == CANDIDATES
    plan = world.features.compile()
    logged = plan.run(samples.columns)
    ids = samples.table["item_id"].to_pylist()
    by_id = {row["item_id"]: row for row in world.items.to_pylist()}
    rows = {name: [by_id[item][name] for item in ids] for name in world.items.column_names}
    one = served.request["user"] | served.request["context"]
    sent = plan.run({name: [cell] for name, cell in one.items()} | rows)
    assert sent.keys() == logged.keys()
    for name, output in sent.items():
        parts = ("values", "lengths", "weights", "key_lengths", "seq_lengths") if isinstance(output, Ragged) else ()
        pairs = [(getattr(output, part), getattr(logged[name], part)) for part in parts] or [(output, logged[name])]
        for found, expected in pairs:
            np.testing.assert_array_equal(found, expected, name)


def test_a_record_replayed_scores_the_same_again(ranker: Ranker, served: Served) -> None:
    (record,) = read_records(served.records).to_pylist()
    assert (record["model_name"], record["model_version"], record["item_epoch"]) == ("shop", "1", 1)
    again = ranker.rank(served.request["user"], served.request["context"], served.answer["item_ids"])
    np.testing.assert_array_equal(again.item_ids, served.answer["item_ids"])
    np.testing.assert_allclose(again.scores, served.answer["scores"], rtol=0, atol=1e-6)


def test_the_model_ranks_by_what_users_did(world: World) -> None:
    """Far from a proof of quality: a small model tells clicks from the rest of its own training set."""
    from recserve.training import auc

    known = world.samples.label("ctr")
    assert auc(known, world.model.predict(world.samples.columns)["ctr"]) > 0.6
