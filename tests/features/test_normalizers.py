from __future__ import annotations

import pytest

from recserve.errors import ConfigError
from recserve.features.normalizers import Normalizer, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("method=log10", Normalizer("log10", 1.0, 0.0)),
        ("method=log10,threshold=1e-10,default=-10", Normalizer("log10", 1e-10, -10.0)),
        ("method=zscore, mean=2, standard_deviation=-4", Normalizer("zscore", 2.0, -4.0)),
        ("method=minmax,min=2.1,max=12.1", Normalizer("minmax", 2.1, 10.0)),
        ("method=expression,expr=max(x, 1)", Normalizer("expression", expression="max(x, 1)")),
    ],
)
def test_a_normalizer_is_its_method_and_two_numbers(text: str, expected: Normalizer | None) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method=", "has no method"),
        ("threshold=1", "has no method"),
        ("method=log", "unknown normalizer method 'log'.*Did you mean 'log10'"),
        ("method=minmax", "'minmax' needs min and max"),
        ("method=zscore,mean=1", "'zscore' needs standard_deviation"),
        ("method=minmax,min=2,max=1", "min 2 is not below max 1"),
        ("method=minmax,min=1,max=1", "min 1 is not below max 1"),
        ("method=zscore,mean=0,standard_deviation=0", "standard_deviation is 0"),
        ("method=log10,threshold=-0.1", "threshold -0.1 is negative"),
        ("method=log10,treshold=1", "no parameter 'treshold'.*Did you mean 'threshold'"),
        ("method=log10,threshold=a", "'threshold' is 'a', not a number"),
        ("method=log10,threshold=nan", "'threshold' is 'nan', not a finite number"),
        ("method=expression", "unknown normalizer method 'expression'|is not `method=expression"),
        ("method=expression,expr=", "is not `method=expression,expr=...`"),
        ("method=expression,expr=y+1", "unknown variable 'y' at position 1"),
    ],
)
def test_a_bad_normalizer_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(text)
