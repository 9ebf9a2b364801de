"""Where the demo's data comes from: the simulated shop, or MovieLens. Both end as the same thing, `Source`.

Everything passes through files: what is written is read back before it is used.

Axes: N samples, C candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recserve.demo.documents import movielens_features, shop_features
from recserve.demo.movielens import MovieLens, read_movielens
from recserve.demo.options import DemoOptions, Size
from recserve.demo.simulator import HOUR_MS, POSITION_BIAS, SHOP_GOALS, Shop, ShopLog
from recserve.demo.steps import Step, Steps
from recserve.dtypes import F64
from recserve.samples.duckdb import join
from recserve.samples.events import read_events
from recserve.samples.join import Goal
from recserve.samples.records import read_records
from recserve.samples.sampleset import Samples
from recserve.training import split_by_time

ITEMS_FILE: Final = "items.parquet"
FEATURES_FILE: Final = "features.json"
TEST_SHARE: Final = 0.2
"""Share of the samples, the latest, that only judge."""


@dataclass(frozen=True)
class Visitor:
    """A user with a request to make: user columns, context columns and C candidates."""

    user: Mapping[str, Any]
    context: Mapping[str, Any]
    candidates: Sequence[str]


@dataclass(frozen=True, eq=False)
class Source:
    """Data that the demo learns from and asks about.

    Attributes:
        name: of the data and of the model.
        goal: what DIN predicts and the server ranks by.
        event: type of the event that reaches it.
        goals: labels of the join.
        samples: N rows, in the order of time.
        items: the item columns, as in ITEMS_FILE.
        visitors: who asks the server; the first one's answer is shown.
        describe: item id → words for people.
        truth: (user columns, C item ids) → float64[C] true probability; None where nobody knows it.
        sample_truths: {name: float64[N] true probability of each sample}; empty where nobody knows it.
    """

    name: str
    goal: str
    event: str
    goals: Mapping[str, Goal]
    samples: Samples
    items: pa.Table
    visitors: Sequence[Visitor]
    describe: Callable[[str], str]
    truth: Callable[[Mapping[str, Any], Sequence[str]], F64] | None = None
    sample_truths: Mapping[str, F64] = field(default_factory=dict)


def prepare(options: DemoOptions, size: Size, folder: Path, steps: Steps) -> Source:
    """Write the data's files into `folder`, and read samples from them.

    Raises:
        DataError: the folder of MovieLens is not one, or damaged.
    """
    if options.data is None:
        return _prepare_shop(options.seed, size, folder, steps)
    return _prepare_movielens(options.data, options.seed, size, folder, steps)


def _prepare_shop(seed: int, size: Size, folder: Path, steps: Steps) -> Source:
    shop = Shop(size.users, size.items, size.rounds, seed)
    with steps.step("shop") as step:
        step.show(f"{size.users} users visit {size.rounds} times")
        log = shop.simulate()
        step.show("writing records/, events.ndjson, items.parquet")
        log.write(folder)
        shop.write_items(folder / ITEMS_FILE)
        step.result = f"{len(log.records):,} served records and {len(log.events):,} events of {size.users:,} users"
    with steps.step("join") as step:
        step.show("reading records and events")
        records, events = read_records(folder / "records"), read_events(folder / "events.ndjson")
        items = pq.read_table(folder / ITEMS_FILE)
        step.show("joining on DuckDB")
        samples = join(records, events, SHOP_GOALS, items=items)
        _write_samples(samples, folder, step)
    _write_features(shop_features(), folder)
    words = {row["item_id"]: f"{row['category']}, {row['brand']}, {row['price']:.2f}" for row in items.to_pylist()}

    def truth(user: Mapping[str, Any], item_ids: Sequence[str]) -> F64:
        return shop.true_probability(user, item_ids, "click")

    return Source(
        name="shop",
        goal="ctr",
        event="click",
        goals=SHOP_GOALS,
        samples=samples,
        items=items,
        visitors=_shop_visitors(log, items["item_id"].to_pylist(), seed, size),
        describe=words.__getitem__,
        truth=truth,
        sample_truths=_shop_truths(shop, samples),
    )


def _shop_visitors(log: ShopLog, item_ids: Sequence[str], seed: int, size: Size) -> list[Visitor]:
    rng = np.random.default_rng([seed, 3])
    users = rng.permutation(list(log.users))[: size.live_users].tolist()
    count = min(size.candidates, len(item_ids))
    return [
        Visitor(log.users[user], log.context, [item_ids[n] for n in rng.choice(len(item_ids), count, replace=False)])
        for user in users
    ]


def _shop_truths(shop: Shop, samples: Samples) -> dict[str, F64]:
    """True click probabilities of all samples: with the share of looks that their position gets, and with the mean."""
    table = samples.table
    users, item_ids = table["user_id"].to_numpy(), table["item_id"].to_numpy()
    preference = np.empty(len(samples))
    order = np.argsort(users, kind="stable")
    cuts = np.flatnonzero(users[order][1:] != users[order][:-1]) + 1
    for rows in np.split(order, cuts):
        preference[rows] = shop.true_probability(str(users[rows[0]]), item_ids[rows].tolist(), "click")
    looks = (1.0 + table["position"].to_numpy()) ** -POSITION_BIAS
    return {"truth": preference * looks.mean(), "truth, position known": preference * looks}


def _prepare_movielens(data: Path, seed: int, size: Size, folder: Path, steps: Steps) -> Source:
    with steps.step("ratings") as step:
        step.show(f"reading {data}")
        found = read_movielens(data)
        if size.ratings is not None:
            found = MovieLens(found.ratings.slice(0, size.ratings), found.items, found.users)
        found.write_items(folder / ITEMS_FILE)
        items = pq.read_table(folder / ITEMS_FILE)
        step.result = f"{len(found.ratings):,} ratings of {len(items):,} films by {len(found.users):,} users"
    with steps.step("samples") as step:
        step.show("what was known before each rating")
        _, after = split_by_time(found.ratings["time"].to_numpy(), TEST_SHARE)
        samples = found.samples(frozen_from=int(found.ratings["time"][int(after[0])].as_py()))
        _write_samples(samples, folder, step)
    _write_features(movielens_features(), folder)
    columns = ("item_id", "title", "year", "genres")
    rows = zip(*(found.items[name].to_pylist() for name in columns), strict=True)
    words = {item: f"{title} ({year or '?'}), {' / '.join(genres)}" for item, title, year, genres in rows}
    return Source(
        name="ml-100k",
        goal="like",
        event="like",
        goals={"like": Goal("like", HOUR_MS)},
        samples=samples,
        items=items,
        visitors=_movie_visitors(found, seed, size),
        describe=words.__getitem__,
    )


def _movie_visitors(found: MovieLens, seed: int, size: Size) -> list[Visitor]:
    """Users after all their ratings, who ask about all films that they have not rated."""
    rated: dict[str, set[str]] = {}
    for row in found.ratings.select(["user_id", "item_id"]).to_pylist():
        rated.setdefault(row["user_id"], set()).add(row["item_id"])
    rng = np.random.default_rng([seed, 3])
    films = found.items["item_id"].to_pylist()
    curious = sorted(user for user, seen in rated.items() if len(seen) < len(films))
    users = rng.permutation(curious)[: size.live_users].tolist()
    return [
        Visitor(found.user_columns(user), {}, [film for film in films if film not in rated[user]]) for user in users
    ]


def _write_samples(samples: Samples, folder: Path, step: Step) -> None:
    step.show("writing samples.parquet")
    pq.write_table(samples.table, folder / "samples.parquet")
    known = {goal: pc.mean(samples.table[f"label_{goal}"]).as_py() or 0.0 for goal in samples.goals}
    rates = ", ".join(f"{goal} {mean:.1%}" for goal, mean in known.items())
    step.result = f"{len(samples):,} samples; {rates}"


def _write_features(document: Mapping[str, Any], folder: Path) -> None:
    (folder / FEATURES_FILE).write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
