"""MovieLens 100K as training samples: real behaviour, sequences from the past only.

Reads a folder in one of two layouts:

    RecBole     ml-100k.inter, ml-100k.item, ml-100k.user: UTF-8, tab-separated, a typed header such as `user_id:token`
    GroupLens   u.data (tab), u.item, u.user (pipe, Latin-1), without a header

One rating is one sample; its label `like` is rating ≥ 4. What the user side holds at a rating follows from the ratings
of that user with a strictly smaller time: many ratings share a second, and none of them sees another.

The data is for research use under GroupLens' terms and is not part of this package; give the folder that you have.

Axes: N ratings, V values of a ragged column, G genres.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recserve.demo.documents import MAX_HISTORY
from recserve.dtypes import I64, Bool
from recserve.errors import DataError, NotFoundError
from recserve.samples.sampleset import Samples

LIKE: Final = 4.0
"""Least rating that counts as a like."""
GENRES: Final = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
"""Order of the flags in GroupLens' u.item."""
_PRIOR: Final = 10
"""Ratings, half of them likes, that each user and film starts with: a rate of few ratings is mostly chance."""
_GENRE_PRIOR: Final = 5
"""Ratings of a genre at the user's own mean that each user starts with."""


@dataclass(frozen=True, eq=False)
class _Past:
    """Of each of N rows, the rows of the same user that are strictly older: `order[start:stop]`, by rising time."""

    order: I64
    start: I64
    stop: I64


