import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import ConfigError, DataError
from recserve.samples import duckdb, join, reference
from recserve.samples.events import EVENT_SCHEMA
from recserve.samples.join import Goal
from recserve.samples.records import RECORD_SCHEMA, ServedRecord, encode_record, rows_to_table

GOALS = {"ctr": Goal("click", 10), "buys": Goal("buy", 100)}


def served(request_id="r1", time=100, user_id="u", items=("a", "b"), user=None, **more):
    return ServedRecord(
        request_id, time, user_id, user or {}, more.pop("context", {}), items, np.ones(len(items)), **more
    )


def records_of(*records):
    return rows_to_table([encode_record(record) for record in records])


def events_of(*events):
    names = ("time", "user_id", "item_id", "type", "request_id")
    return pa.Table.from_pylist([dict(zip(names, event, strict=False)) for event in events], schema=EVENT_SCHEMA)


def labels(records, events, goal="ctr"):
    samples = duckdb.join(records, events, GOALS)
    keys = zip(samples.table["request_id"].to_pylist(), samples.table["item_id"].to_pylist(), strict=True)
    return {key for key, label in zip(keys, samples.label(goal).tolist(), strict=True) if label}


def test_a_goal_given_another_is_unknown_where_that_was_not_reached():
    goals = {"ctr": Goal("click", 10), "cvr": Goal("buy", 100, given="ctr")}
    events = events_of(
        (105, "u", "a", "click"), (150, "u", "a", "buy"), (150, "u", "b", "buy"), (109, "u", "c", "click")
    )
    samples = duckdb.join(records_of(served(items=("a", "b", "c"))), events, goals)
    assert samples.table["label_cvr"].to_pylist() == [1, None, 0]
    np.testing.assert_array_equal(samples.label("cvr"), np.array([1, np.nan, 0], np.float32))
    assert samples.report.positives == {"ctr": 2, "cvr": 1}


def test_an_event_within_the_window_labels_its_impression():
    records = records_of(served())
    assert labels(records, events_of((110, "u", "a", "click"))) == {("r1", "a")}
    assert labels(records, events_of((111, "u", "a", "click"))) == set()
    assert labels(records, events_of((100, "u", "a", "click"))) == {("r1", "a")}
    assert labels(records, events_of((99, "u", "a", "click"))) == set()
    assert labels(records, events_of((105, "v", "a", "click"), (105, "u", "c", "click"))) == set()


def test_each_goal_has_its_own_event_and_window():
    records, events = records_of(served()), events_of((150, "u", "a", "buy"), (150, "u", "b", "click"))
    assert labels(records, events, "buys") == {("r1", "a")}
    assert labels(records, events, "ctr") == set()


def test_an_event_without_a_request_belongs_to_the_last_impression_before_it():
    records = records_of(served("r1", 100), served("r2", 104), served("r3", 106))
    assert labels(records, events_of((105, "u", "a", "click"))) == {("r2", "a")}


def test_of_two_impressions_at_one_time_the_greater_request_wins():
    records = records_of(served("r2", 100), served("r1", 100))
    assert labels(records, events_of((105, "u", "a", "click"))) == {("r2", "a")}


def test_an_event_with_a_request_belongs_to_that_request_or_to_none():
    records = records_of(served("r1", 100), served("r2", 104))
    assert labels(records, events_of((105, "u", "a", "click", "r1"))) == {("r1", "a")}
    assert labels(records, events_of((105, "u", "a", "click", "r9"))) == set()
    assert labels(records, events_of((105, "v", "a", "click", "r1"))) == set()
    assert labels(records, events_of((102, "u", "a", "click", "r2"))) == set()


def test_an_anonymous_user_is_matched_by_request_only():
    records = records_of(served("r1", 100, None))
    assert labels(records, events_of((105, None, "a", "click", "r1"))) == {("r1", "a")}
    assert labels(records, events_of((105, None, "a", "click", None))) == set()


def test_duplicates_change_nothing_but_the_report():
    records, events = records_of(served("r1", 100), served("r2", 104)), events_of((105, "u", "a", "click"))
    once = duckdb.join(records, events, GOALS)
    twice = duckdb.join(pa.concat_tables([records, records]), pa.concat_tables([events, events]), GOALS)
    assert once.table.equals(twice.table)
    assert (twice.report.duplicate_records, twice.report.duplicate_events) == (2, 1)
    assert (twice.report.requests, twice.report.impressions, twice.report.events) == (2, 4, 1)
    assert twice.report.positives == {"ctr": 1, "buys": 0}


