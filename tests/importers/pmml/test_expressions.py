# ruff: noqa: E501  (documents are easier to read in one line)
from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recserve.errors import ConfigError

Build = Any
NAN = math.nan


def derived(expression: str, kind: str = "double") -> str:
    return f'<DerivedField name="d" optype="continuous" dataType="{kind}">{expression}</DerivedField>'


def run(model: Any, **columns: Any) -> list[float]:
    found = model.score(columns).outputs["y"].tolist()
    assert found == pytest.approx(model.score(columns, reference=True).outputs["y"].tolist(), nan_ok=True)
    return list(found)


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=5, unique_by=lambda p: p[0]),
    st.sampled_from(("asIs", "asMissingValues", "asExtremeValues")),
)
def test_norm_continuous_is_linear_between_its_points(
    regression: Build, points: list[tuple[int, int]], outliers: str
) -> None:
    points = sorted(points)
    xs = [-7.0, *[x + 0.25 for x, _ in points], 7.0]

    def twin(x: float) -> float:
        if not points[0][0] <= x <= points[-1][0]:
            if outliers == "asMissingValues":
                return NAN
            if outliers == "asExtremeValues":
                return float(points[0][1] if x < points[0][0] else points[-1][1])
        place = max([i for i, (at, _) in enumerate(points[:-1]) if at <= x], default=0)
        (x0, y0), (x1, y1) = points[place], points[place + 1]
        return y0 + (x - x0) / (x1 - x0) * (y1 - y0)

    inner = "".join(f'<LinearNorm orig="{x}" norm="{y}"/>' for x, y in points)
    model = regression(derived(f'<NormContinuous field="x" outliers="{outliers}">{inner}</NormContinuous>'), "d")
    assert run(model, x=xs) == pytest.approx([twin(x) for x in xs], nan_ok=True)


def test_norm_continuous_maps_missing_values(regression: Build) -> None:
    inner = '<LinearNorm orig="0" norm="0"/><LinearNorm orig="1" norm="2"/>'
    model = regression(derived(f'<NormContinuous field="x" mapMissingTo="9">{inner}</NormContinuous>'), "d")
    assert run(model, x=[0.5, None]) == [1.0, 9.0]


def test_norm_discrete_is_an_indicator(regression: Build) -> None:
    model = regression(derived('<NormDiscrete field="k" value="a" mapMissingTo="0.5"/>'), "d")
    assert run(model, k=["a", "b", None]) == [1.0, 0.0, 0.5]


def test_discretize_takes_the_bin(regression: Build) -> None:
    bins = '<DiscretizeBin binValue="1"><Interval closure="openClosed" rightMargin="0"/></DiscretizeBin>'
    bins += (
        '<DiscretizeBin binValue="2"><Interval closure="openClosed" leftMargin="0" rightMargin="5"/></DiscretizeBin>'
    )
    model = regression(derived(f'<Discretize field="x" defaultValue="3" mapMissingTo="4">{bins}</Discretize>'), "d")
    assert run(model, x=[0, 5, 6, None]) == [1.0, 2.0, 3.0, 4.0]


def test_map_values_keys_on_several_columns(regression: Build) -> None:
    rows = "".join(
        f"<row><p:a xmlns:p='u'>{a}</p:a><b>{b}</b><o>{o}</o></row>" for a, b, o in [("u", 1, 10), ("v", 1, 20)]
    )
    pairs = '<FieldColumnPair field="k" column="p:a"/><FieldColumnPair field="x" column="b"/>'
    text = f'<MapValues outputColumn="o" defaultValue="-1" mapMissingTo="-2">{pairs}<InlineTable>{rows}</InlineTable></MapValues>'
    assert run(regression(derived(text), "d"), k=["u", "v", "v", None], x=[1, 1, 2, 1]) == [10.0, 20.0, -1.0, -2.0]


def test_constants_take_the_type_that_they_look_like(regression: Build) -> None:
    assert run(regression(derived("<Constant>1.5</Constant>"), "d"), x=[0]) == [1.5]
    assert math.isnan(run(regression(derived('<Constant missing="true"/>'), "d"), x=[0])[0])
    assert run(regression(derived('<FieldRef field="x" mapMissingTo="3"/>'), "d"), x=[None]) == [3.0]


def test_texts_are_counted(regression: Build) -> None:
    inner = '<TextIndex textField="k"><Constant dataType="string">b c</Constant></TextIndex>'
    assert run(regression(derived(inner), "d"), k=["a b c, B C!", "c b", None])[:2] == [2.0, 0.0]


@pytest.mark.parametrize("tag", ["Aggregate", "Lag"])
def test_expressions_over_many_records_are_unsupported(regression: Build, tag: str) -> None:
    with pytest.raises(ConfigError, match="a row here is one record") as caught:
        regression(derived(f'<{tag} field="x" function="sum"/>'), "d")
    assert caught.value.code == "unsupported_element"


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ('<NormContinuous field="x"><LinearNorm orig="0" norm="0"/></NormContinuous>', "has 1 LinearNorm"),
        ('<FieldRef field="d"/>', "the field 'd' is derived from itself"),
        ('<MapValues outputColumn="o"><InlineTable/></MapValues>', "needs a FieldColumnPair at least"),
        ('<Constant dataType="double">x</Constant>', "'x' is no double"),
        ('<Constant dataType="int">1</Constant>', "the data type is 'int'"),
    ],
)
def test_wrong_expressions_are_refused(regression: Build, expression: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        regression(derived(expression), "d")
    assert problem in str(caught.value)
