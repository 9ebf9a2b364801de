"""MLeap bundles: every op against its rule, in JSON and in protobuf, zipped and not."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import bundle_files as files
import numpy as np
import pytest
from bundle_files import LEAF, Node, assemble, categorical, listed, scalar, score, shapes, stump, tensor

from recserve.importers import read

IN, OUT = {"input": "v"}, {"output": "o"}
PREDICT = {"prediction": "p"}
A, B = [0.5, 2.0], [3.0, -1.0]
FEATURES = {"features": "v"}
TWO_TREES = {
    "tree0": {"op": "decision_tree_regression", "lines": stump([1.0], [2.0])},
    "tree1": {"op": "decision_tree_regression", "lines": [{**LEAF, "values": [10.0]}]},
}
TWO_VOTES = {
    "tree0": {"op": "decision_tree_classifier", "lines": stump([3.0, 1.0], [0.0, 2.0])},
    "tree1": {"op": "decision_tree_classifier", "lines": [{**LEAF, "values": [1.0, 1.0]}]},
}
NAMES = listed("string", ["tree0", "tree1"])
SIGMOID = [1 / (1 + math.exp(-m)) for m in (1.0 * 0.5 + 2.0 * 3.0 - 5.0, 1.0 * 2.0 - 2.0 - 5.0)]

# op: (node, wanted output `o` or `p`), of the vector (a, b) with rows (0.5, 3) and (2, -1)
CASES: dict[str, tuple[Any, Any]] = {
    "standard_scaler": (
        Node("standard_scaler", IN, OUT, mean=tensor([0.5, 1.0]), std=tensor([0.5, 0.0])),
        [[0.0, 0.0], [3.0, 0.0]],
    ),
    "min_max_scaler": (
        Node("min_max_scaler", IN, OUT, min=tensor([0.0, 1.0]), max=tensor([2.0, 1.0])),
        [[0.25, 0.5], [1.0, 0.5]],
    ),
    "max_abs_scaler": (Node("max_abs_scaler", IN, OUT, maxAbs=tensor([1.0, 0.0])), [[0.5, 1.0], [1.0, -1.0]]),
    "normalizer": (
        Node("normalizer", IN, OUT, p_norm=scalar("double", 1.0), input_size=scalar("int", 2)),
        [[0.5 / 3.5, 3 / 3.5], [2 / 3, -1 / 3]],
    ),
    "binarizer": (
        Node("binarizer", IN, OUT, threshold=scalar("double", 1.0), input_shapes=scalar("data_shape", None)),
        [[0.0, 1.0], [1.0, 0.0]],
    ),
    "elementwise_product": (
        Node("elementwise_product", IN, OUT, scaling_vec=tensor([2.0, -1.0])),
        [[1.0, -3.0], [4.0, 1.0]],
    ),
    "polynomial_expansion": (
        Node("polynomial_expansion", IN, OUT, degree=scalar("long", 2), input_size=scalar("long", 2)),
        [[0.5, 0.25, 3.0, 1.5, 9.0], [2.0, 4.0, -1.0, -2.0, 1.0]],
    ),
    "sklearn_polynomial_expansion": (
        Node("sklearn_polynomial_expansion", IN, OUT, combinations=scalar("string", "[x0,x1,x0^2,x0 x1]")),
        [[0.5, 3.0, 0.25, 1.5], [2.0, -1.0, 4.0, -2.0]],
    ),
    "dct": (
        Node("dct", IN, OUT, inverse={}, input_size=scalar("int", 2)),
        [[3.5 / math.sqrt(2), -2.5 / math.sqrt(2)], [1 / math.sqrt(2), 3 / math.sqrt(2)]],
    ),
    "pca": (Node("pca", IN, OUT, principal_components=tensor([1.0, 2.0], 2, 1)), [[6.5], [0.0]]),
    "chi_sq_selector": (
        Node("chi_sq_selector", IN, OUT, filter_indices=listed("long", [1]), input_size=scalar("int", 2)),
        [[3.0], [-1.0]],
    ),
    "vector_slicer": (
        Node(
            "vector_slicer",
            IN,
            OUT,
            indices=listed("long", [1]),
            names=listed("string", ["a"]),
            named_indices=listed("int", [0]),
            input_size=scalar("int", 2),
        ),
        [[3.0, 0.5], [-1.0, 2.0]],
    ),
    "vector_indexer": (
        Node(
            "vector_indexer",
            IN,
            OUT,
            num_features=scalar("long", 2),
            keys=listed("long", [0]),
            key_0_keys=listed("double", [2.0]),
            key_0_values=listed("long", [0]),
            handle_invalid=scalar("string", "keep"),
        ),
        [[1.0, 3.0], [0.0, -1.0]],
    ),
    "interaction": (
        Node(
            "interaction",
            {"input0": "a", "input1": "v"},
            OUT,
            num_inputs=scalar("int", 2),
            num_features0=listed("int", [1]),
            num_features1=listed("int", [1, 1]),
            input_shapes=shapes(1, 2),
        ),
        [[0.25, 1.5], [4.0, -2.0]],
    ),
    "bucketed_random_projection_lsh": (
        Node(
            "bucketed_random_projection_lsh",
            IN,
            OUT,
            random_unit_vectors=listed("tensor", [tensor([1.0, 0.0]), tensor([0.0, 1.0])]),
            bucket_length=scalar("double", 2.0),
            input_size=scalar("int", 2),
        ),
        [[0.0, 1.0], [1.0, -1.0]],
    ),
    "min_hash_lsh": (
        Node(
            "min_hash_lsh",
            IN,
            OUT,
            random_coefficients_a=listed("long", [3]),
            random_coefficients_b=listed("long", [1]),
            input_size=scalar("int", 2),
        ),
        [[4.0], [4.0]],
    ),
    "linear_regression": (
        Node("linear_regression", FEATURES, PREDICT, coefficients=tensor([2.0, 1.0]), intercept={}),
        [4.0, 3.0],
    ),
    "logistic_regression": (
        Node(
            "logistic_regression",
            FEATURES,
            {"probability": "p"},
            coefficients=tensor([1.0, 2.0]),
            intercept=scalar("double", -5.0),
            num_classes=scalar("long", 2),
        ),
        [[1 - p, p] for p in SIGMOID],
    ),
    "linear_svc": (
        Node(
            "linear_svc",
            FEATURES,
            PREDICT,
            coefficients=tensor([1.0, 0.0]),
            intercept={},
            threshold=scalar("double", 1.0),
            num_classes=scalar("long", 2),
        ),
        [0.0, 1.0],
    ),
    "generalized_linear_regression": (
        Node(
            "generalized_linear_regression",
            FEATURES,
            PREDICT,
            coefficients=tensor([1.0, 0.0]),
            intercept={},
            family=scalar("string", "gamma"),
            link=scalar("string", "log"),
        ),
        [math.exp(0.5), math.exp(2.0)],
    ),
    "aft_survival_regression": (
        Node(
            "aft_survival_regression",
            FEATURES,
            {"quantiles": "p"},
            coefficients=tensor([1.0, 0.0]),
            intercept={},
            quantile_probabilities=listed("double", [0.5]),
            scale=scalar("double", 2.0),
        ),
        [[math.exp(x) * math.log(2.0) ** 2] for x in A],
    ),
    "isotonic_regression": (
        Node(
            "isotonic_regression",
            {"features": "a"},
            PREDICT,
            boundaries=listed("double", [0.0, 1.0]),
            predictions=listed("double", [4.0, 8.0]),
            isotonic=scalar("boolean", True),
        ),
        [6.0, 8.0],
    ),
    "decision_tree_regression": (
        Node(
            "decision_tree_regression",
            FEATURES,
            PREDICT,
            {"": {"lines": stump([5.0], [6.0])}},
            num_features=scalar("long", 2),
        ),
        [5.0, 6.0],
    ),
    "random_forest_regression": (
        Node("random_forest_regression", FEATURES, PREDICT, TWO_TREES, num_features=scalar("long", 2), trees=NAMES),
        [5.5, 6.0],
    ),
    "gbt_regression": (
        Node(
            "gbt_regression",
            FEATURES,
            PREDICT,
            TWO_TREES,
            num_features=scalar("long", 2),
            trees=NAMES,
            tree_weights=listed("double", [1.0, 0.1]),
        ),
        [2.0, 3.0],
    ),
    "random_forest_classifier": (
        Node(
            "random_forest_classifier",
            FEATURES,
            {"probability": "p"},
            TWO_VOTES,
            num_features=scalar("long", 2),
            num_classes=scalar("long", 2),
            trees=NAMES,
        ),
        [[0.625, 0.375], [0.25, 0.75]],
    ),
    "decision_tree_classifier": (
        Node(
            "decision_tree_classifier",
            FEATURES,
            PREDICT,
            {"": {"lines": stump([3.0, 1.0], [1.0, 2.0])}},
            num_features=scalar("long", 2),
            num_classes=scalar("long", 2),
            thresholds=listed("double", [1.0, 0.1]),
        ),
        [1.0, 1.0],
    ),
    "gbt_classifier": (
        Node(
            "gbt_classifier",
            FEATURES,
            PREDICT,
            {"tree0": {"op": "decision_tree_regression", "lines": stump([-1.0], [1.0])}},
            num_features=scalar("long", 2),
            num_classes=scalar("long", 2),
            trees=listed("string", ["tree0"]),
        ),
        [0.0, 1.0],
    ),
    "naive_bayes": (
        Node(
            "naive_bayes",
            FEATURES,
            {"raw_prediction": "p"},
            num_features=scalar("long", 2),
            num_classes=scalar("long", 2),
            pi=tensor([-1.0, -2.0]),
            theta=tensor([1.0, 2.0, 3.0, 4.0], 2, 2),
            model_type=scalar("string", "multinomial"),
        ),
        [[8.5, 11.0], [-2.0, -2.0]],
    ),
    "multi_layer_perceptron_classifier": (
        Node(
            "multi_layer_perceptron_classifier",
            FEATURES,
            {"raw_prediction": "p"},
            layers=listed("long", [2, 2]),
            weights=tensor([1.0, 2.0, 3.0, 4.0, 0.5, -0.5]),
        ),
        [[10.0, 12.5], [-0.5, -0.5]],
    ),
    "one_vs_rest": (
        Node(
            "one_vs_rest",
            FEATURES,
            PREDICT,
            {
                f"model{i}": {
                    "op": "logistic_regression",
                    "attributes": {
                        "coefficients": tensor(weights),
                        "intercept": {},
                        "num_classes": scalar("long", 2),
                    },
                }
                for i, weights in enumerate([[1.0, 0.0], [0.0, 1.0]])
            },
            num_classes=scalar("long", 2),
            num_features=scalar("long", 2),
        ),
        [1.0, 0.0],
    ),
    "k_means": (
        Node(
            "k_means",
            FEATURES,
            PREDICT,
            cluster_centers=listed("tensor", [tensor([2.0, 0.0]), tensor([0.0, 3.0])]),
            num_features=scalar("long", 2),
        ),
        [1.0, 0.0],
    ),
    "bisecting_k_means": (
        Node(
            "bisecting_k_means",
            FEATURES,
            PREDICT,
            {
                "": {
                    "lines": [
                        {"index": -1, "norm": 0.0, "values": [1.0, 1.0], "numChildren": 2},
                        {"index": 0, "norm": 0.0, "values": [2.0, 0.0], "numChildren": 0},
                        {"index": 1, "norm": 0.0, "values": [0.0, 3.0], "numChildren": 0},
                    ]
                }
            },
        ),
        [1.0, 0.0],
    ),
    "gaussian_mixture": (
        Node(
            "gaussian_mixture",
            FEATURES,
            PREDICT,
            means=listed("tensor", [tensor([2.0, -1.0]), tensor([0.5, 3.0])]),
            covs=listed("tensor", [tensor([1.0, 0.0, 0.0, 1.0], 2, 2)] * 2),
            weights=listed("double", [0.5, 0.5]),
        ),
        [1.0, 0.0],
    ),
    "svm": (
        Node("svm", FEATURES, PREDICT, coefficients=tensor([1.0, 0.0]), intercept={}, num_classes=scalar("long", 2)),
        [1.0, 1.0],
    ),
    "bucketizer": (
        Node("bucketizer", {"input": "a"}, OUT, splits=listed("double", [-math.inf, 1.0, math.inf])),
        [0.0, 1.0],
    ),
    "imputer": (
        Node(
            "imputer", {"input": "a"}, OUT, surrogate_value=scalar("double", 7.0), missing_value=scalar("double", 2.0)
        ),
        [0.5, 7.0],
    ),
    "math_unary": (Node("math_unary", {"input": "a"}, OUT, operation=scalar("string", "exp")), np.exp(A).tolist()),
    "math_binary": (
        Node("math_binary", {"input_a": "a", "input_b": "b"}, OUT, operation=scalar("string", "sub")),
        [-2.5, 3.0],
    ),
    "coalesce": (Node("coalesce", {"input0": "absent", "input1": "b"}, OUT, nullable_inputs=listed("boolean", [])), B),
}


@pytest.mark.parametrize("form", ["json", "protobuf"])
@pytest.mark.parametrize("op", CASES)
def test_an_op_follows_its_rule(op: str, form: str, tmp_path: Path) -> None:
    node, want = CASES[op]
    if op == "binarizer":
        node.attributes.pop("input_shapes", None)
    if op == "bucketizer" and form == "json":  # JSON has no infinities
        node = Node("bucketizer", {"input": "a"}, OUT, splits=listed("double", ["-Infinity", 1.0, "Infinity"]))
    scores = score(tmp_path, {"a": assemble("a", "b"), "n": node}, form, {"a": A, "b": B})
    assert scores.errors == {}
    np.testing.assert_allclose(scores.outputs["o" if "o" in scores.outputs else "p"], want, rtol=1e-12, atol=1e-12)


def test_a_category_that_no_split_names_goes_the_other_way(tmp_path: Path) -> None:
    leaves = [{**LEAF, "values": [1.0]}, {**LEAF, "values": [2.0]}]
    for is_left, want in ((True, [1.0, 2.0]), (False, [2.0, 1.0])):
        lines = [categorical(0, [0.5], is_left), *leaves]
        tree = Node(
            "decision_tree_regression", FEATURES, PREDICT, {"": {"lines": lines}}, num_features=scalar("long", 2)
        )
        for form in ("json", "protobuf"):
            folder = tmp_path / f"{is_left}{form}"
            folder.mkdir()
            scores = score(folder, {"a": assemble("a", "b"), "n": tree}, form, {"a": A, "b": B})
            assert scores.outputs["p"].tolist() == want


def test_factors_of_known_ids_are_multiplied_and_unknown_ids_are_missing(tmp_path: Path) -> None:
    als = Node(
        "als",
        {"user": "u", "item": "i"},
        PREDICT,
        rank=scalar("int", 2),
        users=listed("int", [7]),
        items=listed("int", [3]),
        user_factors=listed("tensor", [tensor([1.0, 2.0])]),
        item_factors=listed("tensor", [tensor([3.0, 4.0])]),
    )
    scores = score(tmp_path, {"n": als}, "json", {"u": [7, 8], "i": [3, 3]})
    assert scores.outputs["p"][0] == 11.0
    assert math.isnan(scores.outputs["p"][1])


def test_a_missing_column_of_an_assembler_fails_its_row_alone(tmp_path: Path) -> None:
    nodes = {"a": assemble("a", "b"), "n": CASES["linear_regression"][0]}
    scores = score(tmp_path, nodes, "json", {"a": [0.5, None], "b": B})
    assert scores.errors == {1: "a column that 'a' assembles is missing"}
    assert scores.outputs["p"][0] == 4.0


def test_a_model_alone_takes_one_column_per_element(tmp_path: Path) -> None:
    scores = score(tmp_path, {"n": CASES["linear_regression"][0]}, "json", {"v[0]": A, "v[1]": B})
    assert scores.outputs["p"].tolist() == [4.0, 3.0]


def test_matrices_of_the_python_package_lie_row_by_row(tmp_path: Path) -> None:
    node = Node(
        "logistic_regression",
        FEATURES,
        {"raw_prediction": "p"},
        coefficient_matrix=tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, 2),
        intercept_vector=tensor([0.0, 0.0, 0.0]),
        num_classes=scalar("long", 3),
    )
    for name, want in (
        ("pipeline", [12.5, 16.0, 19.5]),
        ("pipeline_4ab43150-e5c9-11f1-8c6e-02fc00000001", [6.5, 13.5, 20.5]),
    ):
        content = files.bundle_files({"a": assemble("a", "b"), "n": node}, name=name)
        model = read(files.write_zip(tmp_path / "m.zip", content))
        assert model.score({"a": A, "b": B}).outputs["p"][0].tolist() == want


def test_nodes_that_no_pipeline_names_are_no_part_of_the_model(tmp_path: Path) -> None:
    content = files.bundle_files({"a": assemble("a", "b"), "n": CASES["linear_regression"][0]})
    content["root/stray.node/model.json"] = b"not JSON"
    assert list(read(files.write_folder(tmp_path / "m", content)).outputs) == ["p"]