@dataclass(frozen=True, eq=False)
class MovieLens:
    """The data set, whatever its layout was.

    Attributes:
        ratings: N rows of user_id, item_id (text), rating (float64), time (int64, ms UTC), in the order of time.
        items: item_id, title (text), year (int64, may be missing), genres (list<text>).
        users: user_id, gender, occupation (text), age (int64).
    """

    ratings: pa.Table
    items: pa.Table
    users: pa.Table

    def samples(self, frozen_from: int | None = None) -> Samples:
        """One sample per rating, with goal "like"; GAUC's groups are the users.

        Beside the columns of users and of `item_columns`: liked_year (mean year of the liked films), genre_affinity
        (map of genre to how much more of it was liked than of all), like_seq__item_id and like_seq__genres (at most
        MAX_HISTORY, the latest first).

        Args:
            frozen_from: time (ms UTC) from which on films stay as they are, as where items are served that nobody
                updates; None for never. Users go on: each request brings their state.
        """
        ratings = self.ratings
        user_row = _lookup(ratings["user_id"], self.users["user_id"])
        item_row = _lookup(ratings["item_id"], self.items["item_id"])
        times = ratings["time"].to_numpy()
        seconds = pc.divide(ratings["time"], 1000).cast(pa.string())
        columns: dict[str, Any] = {
            "request_id": pc.binary_join_element_wise(ratings["user_id"], seconds, "@"),
            "time": ratings["time"],
            "position": pa.nulls(len(ratings), pa.int32()),
            "score": pa.nulls(len(ratings), pa.float64()),
            "label_like": pa.array(self._likes().astype(np.int8)),
        }
        columns |= {name: self.users[name].take(pa.array(user_row)) for name in self.users.column_names}
        columns |= self._history(_past(user_row, times), item_row)
        items = self.items.drop_columns(["title"])
        columns |= {name: items[name].take(pa.array(item_row)) for name in items.column_names}
        moments = times if frozen_from is None else np.minimum(times, frozen_from)
        columns |= self._standing(_past(item_row, moments))
        return Samples(pa.table(columns), ("like",))

    def item_columns(self) -> pa.Table:
        """`items` without the title, with item_like_rate (share of likes, pulled to a half) and item_rated (number)."""
        item_row = _lookup(self.ratings["item_id"], self.items["item_id"])
        order = np.argsort(item_row, kind="stable")
        stop = np.cumsum(np.bincount(item_row, minlength=len(self.items)))
        table = self.items.drop_columns(["title"])
        for name, array in self._standing(_Past(order, np.concatenate(([0], stop[:-1])), stop)).items():
            table = table.append_column(name, array)
        return table

    def user_columns(self, user_id: str) -> dict[str, Any]:
        """The user columns after all ratings of a user: what a live request of the user carries.

        Raises:
            NotFoundError: there is no such user.
        """
        known = pc.index(self.users["user_id"], user_id).as_py()
        if known < 0:
            raise NotFoundError(f"there is no user {user_id!r}", hint=f"There are {len(self.users)} users.")
        user_row = _lookup(self.ratings["user_id"], self.users["user_id"])
        own = np.flatnonzero(user_row == known)
        past = _Past(own, np.zeros(1, np.int64), np.array([len(own)]))
        history = self._history(past, _lookup(self.ratings["item_id"], self.items["item_id"]))
        columns = {name: self.users[name][known].as_py() for name in self.users.column_names}
        for name, array in history.items():
            cell = array[0].as_py()
            columns[name] = dict(cell) if pa.types.is_map(array.type) else cell
        return columns

    def write_items(self, file: str | Path) -> None:
        """Write `item_columns` as Parquet."""
        pq.write_table(self.item_columns(), file)

    def _likes(self) -> Bool:
        likes: Bool = self.ratings["rating"].to_numpy() >= LIKE
        return likes

    def _standing(self, past: _Past) -> dict[str, pa.Array]:
        """How films stand that have these ratings behind them, one row per row of `past`."""
        liked, rated = _only(past, self._likes()), past.stop - past.start
        rate = (liked.stop - liked.start + _PRIOR / 2) / (rated + _PRIOR)
        return {"item_like_rate": pa.array(rate), "item_rated": pa.array(rated)}

    def _history(self, past: _Past, item_row: I64) -> dict[str, pa.Array]:
        """The columns that follow from the past, one row per row of `past`; `item_row` is int64[N], of each rating."""
        likes = self._likes()
        liked = _only(past, likes)
        rated_count, liked_count = past.stop - past.start, liked.stop - liked.start
        flags = self._genre_flags()[item_row]
        genre_likes, genre_rated = _sums(liked, flags), _sums(past, flags)
        own_rate = (liked_count + _PRIOR / 2) / (rated_count + _PRIOR)
        affinity = (genre_likes - own_rate[:, None] * genre_rated) / (genre_rated + _GENRE_PRIOR)
        years = self.items["year"].to_numpy(zero_copy_only=False).astype(np.float64)[item_row]
        with_year = _only(past, likes & ~np.isnan(years))
        year_count = with_year.stop - with_year.start
        year_sum = _sums(with_year, np.nan_to_num(years)[:, None])[:, 0]
        like_offsets, like_rows = _latest(liked)
        ids, genres = self.items["item_id"].combine_chunks(), self.items["genres"].combine_chunks()
        like_items = pa.array(item_row[like_rows])
        return {
            "liked_year": _ratio(year_sum, year_count),
            "genre_affinity": _genre_maps(affinity, genre_rated),
            "like_seq__item_id": pa.ListArray.from_arrays(like_offsets, ids.take(like_items)),
            "like_seq__genres": pa.ListArray.from_arrays(like_offsets, genres.take(like_items)),
        }

    def _genre_flags(self) -> npt.NDArray[np.int32]:
        """int32[items, G], 1 where the item has the genre."""
        genres = self.items["genres"].combine_chunks()
        flags = np.zeros((len(genres), len(GENRES)), np.int32)
        rows = pc.list_parent_indices(genres).to_numpy()
        flags[rows, pc.index_in(genres.flatten(), value_set=pa.array(GENRES)).to_numpy()] = 1
        return flags


