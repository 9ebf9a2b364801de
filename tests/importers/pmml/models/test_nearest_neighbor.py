"""NearestNeighborModel against a plain search of the training rows."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import ConfigError
from recserve.importers.pmml import read

FIELDS = {"a": "double", "b": "double", "color": "string red blue", "y": "double", "label": "string p q r"}
TABLE = [
    ("n1", 0.0, 0.0, "red", 10.0, "p"),
    ("n2", 1.0, 0.0, "blue", 20.0, "q"),
    ("n3", 0.0, 2.0, "red", 40.0, "q"),
    ("n4", 3.0, 3.0, "blue", 80.0, "r"),
    ("n5", 3.0, 4.0, "red", 160.0, "r"),
]
ROWS = [(0.25, 0.0), (2.5, 3.0), (1.0, 1.0), (None, 3.0), (None, None)]
OUTPUT = """<Output><OutputField name="first" feature="entityId" rank="1"/>
  <OutputField name="fourth" feature="entityId" rank="4"/><OutputField name="near" feature="affinity" rank="1"/>
    </Output>"""
FIELD = {"id": "ID", "a": "a", "b": "b", "color": "color", "y": "y", "label": "label"}


def table() -> str:
    rows = "".join(
        f"<row><id>{i}</id><a>{a}</a><b>{b}</b><c>{color}</c><y>{y}</y><l>{label}</l></row>"
        for i, a, b, color, y, label in TABLE
    )
    columns = {"ID": "id", "a": "data:a", "b": "b", "color": "c", "y": "y", "label": "l"}
    fields = "".join(f'<InstanceField field="{field}" column="{column}"/>' for field, column in columns.items())
    head = f"<TrainingInstances><InstanceFields>{fields}</InstanceFields>"
    return f"{head}<InlineTable>{rows}</InlineTable></TrainingInstances>"


def model(  # noqa: PLR0917  (what a test varies)
    schema: Any, targets: list[str], attributes: str = "", inputs: str = "a b", function: str = "mixed", local: str = ""
) -> str:
    fields = "".join(f'<KNNInput field="{name}"/>' for name in inputs.split())
    return f"""<NearestNeighborModel functionName="{function}" numberOfNeighbors="3" instanceIdVariable="ID"
      {attributes}>      {schema("a", "b", "color", targets=targets)}{OUTPUT}{local}{table()}
      <ComparisonMeasure kind="distance"><euclidean/></ComparisonMeasure><KNNInputs>{fields}</KNNInputs>
      </NearestNeighborModel>"""


def nearest(row: tuple[float | None, float | None]) -> list[tuple[float, Any]]:
    """(distance, training row), nearest first."""
    known = [i for i in (0, 1) if row[i] is not None]
    found = []
    for one in TABLE:
        total = sum((row[i] - one[1 + i]) ** 2 for i in known)  # type: ignore[operator]
        found.append((math.sqrt(total * 2 / len(known)), one))
    return sorted(found, key=lambda pair: pair[0])


def columns(rows: list[Any]) -> dict[str, list[Any]]:
    return {"a": [a for a, _ in rows], "b": [b for _, b in rows]}


@pytest.mark.parametrize("method", ["average", "median", "weightedAverage"])
def test_a_number_is_put_together_as_the_model_says(method: str, score: Any, schema: Any) -> None:
    text = model(schema, ["y"], f'continuousScoringMethod="{method}" threshold="0.01"', function="regression")
    found = score(text, FIELDS, columns(ROWS))
    for i, row in enumerate(ROWS[:-1]):
        three = nearest(row)[:3]
        weights = [1 / (0.01 + far) for far, _ in three]
        values = [one[4] for _, one in three]
        want = {
            "average": statistics.fmean(values),
            "median": statistics.median(values),
            "weightedAverage": sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights),
        }[method]
        assert found["y"][i] == pytest.approx(want)
        assert found["first"][i] == three[0][1][0]
        assert found["fourth"][i] == nearest(row)[3][1][0]
        assert found["near"][i] == pytest.approx(three[0][0])
    assert found["y"][-1] is None
    assert found["first"][-1] is None


@pytest.mark.parametrize("method", ["majorityVote", "weightedMajorityVote"])
def test_a_label_has_most_votes_ties_go_to_the_commoner_then_to_the_lesser(
    method: str, score: Any, schema: Any
) -> None:
    text = model(schema, ["label"], f'categoricalScoringMethod="{method}"', function="classification")
    found = score(text, FIELDS, columns(ROWS))
    for i, row in enumerate(ROWS[:-1]):
        votes: dict[str, float] = {}
        for far, one in nearest(row)[:3]:
            votes[one[5]] = votes.get(one[5], 0.0) + (1.0 if method == "majorityVote" else 1 / (far + 0.001))
        labels = [one[5] for one in TABLE]
        best = min(votes, key=lambda label: (-votes[label], -labels.count(label), label))
        assert found["label"][i] == best
    assert found["label"][-1] is None


def test_several_targets_are_predicted_at_once(score: Any, schema: Any) -> None:
    found = score(model(schema, ["y", "label"]), FIELDS, columns(ROWS[:1]))
    assert found["y"] == [pytest.approx((10 + 20 + 40) / 3)]
    assert found["label"] == ["q"]


def test_rows_at_no_distance_outweigh_all_others_where_there_is_no_threshold(score: Any, schema: Any) -> None:
    text = model(schema, ["y"], 'continuousScoringMethod="weightedAverage" threshold="0"', function="regression")
    found = score(text, FIELDS, columns([(1.0, 0.0), (0.5, 0.0)]))
    three = nearest((0.5, 0.0))[:3]
    want = sum(one[4] / far for far, one in three) / sum(1 / far for far, _ in three)
    assert found["y"] == [20.0, pytest.approx(want)]


def test_derived_fields_of_the_training_rows_are_computed_when_the_document_is_read(score: Any, schema: Any) -> None:
    local = """<LocalTransformations><DerivedField name="double a" dataType="double" optype="continuous">
      <Apply function="*"><FieldRef field="a"/><Constant dataType="double">2</Constant></Apply></DerivedField>
      <DerivedField name="is red" dataType="double" optype="continuous"><NormDiscrete field="color" value="red"/>
        </DerivedField>
      </LocalTransformations>"""
    fields = '<KNNInput field="double a"/><KNNInput field="is red"/>'
    text = model(schema, ["y"], function="regression", local=local)
    text = text.replace('<KNNInput field="a"/><KNNInput field="b"/>', fields)
    found = score(text, FIELDS, {"a": [1.0, 1.0], "color": ["red", "blue"]})
    for i, red in enumerate((1.0, 0.0)):
        order = sorted(TABLE, key=lambda one: math.hypot(2 * one[1] - 2, (one[3] == "red") - red))
        assert found["first"][i] == order[0][0]
        assert found["y"][i] == pytest.approx(statistics.fmean(one[4] for one in order[:3]))


def test_derived_fields_of_the_document_are_computed_for_training_rows_too(tmp_path: Path) -> None:
    """Also where the model is a segment of another."""
    declared = "".join(f'<DataField name="{name}" dataType="double" optype="continuous"/>' for name in ("a", "b", "y"))
    derived = """<TransformationDictionary><DerivedField name="sum" dataType="double" optype="continuous">
      <Apply function="+"><FieldRef field="a"/><FieldRef field="b"/></Apply></DerivedField>
      </TransformationDictionary>"""
    inputs = '<MiningField name="a"/><MiningField name="b"/>'
    mining = f'<MiningSchema>{inputs}<MiningField name="y" usageType="target"/></MiningSchema>'
    inner = model(lambda *_, **__: mining, ["y"], function="regression")
    inner = inner.replace('<KNNInput field="a"/><KNNInput field="b"/>', '<KNNInput field="sum"/>')
    outer = (
        f'<MiningModel functionName="regression">{mining}<Segmentation multipleModelMethod="modelChain">'
        f"<Segment><True/>{inner}</Segment></Segmentation></MiningModel>"
    )
    path = tmp_path / "model.pmml"
    for text in (inner, outer):
        path.write_text(
            f'<PMML version="4.4"><Header/><DataDictionary>{declared}</DataDictionary>{derived}{text}</PMML>',
            encoding="utf-8",
        )
        found = read(path).score({"a": ["1", "3"], "b": ["0.9", "3.9"]}).outputs
        assert list(found["first"]) == ["n3", "n5"]


def test_categories_compare_by_equality(score: Any, schema: Any) -> None:
    text = model(schema, ["y"], function="regression", inputs="color a")
    text = text.replace(
        '<KNNInput field="color"/>', '<KNNInput field="color" compareFunction="delta" fieldWeight="100"/>'
    )
    found = score(text, FIELDS, {"a": [0.5, 3.0, 0.5], "color": ["blue", "red", "green"]})
    assert found["first"] == ["n2", "n5", "n1"]


def test_without_targets_the_neighbours_are_the_answer(score: Any, schema: Any) -> None:
    found = score(model(schema, [], function="clustering"), FIELDS, columns(ROWS[:2]))
    assert found["first"] == ["n1", "n4"]


def test_training_rows_may_be_compared_by_similarity(score: Any, schema: Any) -> None:
    text = model(schema, ["label"], function="classification")
    text = text.replace("<euclidean/>", "<simpleMatching/>").replace('kind="distance"', 'kind="similarity"')
    for old, new in ((">2.0<", ">1<"), (">3.0<", ">1<"), (">4.0<", ">1<")):
        text = text.replace(old, new)
    found = score(text, FIELDS, columns([(1, 1), (0, 0)]))
    assert found["first"] == ["n4", "n1"]
    assert found["near"] == [1.0, 1.0]
    assert found["label"] == ["r", "q"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('numberOfNeighbors="3"', 'numberOfNeighbors="6"', "asks for 6 neighbours of 5 training rows"),
        ('instanceIdVariable="ID"', 'instanceIdVariable="X"', "takes ids from 'X'"),
        ("<a>3.0</a>", "<a></a>", "the field 'a' is missing in a training row"),
        ("<y>20.0</y>", "", "the target 'y' is missing in training row 2"),
        ('<InstanceField field="y" column="y"/>', "", "predicts 'y', which is no <InstanceField>"),
        ("<y>20.0</y>", "<y>twenty</y>", "'twenty' is no double"),
        ("<InlineTable>", "<TableLocator/><InlineTable>", "outside of the document"),
        ('<KNNInput field="a"/><KNNInput field="b"/>', "", "holds no <KNNInput>"),
    ],
)
def test_a_broken_model_is_refused_with_its_place(old: str, new: str, message: str, score: Any, schema: Any) -> None:
    with pytest.raises(ConfigError, match=r"model\.pmml:") as error:
        score(model(schema, ["y"], function="regression").replace(old, new), FIELDS, columns(ROWS))
    assert message in str(error.value)


def test_inverse_similarities_are_no_weights(score: Any, schema: Any) -> None:
    text = model(schema, ["y"], 'continuousScoringMethod="weightedAverage"', function="regression")
    text = text.replace("<euclidean/>", "<simpleMatching/>")
    with pytest.raises(ConfigError, match="weighs neighbours by the inverse of a similarity"):
        score(text, FIELDS, columns(ROWS))


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=8))
def test_the_nearest_rows_are_those_of_a_plain_search(rows: list[tuple[float, float]], tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "neighbors.pmml"
    if not path.exists():
        names = "".join(f'<MiningField name="{name}"/>' for name in ("a", "b", "color"))
        names += '<MiningField name="y" usageType="target"/>'
        declared = "".join(
            f'<DataField name="{name}" dataType="{text.split()[0]}" '
            f'optype="{"continuous" if text == "double" else "categorical"}"/>'
            for name, text in FIELDS.items()
        )
        text = model(lambda *_, **__: f"<MiningSchema>{names}</MiningSchema>", ["y"], function="regression")
        path.write_text(
            f'<PMML version="4.4"><Header/><DataDictionary>{declared}</DataDictionary>{text}</PMML>', encoding="utf-8"
        )
    found = read(path).score({"a": [a for a, _ in rows], "b": [b for _, b in rows]})
    for i, row in enumerate(rows):
        assert found.outputs["near"][i] == pytest.approx(nearest(row)[0][0], rel=1e-12, abs=1e-12)
