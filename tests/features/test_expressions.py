from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import ConfigError, DataError
from recserve.features import expressions


def calculate(text: str, **variables: float | list[float]) -> list[float]:
    values = {name: np.atleast_1d(np.array(value, np.float64)) for name, value in variables.items()}
    return expressions.evaluate(expressions.parse(text, list(variables)), values).tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2*3^2", 18.0),
        ("-2^2", -4.0),
        ("2^-1", 0.5),
        ("2^3^2", 512.0),
        ("10-4-3", 3.0),
        ("12/3/2", 2.0),
        ("1+2*3", 7.0),
        ("1 < 2 == 1", 1.0),
        ("1 | 2 & 3", 3.0),
        ("6 & 3 > 2", 0.0),
        ("0 || 1 && 0", 0.0),
        ("1 ? 2 : 0 ? 3 : 4", 2.0),
        ("0 ? 2 : 0 ? 3 : 4", 4.0),
        ("+.5e1 - (1 - 2)", 6.0),
        ("2 != 2", 0.0),
        ("5.9 & 3", 1.0),
    ],
)
def test_operators_bind_as_documented(text: str, expected: float) -> None:
    assert calculate(text) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("round(2.5)", 3.0),
        ("round(-2.5)", -3.0),
        ("round(0.49999999999999994)", 0.0),
        ("rint(2.5)", 2.0),
        ("roundp(3.14159, 2)", 3.14),
        ("mod(7, 3)", 1.0),
        ("mod(-7, 3)", -1.0),
        ("sigmoid(0)", 0.5),
        ("sign(-2)", -1.0),
        ("sign(0)", 0.0),
        ("trunc(-2.7)", -2.0),
        ("log(_e)", 1.0),
        ("ln(_e)", 1.0),
        ("log2(8)", 3.0),
        ("log10(1000)", 3.0),
        ("min(3, 1, 2)", 1.0),
        ("max(3)", 3.0),
        ("sum(1, 2, 3)", 6.0),
        ("avg(1, 2, 6)", 3.0),
        ("isnan(0/0)", 1.0),
        ("isnan(1)", 0.0),
        ("atan(0)", 0.0),
        ("acosh(1)", 0.0),
    ],
)
def test_scalar_functions(text: str, expected: float) -> None:
    assert calculate(text) == [pytest.approx(expected, rel=1e-12)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("len(v)", 4.0),
        ("l2_norm(w)", 5.0),
        ("squared_norm(w)", 25.0),
        ("dot(v, v)", 30.0),
        ("euclid_dist(w, 0)", 5.0),
        ("corr(v, v * 2 + 1)", 1.0),
        ("variance(v)", 1.25),
        ("std_dev(v)", math.sqrt(1.25)),
        ("pop_variance(v)", 5 / 3),
        ("pop_std_dev(v)", math.sqrt(5 / 3)),
        ("reduce_min(v)", 1.0),
        ("reduce_max(v)", 4.0),
        ("reduce_sum(v)", 10.0),
        ("reduce_mean(v)", 2.5),
        ("reduce_prod(v)", 24.0),
        ("reduce_sum(v) / s", 5.0),
    ],
)
def test_vector_functions_yield_one_number(text: str, expected: float) -> None:
    values = {"v": np.array([1.0, 2.0, 3.0, 4.0]), "w": np.array([3.0, 4.0]), "s": np.array([2.0])}
    result = expressions.evaluate(expressions.parse(text, list(values)), values)
    assert result.tolist() == [pytest.approx(expected, rel=1e-12)]


def test_a_scalar_pairs_with_each_element_of_a_vector() -> None:
    assert calculate("a * b + 1", a=[1, 2, 3], b=2) == [3.0, 5.0, 7.0]
    assert calculate("a > 1 ? a : 0", a=[1, 2, 3]) == [0.0, 2.0, 3.0]


