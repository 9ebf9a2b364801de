"""ClusteringModel: the nearest centre by every measure."""

from __future__ import annotations

import math
from typing import Any

import pytest

from recserve.errors import ConfigError

FIELDS = {"a": "double", "b": "double", "c": "double"}
CENTERS = [(0.0, 1.0, 2.0), (3.0, -1.0, 0.5), (1.0, 1.0, 1.0)]
WEIGHTS = (1.0, 2.0, 0.5)
ROWS = [(0.1, 0.9, 2.5), (3.0, 0.0, None), (1.0, None, None), (None, None, None), (2.0, 1.0, 1.0)]
OUTPUT = """<Output><OutputField name="id" feature="predictedValue"/>
  <OutputField name="shown" feature="predictedDisplayValue"/>
  <OutputField name="second" feature="entityId" rank="2"/><OutputField name="far" feature="affinity" rank="2"/>
  <OutputField name="near" feature="entityAffinity"/><OutputField name="to3" feature="affinity" value="3"/></Output>"""


def model(schema: Any, measure: str, field: str = "", extra: str = "", kind: str = "distance") -> str:
    fields = "".join(
        f'<ClusteringField field="{name}" fieldWeight="{weight}" {field}/>'
        for name, weight in zip("abc", WEIGHTS, strict=True)
    )
    clusters = "".join(
        f'<Cluster name="{name}" {own}><Array type="real" n="3">{" ".join(map(str, center))}</Array></Cluster>'
        for name, own, center in zip("xyz", ["", 'id="why"', ""], CENTERS, strict=True)
    )
    return (
        f'<ClusteringModel functionName="clustering" modelClass="centerBased" numberOfClusters="3">'
        f"{schema('a', 'b', 'c')}"
        f'{OUTPUT}<ComparisonMeasure kind="{kind}">{measure}</ComparisonMeasure>'
        f"{fields}{extra}{clusters}</ClusteringModel>"
    )


def columns(rows: list[Any]) -> dict[str, list[Any]]:
    return {name: [row[i] for row in rows] for i, name in enumerate("abc")}


def far(row: Any, center: Any, measure: str, adjust: tuple[float, ...] = (1, 1, 1), scale: float | None = None) -> Any:
    """Distance by the standard's formula."""
    known = [i for i in range(3) if row[i] is not None]
    if not known:
        return None
    share = sum(adjust) / sum(adjust[i] for i in known)
    off = [abs(row[i] - center[i]) for i in known]
    if scale is not None:
        off = [math.exp(-math.log(2) * x * x / scale**2) for x in off]
    weights = [WEIGHTS[i] for i in known]
    power = {"euclidean": 2, "squaredEuclidean": 2, "minkowski": 3}.get(measure, 1)
    terms = [weight * x**power for weight, x in zip(weights, off, strict=True)]
    if measure == "chebychev":
        return max(terms) * share
    root = {"euclidean": 2, "minkowski": 3}.get(measure, 1)
    return (sum(terms) * share) ** (1 / root)


@pytest.mark.parametrize("measure", ["euclidean", "squaredEuclidean", "chebychev", "cityBlock", "minkowski"])
def test_each_distance_is_that_of_the_standard(measure: str, score: Any, schema: Any) -> None:
    attributes = ' p-parameter="3"' if measure == "minkowski" else ""
    found = score(model(schema, f"<{measure}{attributes}/>"), FIELDS, columns(ROWS))
    ids = ["1", "why", "3"]
    for i, row in enumerate(ROWS):
        distances = [far(row, center, measure) for center in CENTERS]
        if distances[0] is None:
            assert [found[name][i] for name in ("id", "second", "far", "near", "to3")] == [None] * 5
            continue
        order = sorted(range(3), key=distances.__getitem__)
        assert (found["id"][i], found["shown"][i], found["second"][i]) == (
            ids[order[0]], "xyz"[order[0]], ids[order[1]],
        )  # fmt: skip
        assert found["near"][i] == pytest.approx(distances[order[0]])
        assert found["far"][i] == pytest.approx(distances[order[1]])
        assert found["to3"][i] == pytest.approx(distances[2])


def test_missing_values_weigh_as_the_model_says(score: Any, schema: Any) -> None:
    weights = '<MissingValueWeights><Array type="real" n="3">1 2 5</Array></MissingValueWeights>'
    found = score(model(schema, "<euclidean/>", extra=weights), FIELDS, columns(ROWS[:3]))
    assert found["to3"] == [pytest.approx(far(row, CENTERS[2], "euclidean", (1, 2, 5))) for row in ROWS[:3]]


