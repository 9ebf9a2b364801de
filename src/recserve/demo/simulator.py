"""A simulated shop whose visitors have known preferences, so that a ranking can be compared with the truth.

Users and items have hidden vectors. A user clicks an item that she looks at with the probability

    σ(bias + match of vectors + declared and hidden interest in the category − distance of the price from her budget
      + quality + freshness + the item's own appeal)

and looks at position p with the probability (1 + p) ** −POSITION_BIAS. A click may lead to a cart, a cart to a buy. The
features see some of the causes (age, gender, two of three interests, price, quality), and the rest through what users
did: their past clicks. A logging policy that mixes popularity with chance serves the requests. All of it follows from
one seed.

Axes: U users, I items, K categories, B brands, D hidden factors, P positions of a request, H steps of history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recserve.demo.documents import MAX_HISTORY
from recserve.demo.population import (
    BRANDS,
    CATEGORIES,
    CITIES,
    FACTORS,
    GENDERS,
    WORDS,
    Items,
    Users,
    brand_name,
    draw_items,
    draw_users,
)
from recserve.dtypes import F64, I64, Bool
from recserve.errors import ConfigError, NotFoundError, suggest
from recserve.samples.events import EVENT_SCHEMA, write_events
from recserve.samples.join import Goal
from recserve.samples.records import ServedRecord
from recserve.samples.writer import Format, RecordWriter

HOUR_MS: Final = 3_600_000
START_MS: Final = 1_735_689_600_000
"""2025-01-01 00:00 UTC, a Wednesday."""
ROUND_MS: Final = 6 * HOUR_MS
"""Each user sends one request per round, in its first four hours; what it leads to ends within the round."""
MAX_CANDIDATES: Final = 30
MIN_CANDIDATES: Final = 20
POSITION_BIAS: Final = 0.4

SHOP_GOALS: Final = {"ctr": Goal("click", HOUR_MS // 2), "cvr": Goal("buy", 3 * HOUR_MS, given="ctr")}
"""`ctr`: a click follows. `cvr`: a buy follows the click; unknown where there was none."""
_TRUTHS: Final = ("click", "cart", "buy", "ctr", "cvr")


@dataclass(eq=False)
class _State:
    """What the shop knows of its users and items at the start of a round; only the past."""

    history: I64
    """int64[U, MAX_HISTORY] clicked items, the latest first, then −1."""
    category_clicks: I64
    brand_clicks: I64
    price_sum: F64
    clicks: I64
    """int64[I]."""
    shows: I64


@dataclass(frozen=True, eq=False)
class ShopLog:
    """What a simulation leaves behind.

    Attributes:
        records: served requests, in the order of time.
        events: Table of EVENT_SCHEMA in the order of arrival: some late, some twice, some without request_id.
        end: int, milliseconds since 1970 UTC after the last event.
        users: {user_id: its columns at `end`}, as a live request of the user would carry them.
        context: context columns at `end`.
    """

    records: list[ServedRecord]
    events: pa.Table
    end: int
    users: dict[str, dict[str, Any]]
    context: dict[str, Any]

    def write(self, folder: str | Path, format: Format = "ndjson") -> None:  # noqa: A002 - as RecordWriter
        """Write `records/` and `events.<format>` into `folder`."""
        folder = Path(folder)
        with RecordWriter(folder / "records", format=format, queue_size=len(self.records) + 1) as writer:
            for record in self.records:
                writer.write(record)
        write_events(self.events, folder / f"events.{format}")


@dataclass(frozen=True)
class Shop:
    """The shop and its truth.

    Attributes:
        users: U, number of users.
        items: I, number of items, at least 60.
        rounds: requests of each user; one round is six hours.
        seed: everything follows from it.
    """

    users: int = 600
    items: int = 2000
    rounds: int = 14
    seed: int = 0
    _users: Users = field(init=False, repr=False, compare=False)
    _items: Items = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, value, least in (("users", self.users, 1), ("items", self.items, 60), ("rounds", self.rounds, 1)):
            if value < least:
                raise ConfigError(f"a shop has {value} {name}", hint=f"Use at least {least}.")
        rng = np.random.default_rng([self.seed, 1])
        categories = rng.normal(size=(len(CATEGORIES), FACTORS))
        object.__setattr__(self, "_items", draw_items(rng, self.items, categories))
        object.__setattr__(self, "_users", draw_users(rng, self.users, categories))

    def item_table(self) -> pa.Table:
        """I rows of item_id, category, brand (text), price, quality (float64), age_days (int64), title (list<text>)."""
        items = self._items
        return pa.table(
            {
                "item_id": [f"i{n}" for n in range(self.items)],
                "category": [CATEGORIES[k] for k in items.category],
                "brand": [brand_name(b) for b in items.brand],
                "price": items.price,
                "quality": items.quality,
                "age_days": items.age_days,
                "title": [
                    [CATEGORIES[k], WORDS[a], WORDS[b]] for k, (a, b) in zip(items.category, items.words, strict=True)
                ],
            }
        )

    def write_items(self, file: str | Path) -> None:
        """Write `item_table` as Parquet."""
        pq.write_table(self.item_table(), file)

    def true_probability(self, user: str | Mapping[str, Any], items: Sequence[str], goal: str) -> F64:
        """The probability that the user, looking at an item, reaches the goal, whatever its position.

        Args:
            user: user_id, or user columns that hold it.
            items: N item ids.
            goal: "click" (or "ctr"), "cart", "buy", or "cvr": a buy if the click has happened.

        Returns:
            float64[N].

        Raises:
            NotFoundError: there is no such user or item.
            ConfigError: there is no such goal.
        """
        if goal not in _TRUTHS:
            raise ConfigError(f"there is no goal {goal!r}", hint=suggest(goal, _TRUTHS) or f"Use one of {_TRUTHS}.")
        name = user if isinstance(user, str) else str(user.get("user_id"))
        row = np.array([_number(name, "u", self.users, "user")])
        columns = np.array([[_number(item, "i", self.items, "item") for item in items]], np.int64)
        click, cart, buy = self._probabilities(row, columns)
        truths: dict[str, F64] = {"click": click, "ctr": click, "cart": click * cart, "cvr": cart * buy}
        truth: F64 = truths.get(goal, click * cart * buy)[0]
        return truth

    def simulate(self) -> ShopLog:
        """Serve all requests and draw what the users do."""
        rng = np.random.default_rng([self.seed, 2])
        state = _State(
            np.full((self.users, MAX_HISTORY), -1, np.int64),
            np.zeros((self.users, len(CATEGORIES)), np.int64),
            np.zeros((self.users, BRANDS), np.int64),
            np.zeros(self.users),
            np.zeros(self.items, np.int64),
            np.zeros(self.items, np.int64),
        )
        records: list[ServedRecord] = []
        events: list[pa.Table] = []
        for n in range(self.rounds):
            start = START_MS + n * ROUND_MS
            items, scores = _serve(rng, state, self.users)
            time = start + rng.integers(0, 4 * HOUR_MS, self.users)
            records += self._records(n, time, items, scores, self._user_columns(state))
            clicked, clicked_at = self._behave(rng, n, time, items, events)
            self._learn(state, items, clicked, clicked_at)
        records.sort(key=lambda record: (record.time, record.request_id))
        end = START_MS + self.rounds * ROUND_MS
        users = {str(columns["user_id"]): columns for columns in self._user_columns(state)}
        return ShopLog(records, _arrive(rng, events), end, users, _context(end))

    def _probabilities(self, users: I64, items: I64) -> tuple[F64, F64, F64]:
        """float64[U', P] each, of users[U'] and items[U', P]: click if seen, cart if clicked, buy if in the cart."""
        who, what = self._users, self._items
        category = what.category[items]
        match = np.einsum("ud,upd->up", who.vectors[users], what.vectors[items]) / np.sqrt(FACTORS)
        interest = (category[:, :, None] == who.interests[users][:, None, :]).any(axis=2)
        distance = np.abs(np.log(what.price[items]) - who.budget[users][:, None])
        price = who.sensitivity[users][:, None] * distance
        quality = what.quality[items] - 3.0
        fresh = np.exp(-what.age_days[items] / 60.0)
        click = _sigmoid(-2.2 + 1.1 * match + 1.3 * interest - price + 0.4 * quality + 0.4 * fresh + what.appeal[items])
        cart = _sigmoid(-0.4 + 0.5 * quality - 0.5 * price + 0.4 * interest)
        buy = _sigmoid(0.3 + 0.4 * quality - 0.6 * price)
        return click, cart, buy

    def _behave(
        self, rng: np.random.Generator, number: int, time: I64, items: I64, events: list[pa.Table]
    ) -> tuple[Bool, I64]:
        """Draw events of one round into `events`; returns which items were clicked and when, both of shape [U, P]."""
        shown = items >= 0
        click, cart, buy = self._probabilities(np.arange(self.users), np.maximum(items, 0))
        seen = (1.0 + np.arange(items.shape[1])) ** -POSITION_BIAS
        drawn = rng.random((3, *items.shape))
        clicked = shown & (drawn[0] < click * seen)
        carted = clicked & (drawn[1] < cart)
        bought = carted & (drawn[2] < buy)
        clicked_at = time[:, None] + rng.integers(1_000, 600_000, items.shape)
        carted_at = clicked_at + rng.integers(1_000, 600_000, items.shape)
        bought_at = carted_at + rng.integers(1_000, HOUR_MS, items.shape)
        knows_request = rng.random(items.shape) < 0.7
        for kind, done, at in (("click", clicked, clicked_at), ("cart", carted, carted_at), ("buy", bought, bought_at)):
            rows, places = np.nonzero(done)
            requests = [_request_id(number, row) for row in rows.tolist()]
            price = self._items.price[items[rows, places]]
            columns = {
                "time": at[rows, places],
                "user_id": [f"u{row}" for row in rows],
                "item_id": [f"i{item}" for item in items[rows, places]],
                "type": [kind] * len(rows),
                "request_id": pa.array(requests, pa.string(), mask=~knows_request[rows, places]),
                "value": pa.array(price, mask=np.full(len(rows), kind != "buy")),
            }
            events.append(pa.table(columns, schema=EVENT_SCHEMA))
        return clicked, clicked_at

    def _learn(self, state: _State, items: I64, clicked: Bool, clicked_at: I64) -> None:
        """Take one round's clicks into the state."""
        latest = np.argsort(np.where(clicked, -clicked_at, 1), axis=1)
        new = np.take_along_axis(np.where(clicked, items, -1), latest, axis=1)
        both = np.concatenate([new, state.history], axis=1)
        packed = np.argsort(both < 0, axis=1, kind="stable")[:, :MAX_HISTORY]
        state.history = np.take_along_axis(both, packed, axis=1)
        rows, places = np.nonzero(clicked)
        chosen = items[rows, places]
        np.add.at(state.category_clicks, (rows, self._items.category[chosen]), 1)
        np.add.at(state.brand_clicks, (rows, self._items.brand[chosen]), 1)
        np.add.at(state.price_sum, rows, self._items.price[chosen])
        np.add.at(state.clicks, chosen, 1)
        np.add.at(state.shows, items[items >= 0], 1)

    def _user_columns(self, state: _State) -> list[dict[str, Any]]:
        """The user columns of all users."""
        who, what = self._users, self._items
        lengths = (state.history >= 0).sum(axis=1).tolist()
        count = state.category_clicks.sum(axis=1)
        mean_price = np.divide(state.price_sum, count, out=np.zeros(self.users), where=count > 0).round(2).tolist()
        categories = [CATEGORIES[k] for k in what.category]
        brands = [brand_name(b) for b in what.brand]
        columns = []
        for n, history in enumerate(state.history.tolist()):
            past = history[: lengths[n]]
            columns.append(
                {
                    "user_id": f"u{n}",
                    "age": int(who.age[n]),
                    "gender": GENDERS[who.gender[n]],
                    "city": CITIES[who.city[n]],
                    "interests": [CATEGORIES[k] for k in who.interests[n, :2]],
                    "mean_price": mean_price[n] if past else None,
                    "category_clicks": _counts(state.category_clicks[n], CATEGORIES),
                    "brand_clicks": {
                        brand_name(b): int(state.brand_clicks[n, b]) for b in state.brand_clicks[n].nonzero()[0]
                    },
                    "click_seq__item_id": [f"i{item}" for item in past],
                    "click_seq__category": [categories[item] for item in past],
                    "click_seq__brand": [brands[item] for item in past],
                }
            )
        return columns

    def _records(
        self, number: int, time: I64, items: I64, scores: F64, users: list[dict[str, Any]]
    ) -> list[ServedRecord]:
        lengths = (items >= 0).sum(axis=1).tolist()
        return [
            ServedRecord(
                request_id=_request_id(number, n),
                time=at,
                user_id=f"u{n}",
                user=users[n],
                context=_context(at),
                item_ids=[f"i{item}" for item in items[n, : lengths[n]].tolist()],
                scores=scores[n, : lengths[n]],
                outputs={"ctr": scores[n, : lengths[n]]},
                model_name="popularity",
                model_version="0",
            )
            for n, at in enumerate(time.tolist())
        ]


def _serve(rng: np.random.Generator, state: _State, users: int) -> tuple[I64, F64]:
    """The logging policy: (items int64[U, MAX_CANDIDATES], −1 beyond a request's end; scores float64 of that shape).

    Half of the draws follow the clicks so far, half are uniform; the order is that of a smoothed click rate with noise.
    """
    items = len(state.clicks)
    popularity = np.cumsum(state.clicks + 1.0)
    popular = np.searchsorted(popularity, rng.random((users, MAX_CANDIDATES)) * popularity[-1], side="right")
    drawn = np.concatenate([popular, rng.integers(0, items, (users, MAX_CANDIDATES))], axis=1)
    drawn = np.minimum(rng.permuted(drawn, axis=1), items - 1)
    by_item = np.argsort(drawn, axis=1, kind="stable")
    in_order = np.take_along_axis(drawn, by_item, axis=1)
    repeated = np.zeros(drawn.shape, np.bool_)
    np.put_along_axis(repeated, by_item[:, 1:], in_order[:, 1:] == in_order[:, :-1], axis=1)
    fresh = np.argsort(repeated, axis=1, kind="stable")[:, :MAX_CANDIDATES]
    wanted = rng.integers(MIN_CANDIDATES, MAX_CANDIDATES + 1, users)
    lengths = np.minimum(wanted, (~repeated).sum(axis=1))
    chosen = np.take_along_axis(drawn, fresh, axis=1)
    rate = (state.clicks + 1.0) / (state.shows + 12.0)
    scores = rate[chosen] * np.exp(rng.normal(0.0, 0.5, chosen.shape))
    scores[np.arange(MAX_CANDIDATES) >= lengths[:, None]] = -1.0
    order = np.argsort(-scores, axis=1, kind="stable")
    chosen, scores = np.take_along_axis(chosen, order, axis=1), np.take_along_axis(scores, order, axis=1)
    return np.where(scores < 0.0, -1, chosen), scores


def _arrive(rng: np.random.Generator, events: list[pa.Table]) -> pa.Table:
    """All events in the order of arrival: up to an hour late, one in a hundred twice."""
    table = pa.concat_tables(events)
    again = rng.random(len(table)) < 0.01
    table = pa.concat_tables([table, table.filter(pa.array(again))])
    arrival = table["time"].to_numpy() + rng.exponential(300_000.0, len(table)).astype(np.int64).clip(max=HOUR_MS)
    return table.take(pa.array(np.argsort(arrival, kind="stable"))).combine_chunks()


def _context(time: int) -> dict[str, Any]:
    hours = time // HOUR_MS
    return {"hour": hours % 24, "weekday": (hours // 24 + 3) % 7}


def _counts(counts: I64, names: Sequence[str]) -> dict[str, int]:
    return {names[n]: int(counts[n]) for n in counts.nonzero()[0].tolist()}


def _request_id(number: int, user: int) -> str:
    return f"r{number}-u{user}"


def _number(name: str, letter: str, count: int, what: str) -> int:
    """The index in an id such as "i17"."""
    digits = name[1:]
    if name[:1] != letter or not digits.isdecimal() or int(digits) >= count:
        raise NotFoundError(f"there is no {what} {name!r}", hint=f"The {what}s are {letter}0 to {letter}{count - 1}.")
    return int(digits)


def _sigmoid(x: F64) -> F64:
    return 1.0 / (1.0 + np.exp(-x))
