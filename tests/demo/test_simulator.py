import json

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recserve.demo.documents import MAX_HISTORY, movielens_features, shop_features
from recserve.demo.simulator import MAX_CANDIDATES, SHOP_GOALS, Shop
from recserve.errors import ConfigError, NotFoundError
from recserve.samples import duckdb
from recserve.samples.events import read_events
from recserve.samples.records import decode_records, encode_record, read_records, rows_to_table

SMALL = Shop(users=40, items=80, rounds=6, seed=3)


@pytest.fixture(scope="module")
def log():
    return SMALL.simulate()


@pytest.fixture(scope="module")
def samples(log):
    records = rows_to_table([encode_record(record) for record in log.records])
    return duckdb.join(records, log.events, SHOP_GOALS, items=SMALL.item_table())


def test_the_same_seed_gives_the_same_log_and_another_seed_another(log):
    again = Shop(users=40, items=80, rounds=6, seed=3).simulate()
    assert again.events.equals(log.events)
    lines = [encode_record(record).line() for record in log.records]
    assert [encode_record(record).line() for record in again.records] == lines
    assert not Shop(users=40, items=80, rounds=6, seed=4).simulate().events.equals(log.events)


def test_a_request_has_distinct_candidates_from_best_to_worst(log):
    for record in log.records:
        assert 0 < len(record.item_ids) <= MAX_CANDIDATES
        assert len(set(record.item_ids)) == len(record.item_ids)
        assert (np.diff(record.scores) <= 0).all()
        assert (np.asarray(record.scores) > 0).all()


def test_a_history_holds_the_clicks_of_the_past_and_no_others(log):
    events = log.events.to_pylist()
    for record in log.records:
        clicks = {(e["time"], e["item_id"]) for e in events if e["type"] == "click" and e["user_id"] == record.user_id}
        past = [item for time, item in sorted(clicks, reverse=True) if time < record.time]
        assert record.user["click_seq__item_id"] == past[:MAX_HISTORY]
        assert sum(record.user["category_clicks"].values()) == len(past)
        assert (record.user["mean_price"] is None) == (not past)


def test_a_history_names_the_category_and_brand_of_each_item(log):
    items = {row["item_id"]: row for row in SMALL.item_table().to_pylist()}
    user = max(log.users.values(), key=lambda columns: len(columns["click_seq__item_id"]))
    clicked = [items[item] for item in user["click_seq__item_id"]]
    assert user["click_seq__category"] == [row["category"] for row in clicked]
    assert user["click_seq__brand"] == [row["brand"] for row in clicked]
    assert user["mean_price"] == pytest.approx(np.mean([row["price"] for row in clicked]), abs=0.01)


def test_every_event_finds_its_impression_though_some_come_late_or_twice(samples, log):
    assert samples.report.unattributed_events == 0
    assert samples.report.duplicate_events > 0
    assert (np.diff(log.events["time"].to_numpy()) < 0).any()
    assert log.events["request_id"].null_count > 0
    clicks = log.events.filter(pc.equal(log.events["type"], "click"))
    assert samples.report.positives["ctr"] == len(clicks.group_by(["time", "user_id", "item_id"]).aggregate([]))


def test_users_click_what_they_like_and_more_at_the_top(samples):
    users, items = samples.table["user_id"].to_pylist(), samples.table["item_id"].to_pylist()
    truth = np.array([SMALL.true_probability(u, [i], "ctr")[0] for u, i in zip(users, items, strict=True)])
    label, position = samples.label("ctr"), samples.table["position"].to_numpy()
    expected = truth * (1.0 + position) ** -0.4
    spread = np.sqrt((expected * (1 - expected)).sum())
    assert abs(label.sum() - expected.sum()) < 5 * spread
    assert truth[label == 1].mean() > 1.3 * truth[label == 0].mean()


def test_the_truth_of_a_later_goal_is_smaller(log):
    items = [f"i{n}" for n in range(80)]
    click, cart, buy = (SMALL.true_probability("u3", items, goal) for goal in ("click", "cart", "buy"))
    assert (click > cart).all()
    assert (cart > buy).all()
    np.testing.assert_array_equal(SMALL.true_probability(log.users["u3"], items, "buy"), buy)
    np.testing.assert_allclose(SMALL.true_probability("u3", items, "cvr"), buy / click)
    np.testing.assert_array_equal(SMALL.true_probability("u3", items, "ctr"), click)
    assert SMALL.true_probability("u3", [], "ctr").shape == (0,)


def test_unknown_users_items_and_goals_are_errors():
    with pytest.raises(NotFoundError, match=r"there is no user 'u40'\. The users are u0 to u39"):
        SMALL.true_probability("u40", ["i1"], "ctr")
    with pytest.raises(NotFoundError, match=r"there is no item 'x'\. The items are i0 to i79"):
        SMALL.true_probability("u1", ["x"], "ctr")
    with pytest.raises(ConfigError, match=r"there is no goal 'clik'\. Did you mean 'click'\?"):
        SMALL.true_probability("u1", ["i1"], "clik")


def test_a_shop_too_small_is_refused():
    with pytest.raises(ConfigError, match=r"a shop has 10 items\. Use at least 60\."):
        Shop(items=10)


@pytest.mark.parametrize("kind", ["ndjson", "parquet"])
def test_a_written_log_reads_back(tmp_path, log, kind):
    log.write(tmp_path, kind)
    assert read_events(tmp_path / f"events.{kind}").equals(log.events)
    back = list(decode_records(read_records(tmp_path / "records")))
    assert [dict(record.user) for record in back] == [record.user for record in log.records]
    SMALL.write_items(tmp_path / "items.parquet")
    assert pq.read_table(tmp_path / "items.parquet").equals(SMALL.item_table())


def inputs_of(document):
    """The columns that a document reads."""
    for entry in document["features"]:
        prefix = f"{entry['sequence_name']}__" if "sequence_name" in entry else ""
        for feature in entry.get("features", [entry]):
            for option in ("map", "key"):
                if option in feature:
                    yield feature[option].partition(":")[2]
            sources = feature.get("variables") or feature.get("expression", [])
            for source in [sources] if isinstance(sources, str) else sources:
                yield prefix + source.partition(":")[2]


def test_the_document_reads_columns_that_the_samples_have(samples):
    assert set(inputs_of(shop_features())) <= set(samples.columns.column_names)


@pytest.mark.parametrize("document", [shop_features(), movielens_features()])
def test_features_that_share_a_table_agree_on_its_shape(document):
    shapes = {}
    for entry in document["features"]:
        for feature in entry.get("features", [entry]):
            if "embedding_name" in feature:
                shape = (feature["hash_bucket_size"], feature["embedding_dim"])
                assert shapes.setdefault(feature["embedding_name"], shape) == shape
    assert json.loads(json.dumps(document)) == document