def test_a_candidate_that_was_not_shown_is_no_sample():
    records = records_of(served(items=("a", "b", "a"), positions=[-1, 0, 3]))
    samples = duckdb.join(records, events_of((105, "u", "c", "click")), GOALS)
    assert samples.table["item_id"].to_pylist() == ["b", "a"]
    assert samples.table["position"].to_pylist() == [0, 3]
    assert (samples.report.not_shown, samples.report.unattributed_events) == (1, 1)


def test_an_item_twice_in_a_request_is_one_impression_at_its_best_position():
    samples = duckdb.join(records_of(served(items=("a", "b", "a"), positions=[2, 1, 0])), events_of(), GOALS)
    assert samples.table["item_id"].to_pylist() == ["b", "a"]
    assert samples.table["position"].to_pylist() == [1, 0]


IDS, USERS, ITEMS, TIMES = st.sampled_from("pqrs"), st.sampled_from(["u", "v", None]), "abc", st.integers(0, 12)
DRAWN_RECORDS = st.lists(
    st.builds(
        lambda request, time, user, items: served(
            request, time, user, [item for item, _ in items], positions=[p for _, p in items]
        ),
        IDS,
        TIMES,
        USERS,
        st.lists(st.tuples(st.sampled_from(ITEMS), st.integers(-1, 2)), max_size=4),
    ),
    max_size=7,
)
DRAWN_EVENTS = st.lists(
    st.tuples(TIMES, USERS, st.sampled_from(ITEMS), st.sampled_from(["click", "buy"]), st.one_of(st.none(), IDS)),
    max_size=10,
)


@settings(max_examples=60, deadline=None)
@given(DRAWN_RECORDS, DRAWN_EVENTS)
def test_duckdb_joins_as_the_slow_twin(drawn_records, drawn_events):
    goals = {
        "ctr": Goal("click", 3),
        "late": Goal("click", 8),
        "buys": Goal("buy", 20),
        "cvr": Goal("buy", 20, given="ctr"),
    }
    records, events = records_of(*drawn_records), events_of(*drawn_events)
    fast = duckdb.join(records, events, goals)
    slow = join.join(records, events, goals, reference.attribute)
    assert fast.table.equals(slow.table)
    assert fast.report == slow.report


@settings(max_examples=30, deadline=None)
@given(DRAWN_RECORDS, DRAWN_EVENTS, st.randoms(use_true_random=False))
def test_the_order_of_events_does_not_matter(drawn_records, drawn_events, random):
    records, shuffled = records_of(*drawn_records), list(drawn_events)
    random.shuffle(shuffled)
    assert duckdb.join(records, events_of(*drawn_events), GOALS).table.equals(
        duckdb.join(records, events_of(*shuffled), GOALS).table
    )


def test_the_table_holds_the_columns_of_every_side():
    records = records_of(
        served(
            "r2", 200, user={"age": 3, "seq": ["x"]}, context={"hour": 5}, candidate_columns={"recall": [0.5, 0.25]}
        ),
        served("r1", 100, user={"age": 2, "counts": {"k": 1}}, context={"hour": 4}),
    )
    items = pa.table({"item_id": ["b", "a"], "price": [2.0, 1.0], "tags": [["t"], None]})
    samples = duckdb.join(records, events_of(), GOALS, items=items)
    assert samples.columns.to_pydict() == {
        "user_id": ["u", "u", "u", "u"],
        "item_id": ["a", "b", "a", "b"],
        "age": [2, 2, 3, 3],
        "counts": [[("k", 1)], [("k", 1)], None, None],
        "seq": [None, None, ["x"], ["x"]],
        "hour": [4, 4, 5, 5],
        "recall": [None, None, 0.5, 0.25],
        "price": [1.0, 2.0, 1.0, 2.0],
        "tags": [None, ["t"], None, ["t"]],
    }
    assert samples.columns.schema.field("seq").type == pa.list_(pa.string())
    assert samples.table.column_names[:8] == [
        "request_id", "time", "user_id", "item_id", "position", "score", "label_ctr", "label_buys",
    ]  # fmt: skip


