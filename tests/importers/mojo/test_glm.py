from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.importers import read

Make = Callable[..., Path]
BASE = {
    "algo": "glm",
    "family": "gaussian",
    "link": "identity",
    "cats": 1,
    "cat_offsets": [0, 2],
    "cat_modes": [1],
    "nums": 2,
    "num_means": [0.5, -1.0],
    "mean_imputation": True,
    "beta": [10.0, 20.0, 1.0, 2.0, 100.0],
}
COLUMNS = ["city", "a", "b", "y"]
CITY = ["x", "y", "z"]
ROWS: dict[str, list[Any]] = {"city": ["x", "y", "z", None, "new"], "a": [1, 2, None, 4, 5], "b": [1, None, 3, 4, 5]}


def eta(city: Any, a: Any, b: Any, beta: list[float], first: int) -> float:
    code = CITY.index(city) if city in CITY else 1
    levels = beta[: len(beta) - 3]
    place = code - first
    total = levels[place] if 0 <= place < len(levels) else 0.0
    return total + beta[-3] * (0.5 if a is None else a) + beta[-2] * (-1.0 if b is None else b) + beta[-1]


def expected(beta: list[float], first: int = 1) -> list[float]:
    return [eta(*row, beta, first) for row in zip(*ROWS.values(), strict=True)]


def score(make_mojo: Make, labels: list[str] | None = None, **extra: Any) -> dict[str, Any]:
    domains = {0: CITY} | ({3: labels} if labels else {})
    scores = read(make_mojo(BASE | extra, COLUMNS, domains)).score(ROWS)
    assert not scores.errors
    return scores.outputs


def test_levels_numbers_and_means_make_the_linear_score(make_mojo: Make) -> None:
    np.testing.assert_allclose(score(make_mojo)["predict"], expected(BASE["beta"]))
    beta = [5.0, 10.0, 20.0, 1.0, 2.0, 100.0]
    found = score(make_mojo, use_all_factor_levels=True, cat_offsets=[0, 3], beta=beta)["predict"]
    np.testing.assert_allclose(found, expected(beta, 0))


SMALL = [0.1, 0.2, 0.1, -0.1, 0.3]


@pytest.mark.parametrize(
    ("link", "inverse"),
    [
        ("logit", lambda x: 1 / (math.exp(-x) + 1)),
        ("log", math.exp),
        ("inverse", lambda x: 1 / (min(-1e-5, x) if x < 0 else max(1e-5, x))),
        ("tweedie", lambda x: x ** (1 / 0.5)),
    ],
)
def test_each_link_is_inverted(link: str, inverse: Callable[[float], float], make_mojo: Make) -> None:
    found = score(make_mojo, link=link, beta=SMALL, tweedie_link_power=0.5)["predict"]
    np.testing.assert_allclose(found, [inverse(x) for x in expected(SMALL)], rtol=1e-14)


def test_a_tweedie_power_of_zero_is_a_bounded_log(make_mojo: Make) -> None:
    beta = [0.0, 0.0, 0.0, 0.0, -800.0]
    assert score(make_mojo, link="tweedie", beta=beta, tweedie_link_power=0.0)["predict"].tolist() == [2e-16] * 5


def test_two_classes_have_a_label_by_the_threshold(make_mojo: Make) -> None:
    classes = {"category": "Binomial", "family": "binomial", "link": "logit", "n_classes": 2, "default_threshold": 0.6}
    found = score(make_mojo, ["no", "yes"], beta=SMALL, **classes)
    means = [1 / (1 + math.exp(-x)) for x in expected(SMALL)]
    np.testing.assert_allclose(found["yes"], means)
    assert list(found["predict"]) == ["yes" if mean >= 0.6 else "no" for mean in means]


def test_quasibinomial_classes_without_a_domain_are_0_and_1(make_mojo: Make) -> None:
    classes = {"category": "Binomial", "family": "quasibinomial", "link": "logit", "n_classes": 2}
    assert list(score(make_mojo, beta=SMALL, **classes)) == ["predict", "0", "1"]


def test_many_classes_share_by_softmax(make_mojo: Make) -> None:
    classes = {"category": "Multinomial", "family": "multinomial", "n_classes": 3}
    tables = [SMALL, [2 * x for x in SMALL], [-x for x in SMALL]]
    found = score(make_mojo, ["a", "b", "c"], beta=[x for table in tables for x in table], **classes)
    powers = np.exp(np.array([expected(table) for table in tables]))
    np.testing.assert_allclose([found[name] for name in "abc"], powers / powers.sum(axis=0))


def test_ordinal_classes_are_differences_of_sigmoids(make_mojo: Make) -> None:
    classes = {"category": "Ordinal", "family": "ordinal", "n_classes": 3}
    tables = [SMALL, [*SMALL[:-1], 1.5], [0.0] * 5]
    found = score(make_mojo, ["0", "1", "2"], beta=[x for table in tables for x in table], **classes)
    low, high = (1 / (1 + np.exp(-np.array(expected(table)))) for table in tables[:2])
    np.testing.assert_allclose([found["p0"], found["p1"], found["p2"]], [low, high - low, 1 - high])


def test_without_imputation_a_missing_level_fails_its_row(make_mojo: Make) -> None:
    model = read(make_mojo(BASE | {"mean_imputation": False}, COLUMNS, {0: CITY}))
    assert set(model.score(ROWS).errors) == {3, 4}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"cat_offsets": [2, 0]}, r"cat_offsets: is \[2, 0\]"),
        ({"beta": [1.0]}, "has 1 coefficients for 2 levels"),
        ({"family": "multinomial", "n_classes": 3}, "has 5 coefficients for 3 classes"),
        ({"num_means": [1.0] * 9}, "fills 10 of 3 columns"),
        ({"link": "probit"}, "the link 'probit' is unknown"),
    ],
)
def test_contradictions_are_refused(extra: dict[str, Any], message: str, make_mojo: Make) -> None:
    with pytest.raises(ConfigError, match=message):
        read(make_mojo(BASE | extra, COLUMNS, {0: CITY}))


def test_a_column_without_a_mean_stays_missing(make_mojo: Make) -> None:
    found = score(make_mojo, num_means=[0.5, "NaN"])["predict"]
    assert np.isnan(found).tolist() == [False, True, False, False, False]
