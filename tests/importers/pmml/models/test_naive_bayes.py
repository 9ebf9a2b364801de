"""NaiveBayesModel against products of plain probabilities."""

from __future__ import annotations

import math
from typing import Any

import pytest

from recserve.errors import ConfigError

FIELDS = {"color": "string red blue", "size": "double", "label": "string no yes"}
COUNTS = {"red": {"no": 3.0, "yes": 8.0}, "blue": {"no": 5.0, "yes": 0.0}}
PRIOR = {"no": 8.0, "yes": 12.0}
THRESHOLD = 0.01
DISTRIBUTIONS = {
    "GaussianDistribution": ('mean="2" variance="4"', lambda x: math.exp(-((x - 2) ** 2) / 8) / math.sqrt(8 * math.pi)),
    "PoissonDistribution": (
        'mean="2.5"',
        lambda x: math.exp(-2.5) * 2.5**x / math.factorial(int(x)) if x >= 0 and x == int(x) else 0.0,
    ),
    "UniformDistribution": ('lower="1" upper="3"', lambda x: 0.5 if 1 <= x <= 3 else 0.0),
}


def pair(value: str) -> str:
    cells = "".join(f'<TargetValueCount value="{label}" count="{count}"/>' for label, count in COUNTS[value].items())
    return f'<PairCounts value="{value}"><TargetValueCounts>{cells}</TargetValueCounts></PairCounts>'


def model(schema: Any, distribution: str = "GaussianDistribution") -> str:
    prior = "".join(f'<TargetValueCount value="{label}" count="{count}"/>' for label, count in PRIOR.items())
    own = f"<{distribution} {DISTRIBUTIONS[distribution][0]}/>"
    return f"""<NaiveBayesModel functionName="classification" threshold="{THRESHOLD}">
      {schema("color", "size", targets=["label"])}
      <Output><OutputField name="p" feature="probability" value="yes" optype="continuous" dataType="double"/></Output>
      <BayesInputs><BayesInput fieldName="color">{pair("red")}{pair("blue")}</BayesInput>
        <BayesInput fieldName="size"><TargetValueStats>
          <TargetValueStat value="no"><GaussianDistribution mean="0" variance="1"/></TargetValueStat>
          <TargetValueStat value="yes">{own}</TargetValueStat></TargetValueStats></BayesInput></BayesInputs>
      <BayesOutput fieldName="label"><TargetValueCounts>{prior}</TargetValueCounts></BayesOutput></NaiveBayesModel>"""


def chance(color: str | None, size: float | None, distribution: str) -> float:
    """Probability of `yes`."""
    products = dict(PRIOR)
    for label in products:
        if color in COUNTS:
            total = sum(counts[label] for counts in COUNTS.values())
            products[label] *= COUNTS[color][label] / total or THRESHOLD
        if size is not None:
            normal = math.exp(-size * size / 2) / math.sqrt(2 * math.pi)
            density = normal if label == "no" else DISTRIBUTIONS[distribution][1](size)
            products[label] *= max(density, THRESHOLD)
    return products["yes"] / sum(products.values())


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_likelihoods_multiply_and_missing_or_unlisted_inputs_say_nothing(
    distribution: str, score: Any, schema: Any
) -> None:
    rows = [("red", 1.0), ("blue", 2.0), ("blue", None), (None, 3.0), (None, None), ("green", 0.0), ("red", 90.0)]
    rows += [("red", 0.5), ("red", -1.0)]
    found = score(model(schema, distribution), FIELDS, {"color": [c for c, _ in rows], "size": [s for _, s in rows]})
    want = [chance(color, size, distribution) for color, size in rows]
    assert found["p"] == [pytest.approx(p, rel=1e-9) for p in want]
    assert found["label"] == ["yes" if p > 0.5 else "no" for p in want]


def test_an_input_may_be_discretized_first(score: Any, schema: Any) -> None:
    derived = """<DerivedField name="bin" optype="categorical" dataType="string"><Discretize field="size">
      <DiscretizeBin binValue="red"><Interval closure="openClosed" rightMargin="1"/></DiscretizeBin>
      <DiscretizeBin binValue="blue"><Interval closure="openOpen" leftMargin="1"/></DiscretizeBin></Discretize>
        </DerivedField>"""
    text = model(schema)
    start, end = text.index('<BayesInput fieldName="size">'), text.index("</BayesInputs>")
    own = f'<BayesInput fieldName="size">{derived}{pair("red")}{pair("blue")}</BayesInput>'
    found = score(text[:start] + own + text[end:], FIELDS, {"color": [None, None], "size": [0.0, 5.0]})
    assert found["p"] == [pytest.approx(chance("red", None, "")), pytest.approx(chance("blue", None, ""))]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('variance="4"', 'variance="0"', "has the variance 0"),
        ('<GaussianDistribution mean="2" variance="4"/>', '<AnyDistribution mean="2" variance="4"/>', "but no density"),
        ('<GaussianDistribution mean="2" variance="4"/>', '<PoissonDistribution mean="0"/>', "has the mean 0"),
        (
            '<GaussianDistribution mean="2" variance="4"/>',
            '<UniformDistribution lower="2" upper="1"/>',
            "lies between 2",
        ),
        ('<TargetValueStat value="no">', '<TargetValueStat value="maybe">', "has the label 'maybe'"),
        ('count="12.0"', 'count="-1"', "needs counts of zero or more"),
    ],
)
def test_a_broken_model_is_refused_with_its_place(old: str, new: str, message: str, score: Any, schema: Any) -> None:
    with pytest.raises(ConfigError, match=r"model\.pmml:") as error:
        score(model(schema).replace(old, new), FIELDS, {"color": ["red"], "size": [1.0]})
    assert message in str(error.value)
