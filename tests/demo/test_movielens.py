import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.demo.documents import MAX_HISTORY
from recserve.demo.movielens import GENRES, LIKE, read_movielens
from recserve.errors import DataError, NotFoundError

USERS = [("1", 24, "M", "technician"), ("2", 53, "F", "other")]
ITEMS = [
    ("10", "Toy Story", 1995, ["Animation", "Children's", "Comedy"]),
    ("20", "Café Noir", 1990, ["Drama", "Film-Noir"]),
    ("30", "Undated", None, []),
]
RATINGS = [("1", "10", 5, 100), ("1", "20", 2, 100), ("2", "10", 4, 150), ("1", "30", 4, 200), ("1", "10", 3, 300)]


def write_recbole(folder: Path, ratings=RATINGS) -> Path:
    inter = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    inter += ["\t".join(map(str, rating)) for rating in ratings]
    items = ["item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"]
    items += [f"{item}\t{title}\t{year or 'unkonwn'}\t{' '.join(genres)}" for item, title, year, genres in ITEMS]
    users = ["user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token"]
    users += ["\t".join(map(str, user)) + "\t12345" for user in USERS]
    for name, lines in (("inter", inter), ("item", items), ("user", users)):
        (folder / f"ml-100k.{name}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_grouplens(folder: Path) -> Path:
    items = []
    for item, title, year, genres in ITEMS:
        flags = "|".join(str(int(genre in genres)) for genre in GENRES)
        items.append(f"{item}|{title}{f' ({year})' if year else ''}|01-Jan-1995||http://x|{flags}")
    (folder / "u.item").write_text("\n".join(items) + "\n", encoding="latin-1")
    (folder / "u.user").write_text("".join("|".join(map(str, user)) + "|12345\n" for user in USERS))
    (folder / "u.data").write_text("".join("\t".join(map(str, rating)) + "\n" for rating in RATINGS))
    return folder


@pytest.mark.parametrize("write", [write_recbole, write_grouplens])
def test_both_layouts_hold_the_same_data(tmp_path, write):
    data = read_movielens(write(tmp_path))
    assert data.items.to_pylist() == [
        dict(zip(("item_id", "title", "year", "genres"), item, strict=True)) for item in ITEMS
    ]
    assert data.users.to_pylist() == [
        dict(zip(("user_id", "age", "gender", "occupation"), user, strict=True)) for user in USERS
    ]
    assert [tuple(row.values()) for row in data.ratings.to_pylist()] == [
        (*r[:2], float(r[2]), r[3] * 1000) for r in RATINGS
    ]


def test_a_sample_sees_the_strictly_older_ratings_of_its_user_only(tmp_path):
    samples = read_movielens(write_recbole(tmp_path)).samples()
    assert samples.goals == ("like",)
    assert samples.label("like").tolist() == [1, 0, 1, 1, 0]
    assert samples.times.tolist() == [100_000, 100_000, 150_000, 200_000, 300_000]
    assert samples.groups.tolist() == [0, 0, 1, 0, 0]
    columns = samples.columns.to_pydict()
    assert columns["liked_year"] == [None, None, None, 1995.0, 1995.0]
    assert columns["like_seq__item_id"] == [[], [], [], ["10"], ["30", "10"]]
    assert columns["like_seq__genres"][4] == [[], ["Animation", "Children's", "Comedy"]]
    assert [name for name, _ in columns["genre_affinity"][3]] == [
        "Animation",
        "Children's",
        "Comedy",
        "Drama",
        "Film-Noir",
    ]
    # Half of the past was liked: one more like, or one less, than half a like; weighed as one rating among 1 + 5.
    affinity = dict(columns["genre_affinity"][3])
    assert affinity["Comedy"] == pytest.approx(0.5 / 6)
    assert affinity["Drama"] == pytest.approx(-0.5 / 6)
    assert columns["item_id"] == ["10", "20", "10", "30", "10"]
    assert columns["item_rated"] == [0, 0, 1, 0, 2]
    assert columns["item_like_rate"] == [0.5, 0.5, pytest.approx(6 / 11), 0.5, pytest.approx(7 / 12)]
    assert columns["year"] == [1995, 1990, 1995, None, 1995]
    assert "title" not in columns


def past_by_hand(ratings, n):
    """(item, rating) of the strictly older ratings of the same user as rating n, by rising time."""
    user, _, _, time = ratings[n]
    return [(item, rating) for other, item, rating, at in ratings if other == user and at < time]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("12"), st.sampled_from(["10", "20", "30"]), st.integers(1, 5), st.integers(0, 9)),
        min_size=1,
        max_size=150,
    )
)
def test_histories_are_those_found_by_looking_at_every_pair(tmp_path_factory, ratings):
    data = read_movielens(write_recbole(tmp_path_factory.mktemp("ml"), ratings))
    columns = data.samples().columns.to_pydict()
    rows = [(r["user_id"], r["item_id"], r["rating"], r["time"]) for r in data.ratings.to_pylist()]
    genres = {item: names for item, _, _, names in ITEMS}
    for n in range(len(rows)):
        past = past_by_hand(rows, n)
        liked = [item for item, rating in past if rating >= LIKE]
        assert columns["like_seq__item_id"][n] == liked[::-1][:MAX_HISTORY]
        rated = {genre: sum(genre in genres[item] for item, _ in past) for genre in GENRES}
        more = {
            genre: sum(genre in genres[item] for item in liked) - (len(liked) + 5) / (len(past) + 10) * count
            for genre, count in rated.items()
            if count
        }
        assert dict(columns["genre_affinity"][n]) == {
            genre: pytest.approx(value / (rated[genre] + 5)) for genre, value in more.items()
        }


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("12"), st.sampled_from(["10", "20", "30"]), st.integers(1, 5), st.integers(0, 9)),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 9),
)
def test_a_film_stands_as_its_older_ratings_say_and_freezes(tmp_path_factory, ratings, frozen_from):
    data = read_movielens(write_recbole(tmp_path_factory.mktemp("ml"), ratings))
    frozen = data.samples(frozen_from * 1000).columns.to_pydict()
    rows = data.ratings.to_pylist()

    def standing(item, before):
        past = [r["rating"] >= LIKE for r in rows if r["item_id"] == item and r["time"] < before]
        return len(past), pytest.approx((sum(past) + 5) / (len(past) + 10))

    for n, row in enumerate(rows):
        expected = standing(row["item_id"], min(row["time"], frozen_from * 1000))
        assert (frozen["item_rated"][n], frozen["item_like_rate"][n]) == expected
    for row in data.item_columns().to_pylist():
        assert (row["item_rated"], row["item_like_rate"]) == standing(row["item_id"], 10_000_000)


