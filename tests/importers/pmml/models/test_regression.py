# ruff: noqa: E501  (documents are easier to read in one line)
"""Regression models: normalisations against plain Python, and what a document must not say."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recserve.errors import ConfigError

Build = Any
FIELDS = (
    '<DataField name="a" optype="continuous" dataType="double"/><DataField name="k" optype="categorical" dataType="string"/>'
    '<DataField name="y" optype="{optype}" dataType="{type}"/>'
)
CLASSES, NUMBER = FIELDS.format(optype="categorical", type="string"), FIELDS.format(optype="continuous", type="double")
ORDERED = CLASSES.replace('name="y" optype="categorical"', 'name="y" optype="ordinal"')
SCHEMA = '<MiningSchema><MiningField name="y" usageType="target"/><MiningField name="a"/><MiningField name="k"/></MiningSchema>'
INVERSE = {
    "logit": lambda x: 1 / (1 + math.exp(-x)),
    "probit": lambda x: 0.5 * math.erfc(-x / math.sqrt(2)),
    "cloglog": lambda x: 1 - math.exp(-math.exp(x)),
    "loglog": lambda x: math.exp(-math.exp(-x)),
    "cauchit": lambda x: 0.5 + math.atan(x) / math.pi,
}


def twin(method: str, ordinal: bool, sums: list[float]) -> list[float]:
    if ordinal and len(sums) > 2 and method not in ("softmax", "simplemax"):
        steps = [min(max(x, 0.0), 1.0) if method == "none" else INVERSE[method](x) for x in sums[:-1]]
        return [steps[0], *[b - a for a, b in itertools.pairwise(steps)], 1 - steps[-1]]
    if method == "softmax":
        powers = [math.exp(x - max(sums)) for x in sums]
        return [power / sum(powers) for power in powers]
    if method == "simplemax":
        return [x / sum(sums) for x in sums]
    if len(sums) == 2:
        first = min(max(sums[0], 0.0), 1.0) if method == "none" else INVERSE[method](sums[0])
        return [first, 1 - first]
    if method == "none":
        return [*sums[:-1], 1 - sum(sums[:-1])]
    values = [INVERSE[method](x) for x in sums]
    return [value / sum(values) for value in values]


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["none", "softmax", "simplemax", *INVERSE]),
    st.booleans(),
    st.lists(st.floats(0.0625, 4.0), min_size=2, max_size=4),
)
def test_normalisations_give_what_plain_python_gives(
    document: Build, method: str, ordinal: bool, sums: list[float]
) -> None:
    tables = "".join(f'<RegressionTable intercept="{x!r}" targetCategory="c{i}"/>' for i, x in enumerate(sums))
    output = "".join(f'<OutputField name="p{i}" feature="probability" value="c{i}"/>' for i in range(len(sums)))
    model = document(
        f'<RegressionModel functionName="classification" normalizationMethod="{method}">{SCHEMA}'
        f"<Output>{output}</Output>{tables}</RegressionModel>",
        fields=ORDERED if ordinal else CLASSES,
    )
    expected = twin(method, ordinal, sums)
    for reference in (True, False):
        found = model.score({"a": [1]}, reference=reference).outputs
        assert [found[f"p{i}"][0] for i in range(len(sums))] == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_terms_have_exponents_products_and_categories(document: Build) -> None:
    table = (
        '<RegressionTable intercept="1"><NumericPredictor name="a" exponent="2" coefficient="3"/>'
        '<CategoricalPredictor name="k" value="v" coefficient="10"/>'
        '<PredictorTerm coefficient="2"><FieldRef field="a"/><FieldRef field="a"/></PredictorTerm></RegressionTable>'
    )
    model = document(f'<RegressionModel functionName="regression">{SCHEMA}{table}</RegressionModel>', fields=NUMBER)
    found = model.score({"a": [2, 2, 2, None], "k": ["v", "w", None, "v"]}).outputs["y"]
    assert found.tolist()[:3] == [31.0, 21.0, 21.0]
    assert math.isnan(found[3])


@pytest.mark.parametrize(
    ("function", "method", "tables", "problem"),
    [
        ("regression", "none", "", "has no RegressionTable"),
        ("regression", "none", "<RegressionTable intercept='1'/>" * 2, "a regression has one RegressionTable"),
        ("regression", "simplemax", "<RegressionTable intercept='1'/>", "which a regression cannot have"),
        (
            "classification",
            "none",
            "<RegressionTable intercept='1' targetCategory='a'/>",
            "two RegressionTables at least",
        ),
        (
            "classification",
            "none",
            "<RegressionTable intercept='1' targetCategory='a'/>" * 2,
            "the same targetCategory",
        ),
        (
            "classification",
            "exp",
            "<RegressionTable intercept='1' targetCategory='a'/><RegressionTable intercept='1' targetCategory='b'/>",
            "which a classification cannot have",
        ),
        ("regression", "soft", "<RegressionTable intercept='1'/>", "Did you mean 'softmax'?"),
    ],
)
def test_contradictory_models_are_refused(
    document: Build, function: str, method: str, tables: str, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        document(
            f'<RegressionModel functionName="{function}" normalizationMethod="{method}">{SCHEMA}{tables}</RegressionModel>',
            fields=CLASSES if function == "classification" else NUMBER,
        )
    assert problem in str(caught.value)
    assert caught.value.code == "invalid_document"