def test_fields_compare_by_a_gaussian_similarity_or_equality(score: Any, schema: Any) -> None:
    field = 'compareFunction="gaussSim" similarityScale="1.5"'
    found = score(model(schema, "<cityBlock/>", field), FIELDS, columns(ROWS[:3]))
    assert found["to3"] == [pytest.approx(far(row, CENTERS[2], "cityBlock", scale=1.5)) for row in ROWS[:3]]
    found = score(model(schema, "<cityBlock/>", 'compareFunction="delta"'), FIELDS, columns([(1.0, 1.0, 0.0)]))
    assert found["to3"] == [0.5]
    found = score(model(schema, "<cityBlock/>", 'compareFunction="equal"'), FIELDS, columns([(1.0, 1.0, 0.0)]))
    assert found["to3"] == [3.0]


def test_fields_that_are_no_part_of_the_centres_are_left_out(score: Any, schema: Any) -> None:
    extra = '<ClusteringField field="a" isCenterField="false"/>'
    found = score(model(schema, "<cityBlock/>", extra=extra), FIELDS, columns(ROWS[:1]))
    assert found["to3"] == [pytest.approx(far(ROWS[0], CENTERS[2], "cityBlock"))]


SIMILARITIES = {
    "simpleMatching": lambda a, b, c, d: (a + d) / (a + b + c + d),
    "jaccard": lambda a, b, c, _: a / (a + b + c) if a + b + c else None,
    "tanimoto": lambda a, b, c, d: (a + d) / (a + 2 * (b + c) + d),
    "binarySimilarity": lambda a, b, c, d: (1 * a + 0.5 * b + 0.25 * c + 2 * d) / (3 * a + 1 * b + 2 * c + 1 * d),
}
BINARY = " ".join(
    f'{name}-parameter="{value}"'
    for name, value in {"c11": 1, "c10": 0.5, "c01": 0.25, "c00": 2, "d11": 3, "d10": 1, "d01": 2, "d00": 1}.items()
)


@pytest.mark.parametrize("measure", SIMILARITIES)
def test_similarities_count_pairs_of_booleans_and_the_greatest_wins(measure: str, score: Any, schema: Any) -> None:
    text = model(schema, f"<{measure} {BINARY if measure == 'binarySimilarity' else ''}/>", kind="similarity")
    for center, bits in zip(CENTERS, ["1 0 0", "1 1 0", "1 1 1"], strict=True):
        text = text.replace(f">{' '.join(map(str, center))}<", f">{bits}<")
    rows = [(1, 1, 0), (0, 0, 1), (1, 0, 0), (0, 1, None), (2, 0, 0)]
    found = score(text, FIELDS, columns(rows))
    for i, row in enumerate(rows[:3]):
        alike = []
        for bits in ((1, 0, 0), (1, 1, 0), (1, 1, 1)):
            pairs = list(zip(row, bits, strict=True))
            alike.append(SIMILARITIES[measure](*(pairs.count(pair) for pair in ((1, 1), (1, 0), (0, 1), (0, 0)))))
        known = [x for x in alike if x is not None]
        assert found["near"][i] == pytest.approx(max(known))
        assert found["id"][i] == ["1", "why", "3"][alike.index(max(known))]
    assert found["id"][3] is None
    assert found["errors"] == [4]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('modelClass="centerBased"', 'modelClass="distributionBased"', "is distributionBased"),
        ('n="3">0.0 1.0 2.0', 'n="2">0.0 1.0', "has a centre of 2 values for 3 fields"),
        ("<euclidean/>", '<minkowski p-parameter="0"/>', "has the p-parameter 0"),
        ("<euclidean/>", "<Other/>", "needs a child <euclidean>"),
        ('fieldWeight="1.0"', 'compareFunction="table"', "compares by a table"),
        ('fieldWeight="1.0"', 'compareFunction="gaussSim" similarityScale="0"', "has the similarityScale 0"),
        ('id="why"', 'id="3"', "the clusters' ids are not unique"),
        ("<Cluster ", "<CenterFields/><Cluster ", "derives the fields of centres"),
        ("<Cluster ", '<MissingValueWeights><Array n="1">1</Array></MissingValueWeights><Cluster ', "holds 1 weights"),
    ],
)
def test_a_broken_model_is_refused_with_its_place(old: str, new: str, message: str, score: Any, schema: Any) -> None:
    with pytest.raises(ConfigError, match=r"model\.pmml:") as error:
        score(model(schema, "<euclidean/>").replace(old, new, 1), FIELDS, columns(ROWS))
    assert message in str(error.value)