def test_a_live_user_carries_what_a_next_sample_would_see(tmp_path):
    data = read_movielens(write_recbole(tmp_path, [*RATINGS, ("1", "20", 1, 400)]))
    last = data.samples().columns.to_pylist()[-1]
    live = read_movielens(write_recbole(tmp_path)).user_columns("1")
    last["genre_affinity"] = dict(last["genre_affinity"])
    assert live == {name: cell for name, cell in last.items() if name in live}
    assert set(last) - set(live) == {"item_id", "year", "genres", "item_like_rate", "item_rated"}


def test_a_user_without_ratings_has_an_empty_past_and_an_unknown_one_is_an_error(tmp_path):
    data = read_movielens(write_recbole(tmp_path, RATINGS[:2]))
    live = data.user_columns("2")
    assert (live["genre_affinity"], live["liked_year"], live["like_seq__item_id"]) == ({}, None, [])
    with pytest.raises(NotFoundError, match=r"there is no user '9'\. There are 2 users"):
        data.user_columns("9")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("ml-100k.inter", lambda t: t.replace("user_id:token", "user"), r"inter:1: the header is \['user', "),
        ("ml-100k.inter", lambda t: t.replace("1\t20\t2\t100", "1\t20"), r"inter:3: has 2 fields\. A line has 4"),
        ("ml-100k.inter", lambda t: t[:-2], r"inter:6: ends within a line\. The file is cut short"),
        ("ml-100k.inter", lambda t: t.replace("\t5\t", "\tfive\t"), r"inter:2: rating 'five' and time '100' are not"),
        ("ml-100k.inter", lambda t: t.replace("2\t10\t4", "9\t10\t4"), r"the user_id '9' of rating 3 is unknown"),
        ("ml-100k.inter", lambda t: t.replace("2\t10\t4", "2\t99\t4"), r"the item_id '99' of rating 3 is unknown"),
        ("ml-100k.item", lambda t: t.replace("Drama", "Dramma"), r"item:3: the genre 'Dramma' is unknown"),
        ("ml-100k.user", lambda t: t.replace("24", "young"), r"user:2: age is 'young'\. Give a whole number"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_named_with_its_line(tmp_path, name, change, message):
    file = write_recbole(tmp_path) / name
    file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_movielens(tmp_path)


def test_a_missing_file_or_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"holds no MovieLens 100K\. Give the folder"):
        read_movielens(tmp_path)
    (write_recbole(tmp_path) / "ml-100k.item").unlink()
    with pytest.raises(DataError, match=r"ml-100k\.item: there is no such file\. The folder is incomplete"):
        read_movielens(tmp_path)


def test_a_file_that_is_not_text_and_wrong_flags_are_errors(tmp_path):
    (write_recbole(tmp_path) / "ml-100k.user").write_bytes(b"\xff\xfe\n")
    with pytest.raises(DataError, match=r"ml-100k\.user: is not utf-8"):
        read_movielens(tmp_path)
    (tmp_path / "g").mkdir()
    file = write_grouplens(tmp_path / "g") / "u.item"
    file.write_bytes(file.read_bytes().replace(b"|0|", b"|7|"))
    with pytest.raises(DataError, match=r"u\.item:1: the genre flags are"):
        read_movielens(tmp_path / "g")


@pytest.mark.skipif("RECSERVE_DATA" not in os.environ, reason="set RECSERVE_DATA to MovieLens' folder or its parent")
def test_the_real_data_set_gives_its_known_counts():
    folder = Path(os.environ["RECSERVE_DATA"])
    data = read_movielens(folder / "ml-100k" if (folder / "ml-100k").exists() else folder)
    assert (len(data.ratings), len(data.items), len(data.users)) == (100_000, 1682, 943)
    samples = data.samples()
    assert samples.label("like").sum() == 55_375
    assert np.unique(samples.groups).size == 943