def test_item_columns_of_the_record_win_over_the_items_table():
    records = records_of(
        served(items=("a", "b", "c"), inline=[0, 2], item_columns={"price": [7.0, None], "new": ["n", "m"]})
    )
    items = pa.table({"item_id": ["a", "b"], "price": pa.array([1.0, 2.0], pa.float32())})
    columns = duckdb.join(records, events_of(), GOALS, items=items).columns
    assert columns["price"].to_pylist() == [7.0, 2.0, None]
    assert columns["price"].type == pa.float32()
    assert columns["new"].to_pylist() == ["n", None, "m"]
    assert columns["item_id"].to_pylist() == ["a", "b", "c"]
    without = duckdb.join(records, events_of(), GOALS).columns
    assert without["price"].to_pylist() == [7.0, None, None]


def test_ids_keep_the_type_that_the_features_saw():
    records = records_of(served(user_id="7", items=(1, 2), user={"user_id": 7}))
    columns = duckdb.join(records, events_of(), GOALS, items=pa.table({"item_id": [2, 1], "x": [20, 10]})).columns
    assert columns.to_pylist() == [{"user_id": 7, "item_id": 1, "x": 10}, {"user_id": 7, "item_id": 2, "x": 20}]


def test_impressions_of_unknown_items_are_left_out_and_reported():
    samples = duckdb.join(records_of(served()), events_of(), GOALS, items=pa.table({"item_id": ["b"], "x": [1]}))
    assert samples.table["item_id"].to_pylist() == ["b"]
    assert samples.report.unknown_items == 1


def test_a_given_type_wins():
    records = records_of(served(user={"age": 3}))
    assert duckdb.join(records, events_of(), GOALS, types={"age": pa.float32()}).columns["age"].type == pa.float32()


def test_an_empty_log_gives_no_samples():
    samples = duckdb.join(RECORD_SCHEMA.empty_table(), EVENT_SCHEMA.empty_table(), GOALS)
    assert len(samples) == 0
    assert samples.goals == ("ctr", "buys")


@pytest.mark.parametrize(
    ("record", "items", "message"),
    [
        (served(user={"x": 1}, context={"x": 2}), None, "context column 'x' is on two sides. Rename the column"),
        (served(user={"time": 1}), None, "user column 'time' is the name of a column of the samples"),
        (served(context={"label_ctr": 1}), None, "context column 'label_ctr' is the name of a column of the samples"),
        (served(user={"user_id": "v"}), None, "column 'user_id' of the user side disagrees with the record's user_id"),
        (served(user={"user_id": ["u"]}), None, "disagrees with the record's user_id"),
        (served(), {"id": ["a"]}, "the items table misses the column 'item_id'"),
        (served(), {"item_id": ["a", "a"]}, "the items table has the item 'a' more than once"),
        (served(), {"item_id": [1.5]}, "item_id of the items table is double. Use text or integers."),
        (
            served(inline=[0], item_columns={"x": [1]}),
            {"item_id": [1]},
            "an inline item id is not of the items table's int64",
        ),
    ],
)
def test_wrong_columns_are_refused(record, items, message):
    with pytest.raises(DataError, match=message):
        duckdb.join(records_of(record), events_of(), GOALS, items=None if items is None else pa.table(items))


def test_damaged_sides_name_the_record():
    table = records_of(served())
    wrong = table.set_column(6, RECORD_SCHEMA.field(6), pa.array(['{"x": [1]}']))
    with pytest.raises(DataError, match="record 'r1': column 'x' is not a list of 2 cells"):
        duckdb.join(wrong, events_of(), GOALS)


def test_wrong_arguments_are_refused():
    records, events = records_of(served()), events_of()
    with pytest.raises(ConfigError, match="there are no goals"):
        duckdb.join(records, events, {})
    with pytest.raises(ConfigError, match=r"goal 'cvr': is given 'crt'\. Did you mean 'ctr'\?"):
        duckdb.join(records, events, {"ctr": Goal("click", 1), "cvr": Goal("buy", 1, given="crt")})
    with pytest.raises(ConfigError, match=r"goal 'b': is given 'b'"):
        duckdb.join(records, events, {"b": Goal("buy", 1, given="b")})
    with pytest.raises(ConfigError, match="the window of goal event 'click' is 0 ms"):
        Goal("click", 0)
    with pytest.raises(ConfigError, match="a goal's event is empty"):
        Goal("", 1)
    with pytest.raises(DataError, match=r"the table of records has the columns .* Read it with read_records\."):
        duckdb.join(events, events, GOALS)
