from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.errors import ConfigError
from recserve.staging.score import Score

OUTPUTS = {"ctr": np.array([0.25, 0.5], np.float32), "cvr": np.array([0.1, 0.2], np.float32)}


def fails(text: str | None, outputs: tuple[str, ...] = ("ctr", "cvr")) -> str:
    with pytest.raises(ConfigError) as caught:
        Score.parse(text, outputs)
    return str(caught.value)


def test_the_only_output_is_the_score() -> None:
    score = Score.parse(None, ("ctr",))
    assert score.text == "ctr"
    assert score.evaluate(OUTPUTS) is OUTPUTS["ctr"]


def test_arithmetic_follows_python() -> None:
    score = Score.parse("-ctr ** 2 + 2 * max(ctr, cvr) / 4 - sqrt(0.25)", ("ctr", "cvr"))
    expected = -(OUTPUTS["ctr"] ** 2) + 2 * np.maximum(OUTPUTS["ctr"], OUTPUTS["cvr"]) / 4 - np.sqrt(0.25)
    np.testing.assert_allclose(score.evaluate(OUTPUTS), expected, rtol=1e-6)
    assert score.names == ("ctr", "cvr")


def test_a_constant_score_has_a_row_for_each_candidate() -> None:
    np.testing.assert_array_equal(Score.parse("1", ("ctr", "cvr")).evaluate(OUTPUTS), np.ones(2, np.float32))


def test_domain_errors_follow_ieee() -> None:
    found = Score.parse("log(ctr - 1) + 1 / (cvr - cvr)", ("ctr", "cvr")).evaluate(OUTPUTS)
    assert not np.isfinite(found).any()


def test_what_is_wrong_is_said() -> None:
    assert "nothing says how to rank by them. Give an expression, such as score='ctr * cvr'" in fails(None)
    assert "'ctr * cvx' reads 'cvx', which is no output of the network. Did you mean 'cvr'?" in fails("ctr * cvx")
    assert "'ctr +' is not an expression" in fails("ctr +")
    assert "'ctr.real' is not allowed. Use outputs" in fails("ctr.real")
    assert "'ctr @ cvr' is not allowed" in fails("ctr @ cvr")
    assert "log takes 1 arguments" in fails("log(ctr, 2)")
    assert "is not allowed" in fails("__import__('os')") or "no output" in fails("__import__('os')")
    assert "'True' is not allowed" in fails("ctr * True")
    assert "'ctr * sqrt' reads 'sqrt', which is no output of the network" in fails("ctr * sqrt")


@given(st.text(max_size=40))
def test_any_text_parses_or_is_a_config_error(text: str) -> None:
    try:
        score = Score.parse(text, ("ctr", "cvr"))
    except ConfigError:
        return
    assert score.evaluate(OUTPUTS).shape == (2,)