def test_vectors_of_different_lengths_are_bad_data() -> None:
    with pytest.raises(DataError, match="vectors of 2 and 3 elements in one operation"):
        calculate("a + b", a=[1, 2], b=[1, 2, 3])
    with pytest.raises(DataError, match="vectors of 2 and 3 elements"):
        calculate("dot(a, b)", a=[1, 2], b=[1, 2, 3])


def test_division_by_zero_and_domain_errors_follow_ieee() -> None:
    assert calculate("1/0") == [math.inf]
    assert calculate("log(0)") == [-math.inf]
    for text in (
        "0/0",
        "sqrt(-1)",
        "asin(2)",
        "(-8)^(1/3)",
        "variance(0/0)",
        "pop_variance(1)",
        "1 & 0/0",
        "1 | 1e300",
    ):
        assert math.isnan(calculate(text)[0]), text


def test_nan_is_true_and_compares_as_unequal_only() -> None:
    assert calculate("0/0 ? 1 : 2") == [1.0]
    assert calculate("(0/0) == (0/0)") == [0.0]
    assert calculate("(0/0) != 1") == [1.0]
    assert math.isnan(calculate("min(0/0, 1)")[0])


def test_distances_are_kilometres_between_points_in_degrees() -> None:
    beijing_to_shanghai = calculate("sphere_dist(116.4074, 39.9042, 121.4737, 31.2304)")[0]
    assert beijing_to_shanghai == pytest.approx(1067, abs=2)
    assert calculate("haversine(1, 2, 1, 2)") == [0.0]
    assert calculate("haversine(0, 0, 180, 0)") == [pytest.approx(math.pi * expressions.EARTH_RADIUS_KM)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a +", "unexpected end at position 4"),
        ("a $ b", "unexpected character '\\$' at position 3"),
        ("(a", "expected '\\)' at position 3"),
        ("a ? 1", "expected ':' at position 6"),
        ("a b", "unexpected 'b' at position 3"),
        ("a * * b", "unexpected '\\*' at position 5"),
        ("", "unexpected end at position 1"),
        ("agee + a", "unknown variable 'agee' at position 1.*Did you mean 'age'"),
        ("sigmod(a)", "unknown function 'sigmod' at position 1.*Did you mean 'sigmoid'"),
        ("mod(a)", "function 'mod' takes 2 arguments, not 1 at position 1"),
        ("sqrt(a, b)", "function 'sqrt' takes 1 argument, not 2"),
        ("max()", "function 'max' takes at least 1 argument, not 0"),
        ("-" * 60 + "a", "too deeply nested"),
        ("a ? " * 60, "too deeply nested"),
        ("a" + " + a" * 300, "602 tokens is too long"),
        ("rnd()", "function 'rnd' is random at position 1.*remove it"),
        ("(" * 60 + "a" + ")" * 60, "too deeply nested at position 41"),
    ],
)
def test_an_error_names_the_position_and_the_token(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        expressions.parse(text, ["a", "b", "age"])


def test_there_are_36_scalar_functions_with_rnd_and_15_vector_functions() -> None:
    assert len(expressions.SCALAR_FUNCTIONS) + 1 == 36
    assert len(expressions.VECTOR_FUNCTIONS) == 15


def test_every_function_of_the_tables_evaluates() -> None:
    for name, count in {**expressions.SCALAR_FUNCTIONS, **expressions.VECTOR_FUNCTIONS}.items():
        assert len(calculate(f"{name}({', '.join(['x'] * (count or 3))})", x=0.5)) == 1


def test_variables_of_a_tree() -> None:
    tree = expressions.parse("a > 0 ? max(b, -c) : 2", ["a", "b", "c", "d"])
    assert expressions.variables_of(tree) == {"a", "b", "c"}


@settings(max_examples=60)
@given(
    st.recursive(
        st.integers(0, 9).map(str), lambda x: st.tuples(x, st.sampled_from("+-*"), x).map("({0[0]}{0[1]}{0[2]})".format)
    )
)
def test_arithmetic_agrees_with_python(text: str) -> None:
    assert calculate(text) == [float(eval(text))]
