import io

import numpy as np
import orjson
import pytest
from rich.console import Console

from recserve.bundle import Bundle
from recserve.demo.movielens import GENRES
from recserve.demo.options import DemoOptions
from recserve.demo.run import run_demo
from recserve.errors import ConfigError, DataError
from recserve.samples.records import read_records

STEPS = ["features", "train", "judge", "bundle", "serve", "rank", "loop"]


def run(options):
    console = Console(width=120, record=True, file=io.StringIO())
    return run_demo(options, console), console.export_text()


def write_movielens(folder, users=30, items=60, per_user=40):
    """Users of even number like films of even number, at shuffled times."""
    rng = np.random.default_rng(0)
    lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    for user in range(users):
        for item in rng.permutation(items)[:per_user].tolist():
            rating = (4 if (user + item) % 2 == 0 else 2) + int(rng.integers(0, 2))
            lines.append(f"{user}\t{item}\t{rating}\t{rng.integers(1, 10_000)}")
    genres = [GENRES[1 + item % 2] for item in range(items)]
    films = ["item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"]
    films += [f"{item}\tFilm {item}\t{1990 + item % 5}\t{genre}" for item, genre in enumerate(genres)]
    people = ["user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token"]
    people += [f"{user}\t{20 + user}\tF\tother\t1" for user in range(users)]
    for name, rows in (("inter", lines), ("item", films), ("user", people)):
        (folder / f"ml-100k.{name}").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """(folder, report, text) of the demo on the shop with seed 1."""
    folder = tmp_path_factory.mktemp("shop")
    return folder, *run(
        DemoOptions(out=folder / "out", quick=True, serve=False, seed=1, json_file=folder / "report.json")
    )


@pytest.mark.slow
def test_the_shop_goes_from_logs_to_a_ranked_request_and_back(shop):
    folder, report, text = shop
    assert [step.name for step in report.steps] == ["shop", "join", *STEPS]
    assert not report.loop.differing
    assert report.loop.values > 100
    assert (report.loop.records, report.loop.samples, report.loop.positives) == (15, 10, 1)
    assert report.loop.score_gap < 1e-5
    scores = [item.score for item in report.live]
    assert scores == sorted(scores, reverse=True)
    assert report.top is not None
    assert report.top.rates["truth"] >= max(report.top.rates.values())
    assert report.quality_of("truth").gauc > report.quality_of("popularity").gauc
    for phrase in ("The live request", "candidate_network", "The loop closes", "bit for bit", "together"):
        assert phrase in text
    assert orjson.loads((folder / "report.json").read_bytes())["data"] == "shop"
    assert Bundle.open(folder / "out" / "models" / "shop" / "1").name == "shop"
    assert len(read_records(folder / "out" / "records")) == 240


@pytest.mark.slow
def test_the_same_seed_gives_the_same_figures_and_another_seed_others(shop, tmp_path):
    def figures(report):
        return report.quality, report.top, report.live

    again, other = (
        run(DemoOptions(out=tmp_path / str(seed), quick=True, serve=False, seed=seed))[0] for seed in (1, 2)
    )
    assert figures(again) == figures(shop[1])
    assert figures(other) != figures(again)


@pytest.mark.slow
def test_movielens_goes_the_same_way_and_shows_titles(tmp_path):
    (tmp_path / "ml").mkdir()
    data = write_movielens(tmp_path / "ml")
    report, text = run(DemoOptions(data=data, out=tmp_path / "out", quick=True, serve=False))
    assert [step.name for step in report.steps] == ["ratings", "samples", *STEPS]
    assert [row.name for row in report.quality] == ["DIN", "popularity"]
    assert report.top is None
    assert "Film " in text
    assert not report.loop.differing
    assert report.loop.positives == 1


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"is not an empty folder\. Give a new folder with --out"):
        DemoOptions(out=tmp_path)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="cannot be made: Not a directory"):
        run(DemoOptions(out=tmp_path / "file" / "out", quick=True))


def test_a_folder_without_movielens_is_an_error(tmp_path):
    with pytest.raises(DataError, match="holds no MovieLens 100K"):
        run(DemoOptions(data=tmp_path, out=tmp_path / "out", quick=True))
