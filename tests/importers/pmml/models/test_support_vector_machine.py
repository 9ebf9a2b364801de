"""SupportVectorMachineModel against plain Python kernels and the standard's rules for labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from recserve.errors import ConfigError

FIELDS = {"a": "double", "b": "double", "kind": "string u v", "y": "double", "label": "string p q r"}
VECTORS = {"v1": (1.0, 0.0), "v2": (0.0, -2.0), "v3": (0.5, 1.0)}
MACHINES = [((0.5, -1.0, 0.0), 0.25), ((-1.0, 0.75, 0.5), -0.5), ((0.0, 0.0, 2.0), 0.0)]
KERNELS: dict[str, tuple[str, Callable[[float, float], float]]] = {
    "LinearKernelType": ("", lambda dot, _: dot),
    "PolynomialKernelType": ('gamma="0.5" coef0="1" degree="3"', lambda dot, _: (0.5 * dot + 1) ** 3),
    "RadialBasisKernelType": ('gamma="0.5"', lambda _, far: math.exp(-0.5 * far)),
    "SigmoidKernelType": ('gamma="0.5" coef0="0.25"', lambda dot, _: math.tanh(0.5 * dot + 0.25)),
}
ROWS = [(1.0, 2.0), (-1.0, 0.5), (0.0, 0.0), (2.0, -2.0)]
DICTIONARY = """<VectorDictionary><VectorFields numberOfFields="2"><FieldRef field="a"/><FieldRef field="b"/>
  </VectorFields>
  <VectorInstance id="v1"><REAL-SparseArray n="2"><Indices>1</Indices><REAL-Entries>1</REAL-Entries></REAL-SparseArray>
  </VectorInstance><VectorInstance id="v2"><Array type="real" n="2">0 -2</Array></VectorInstance>
  <VectorInstance id="v3"><Array type="real" n="2">0.5 1</Array></VectorInstance></VectorDictionary>"""


def machine(number: int, labels: str = "") -> str:
    weights, intercept = MACHINES[number]
    vectors = "".join(f'<SupportVector vectorId="{id_}"/>' for id_ in VECTORS)
    values = "".join(f'<Coefficient value="{weight}"/>' for weight in weights)
    return (
        f"<SupportVectorMachine {labels}><SupportVectors>{vectors}</SupportVectors>"
        f'<Coefficients absoluteValue="{intercept}">{values}</Coefficients></SupportVectorMachine>'
    )


def model(schema: Any, machines: Sequence[str], attributes: str, kernel: str = "RadialBasisKernelType") -> str:
    target = "y" if "regression" in attributes else "label"
    return (
        f"<SupportVectorMachineModel {attributes}>{schema('a', 'b', 'kind', targets=[target])}"
        f"<{kernel} {KERNELS[kernel][0]}/>{DICTIONARY}{''.join(machines)}</SupportVectorMachineModel>"
    )


def value(number: int, row: tuple[float, float], kernel: str = "RadialBasisKernelType") -> float:
    weights, intercept = MACHINES[number]
    total = intercept
    for weight, vector in zip(weights, VECTORS.values(), strict=True):
        dot = sum(x * v for x, v in zip(row, vector, strict=True))
        far = sum((x - v) ** 2 for x, v in zip(row, vector, strict=True))
        total += weight * KERNELS[kernel][1](dot, far)
    return total


def columns() -> dict[str, list[float]]:
    return {"a": [a for a, _ in ROWS], "b": [b for _, b in ROWS]}


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_regression_is_the_sum_of_kernels(kernel: str, score: Any, schema: Any) -> None:
    found = score(model(schema, [machine(0)], 'functionName="regression"', kernel), FIELDS, columns())
    assert found["y"] == [pytest.approx(value(0, row, kernel)) for row in ROWS]


def test_a_missing_field_makes_the_answer_missing(score: Any, schema: Any) -> None:
    found = score(model(schema, [machine(0)], 'functionName="regression"'), FIELDS, {"a": [1.0], "b": [None]})
    assert found["y"] == [None]


@pytest.mark.parametrize("max_wins", ["false", "true"])
def test_one_against_all_takes_the_least_value_or_the_greatest(max_wins: str, score: Any, schema: Any) -> None:
    machines = [machine(i, f'targetCategory="{label}"') for i, label in enumerate("pqr")]
    attributes = f'functionName="classification" classificationMethod="OneAgainstAll" maxWins="{max_wins}"'
    found = score(model(schema, machines, attributes), FIELDS, columns())
    choose = max if max_wins == "true" else min
    assert found["label"] == [choose("pqr", key=lambda one: value("pqr".index(one), row)) for row in ROWS]


@pytest.mark.parametrize("max_wins", ["false", "true"])
def test_one_against_one_counts_votes_by_threshold(max_wins: str, score: Any, schema: Any) -> None:
    duels = [("p", "q", 0.0), ("p", "r", 0.4), ("q", "r", 0.4)]
    machines = [
        machine(i, f'targetCategory="{a}" alternateTargetCategory="{b}"' + ('' if t == 0.4 else f' threshold="{t}"'))
        for i, (a, b, t) in enumerate(duels)
    ]  # fmt: skip
    attributes = (
        f'functionName="classification" classificationMethod="OneAgainstOne" threshold="0.4" maxWins="{max_wins}"'
    )
    output = '<Output><OutputField name="p(q)" feature="probability" value="q" dataType="double"/></Output><Radial'
    text = model(schema, machines, attributes).replace("<Radial", output, 1)
    found = score(text, FIELDS, columns())
    for i, row in enumerate(ROWS):
        votes: list[str] = []
        for j, (a, b, threshold) in enumerate(duels):
            is_first = value(j, row) > threshold if max_wins == "true" else value(j, row) < threshold
            votes.append(a if is_first else b)
        assert found["label"][i] == max(votes, key=votes.count)
        assert found["p(q)"][i] == pytest.approx(votes.count("q") / 3)


def test_a_single_machine_decides_between_its_two_labels(score: Any, schema: Any) -> None:
    both = 'targetCategory="p" alternateTargetCategory="q"'
    found = score(model(schema, [machine(1, both)], 'functionName="classification"'), FIELDS, columns())
    assert found["label"] == ["p" if value(1, row) < 0 else "q" for row in ROWS]


def test_the_other_label_of_two_need_not_be_named(score: Any, schema: Any) -> None:
    text = model(schema, [machine(1, 'targetCategory="p"')], 'functionName="classification"')
    found = score(text, {**FIELDS, "label": "string p q"}, columns())
    assert found["label"] == ["p" if value(1, row) < 0 else "q" for row in ROWS]
    with pytest.raises(ConfigError, match="decides between two labels and names one"):
        score(text, FIELDS, columns())


def test_the_alternate_binary_category_goes_by_the_rounded_value(score: Any, schema: Any) -> None:
    attributes = 'functionName="classification" classificationMethod="OneAgainstOne" alternateBinaryTargetCategory="q"'
    found = score(model(schema, [machine(2, 'targetCategory="p"')], attributes), FIELDS, {"a": [0.5, 9], "b": [0, 9]})
    assert found["label"] == ["p", "q"]
    assert found["errors"] == []
    found = score(model(schema, [machine(2, 'targetCategory="p"')], attributes), FIELDS, {"a": [0.5], "b": [1]})
    assert found["errors"] == [0]


def test_coefficients_give_a_hyperplane_and_categories_are_zero_or_one(score: Any, schema: Any) -> None:
    text = f"""<SupportVectorMachineModel functionName="regression" svmRepresentation="Coefficients">
      {schema("a", "b", "kind", targets=["y"])}<LinearKernelType/><VectorDictionary><VectorFields><FieldRef field="a"/>
      <CategoricalPredictor name="kind" value="v" coefficient="2"/></VectorFields></VectorDictionary>
      <SupportVectorMachine><Coefficients absoluteValue="-1"><Coefficient value="0.5"/><Coefficient value="3"/>
      </Coefficients></SupportVectorMachine></SupportVectorMachineModel>"""
    found = score(text, FIELDS, {"a": [4, 4, 4], "kind": ["u", "v", None]})
    assert found["y"] == [1.0, 7.0, None]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('vectorId="v3"', 'vectorId="v9"', "names the vector 'v9'"),
        ('<Coefficient value="-1.0"/>', "", "holds 2 coefficients for 3 vectors"),
        ('id="v3"', 'id="v2"', "has the id 'v2' of another vector"),
        ('n="2">0.5 1<', 'n="1">0.5<', "has 1 values for 2 fields"),
        ('functionName="regression"', 'functionName="regression" svmRepresentation="Coefficients"', "not linear"),
        ("<SupportVectorMachine >", "<Other>", None),
        ('<RadialBasisKernelType gamma="0.5"/>', "<Other/>", "needs a child <LinearKernelType>"),
    ],
)
def test_a_broken_machine_is_refused_with_its_place(
    old: str, new: str, message: str | None, score: Any, schema: Any
) -> None:
    text = model(schema, [machine(0)], 'functionName="regression"')
    if message is None:
        text = text[: text.index("<SupportVectorMachine >")] + "</SupportVectorMachineModel>"
        message = "holds no <SupportVectorMachine>"
    with pytest.raises(ConfigError, match=r"model\.pmml:") as error:
        score(text.replace(old, new), FIELDS, columns())
    assert message in str(error.value)