def read_movielens(folder: str | Path) -> MovieLens:
    """Read MovieLens 100K from a folder in either layout.

    Raises:
        DataError: a file is missing, cut short or damaged, or a rating names an unknown user or item; the message names
            the file and line.
    """
    folder = Path(folder)
    if (file := folder / "ml-100k.inter").exists():
        ratings, items, users = _read_recbole(folder)
    elif (file := folder / "u.data").exists():
        ratings, items, users = _read_grouplens(folder)
    else:
        hint = "Give the folder that holds ml-100k.inter (RecBole) or u.data (GroupLens)."
        raise DataError("holds no MovieLens 100K", where=str(folder), hint=hint)
    for name, table in (("user_id", users), ("item_id", items)):
        unknown = pc.is_null(pc.index_in(ratings[name], value_set=table[name].combine_chunks()))
        if pc.any(unknown).as_py():
            row = pc.index(unknown, value=True).as_py()
            value = ratings[name][row].as_py()
            raise DataError(f"the {name} {value!r} of rating {row + 1} is unknown", where=str(file))
    order = [("time", "ascending"), ("user_id", "ascending"), ("item_id", "ascending")]
    return MovieLens(ratings.sort_by(order).combine_chunks(), items, users)


def _read_recbole(folder: Path) -> tuple[pa.Table, pa.Table, pa.Table]:
    def rows(name: str, header: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        lines = _lines(folder / name, "utf-8", "\t", len(header))
        where, first = next(lines, (f"{folder / name}:1", []))
        if first != list(header):
            raise DataError(f"the header is {first}", where=where, hint=f"It should be {list(header)}.")
        return lines

    inter = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
    item = ("item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq")
    user = ("user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token")
    items = [
        (cells[0], cells[1], _year(cells[2]), _genres(cells[3].split(" "), where))
        for where, cells in rows("ml-100k.item", item)
    ]
    users = [(cells[0], _whole(cells[1], "age", where), *cells[2:4]) for where, cells in rows("ml-100k.user", user)]
    return _rating_table(rows("ml-100k.inter", inter)), _item_table(items), _user_table(users)


def _read_grouplens(folder: Path) -> tuple[pa.Table, pa.Table, pa.Table]:
    items = []
    for where, cells in _lines(folder / "u.item", "latin-1", "|", 5 + len(GENRES)):
        flags = cells[5:]
        if set(flags) - {"0", "1"}:
            raise DataError(f"the genre flags are {flags}", where=where, hint="Each is 0 or 1.")
        genres = [genre for genre, flag in zip(GENRES, flags, strict=True) if flag == "1"]
        title, _, year = cells[1].rpartition(" (")
        is_dated = year.endswith(")") and year[:-1].isdecimal()
        items.append((cells[0], title if is_dated else cells[1], int(year[:-1]) if is_dated else None, genres))
    users = [
        (cells[0], _whole(cells[1], "age", where), *cells[2:4])
        for where, cells in _lines(folder / "u.user", "latin-1", "|", 5)
    ]
    return _rating_table(_lines(folder / "u.data", "latin-1", "\t", 4)), _item_table(items), _user_table(users)


def _lines(file: Path, encoding: str, separator: str, count: int) -> Iterator[tuple[str, list[str]]]:
    """("file:line", cells) of each line."""
    try:
        text = file.read_bytes().decode(encoding)
    except FileNotFoundError:
        raise DataError(
            "there is no such file", where=str(file), hint="The folder is incomplete; copy it again."
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(f"is not {encoding}: {error}", where=str(file)) from None
    lines = text.replace("\r\n", "\n").split("\n")
    if lines[-1]:
        raise DataError(
            "ends within a line", where=f"{file}:{len(lines)}", hint="The file is cut short; copy it again."
        )
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        cells = line.split(separator)
        if len(cells) != count:
            hint = f"A line has {count}; the file may be cut short."
            raise DataError(f"has {len(cells)} fields", where=f"{file}:{number}", hint=hint)
        yield f"{file}:{number}", cells


def _rating_table(rows: Iterator[tuple[str, list[str]]]) -> pa.Table:
    users, items, ratings, times = [], [], [], []
    for where, (user, item, rating, time) in rows:
        try:
            ratings.append(float(rating))
            times.append(int(float(time)) * 1000)
        except ValueError:
            raise DataError(f"rating {rating!r} and time {time!r} are not numbers", where=where) from None
        users.append(user)
        items.append(item)
    text = pa.string()
    columns = {"user_id": pa.array(users, text), "item_id": pa.array(items, text)}
    return pa.table(columns | {"rating": pa.array(ratings, pa.float64()), "time": pa.array(times, pa.int64())})


def _item_table(rows: list[tuple[str, str, int | None, list[str]]]) -> pa.Table:
    schema = [("item_id", pa.string()), ("title", pa.string()), ("year", pa.int64()), ("genres", pa.list_(pa.string()))]
    return _table(rows, pa.schema(schema))


def _user_table(rows: list[Any]) -> pa.Table:
    schema = [("user_id", pa.string()), ("age", pa.int64()), ("gender", pa.string()), ("occupation", pa.string())]
    return _table(rows, pa.schema(schema))


def _table(rows: list[Any], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pa.table([pa.array(cells, kind) for cells, kind in zip(columns, schema.types, strict=True)], schema=schema)


def _whole(text: str, name: str, where: str) -> int:
    if not text.isdecimal():
        raise DataError(f"{name} is {text!r}", where=where, hint="Give a whole number.")
    return int(text)


def _year(text: str) -> int | None:
    """The text in the last parentheses of a title, which RecBole takes for the year: "1995", but also "V" for video."""
    return int(text) if text.isdecimal() else None


def _genres(names: list[str], where: str) -> list[str]:
    found = [name for name in names if name]
    if unknown := [name for name in found if name not in GENRES]:
        raise DataError(f"the genre {unknown[0]!r} is unknown", where=where, hint=f"Known are {', '.join(GENRES)}.")
    return found


def _lookup(values: pa.ChunkedArray, known: pa.ChunkedArray) -> I64:
    rows: I64 = pc.index_in(values, value_set=known.combine_chunks()).to_numpy().astype(np.int64)
    return rows


def _past(user: I64, time: I64) -> _Past:
    """Of each rating, the strictly older ratings of its user."""
    order = np.lexsort((time, user))
    sorted_user, sorted_time = user[order], time[order]
    is_new_user = np.r_[True, np.diff(sorted_user) != 0] if len(order) else np.zeros(0, np.bool_)
    is_new_time = is_new_user | (np.r_[True, np.diff(sorted_time) != 0] if len(order) else is_new_user)
    place = np.arange(len(order))
    start, stop = np.empty_like(place), np.empty_like(place)
    start[order] = np.maximum.accumulate(np.where(is_new_user, place, 0))
    stop[order] = np.maximum.accumulate(np.where(is_new_time, place, 0))
    return _Past(order, start, stop)


def _only(past: _Past, keep: Bool) -> _Past:
    """The part of the past where `keep`, bool over all ratings."""
    kept = keep[past.order]
    before = np.concatenate(([0], np.cumsum(kept)))
    return _Past(past.order[kept], before[past.start], before[past.stop])


def _latest(past: _Past) -> tuple[pa.Array, I64]:
    """Offsets of a list column and its V rows: the last MAX_HISTORY of each past, the latest first."""
    lengths = np.minimum(past.stop - past.start, MAX_HISTORY)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    step = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    return pa.array(offsets, pa.int32()), past.order[np.repeat(past.stop, lengths) - 1 - step]


def _sums(past: _Past, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sums over each past of the rows of `values`, [all ratings, X]."""
    totals = np.concatenate([np.zeros((1, values.shape[1]), values.dtype), np.cumsum(values[past.order], axis=0)])
    return totals[past.stop] - totals[past.start]  # type: ignore[no-any-return]


def _ratio(part: npt.NDArray[Any], whole: I64) -> pa.Array:
    """float64, missing where `whole` is 0."""
    return pa.array(part / np.maximum(whole, 1), mask=whole == 0)


def _genre_maps(values: npt.NDArray[Any], counts: npt.NDArray[Any]) -> pa.Array:
    """map<text, float64> of genre to value, where counts are not 0; from [N, G] each."""
    rows, genres = np.nonzero(counts)
    offsets = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=len(counts)))))
    names = pa.array(GENRES).take(pa.array(genres))
    return pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), names, pa.array(values[rows, genres]))
