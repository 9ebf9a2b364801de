from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import RequestError
from recserve.serving.examples import (
    classifications,
    examples_to_inputs,
    is_serialised,
    regressions,
    serialise,
)
from recserve.signatures import Signature, TensorSpec


def takes(**specs: tuple[str, Any]) -> Signature:
    inputs = {name: TensorSpec(name, dtype, shape) for name, (dtype, shape) in specs.items()}
    return Signature("s", inputs, {"outputs": TensorSpec("outputs", "float32", (None,))}, "regress")


def test_features_become_columns() -> None:
    signature = takes(a=("float32", (None, 1)), b=("int64", None), c=("string", (None, 2)), d=("bool", (None,)))
    example = {"a": [1.5], "b": [1, 2, 3], "c": [b"x", b"y"], "d": [1], "unknown": [7]}
    inputs = examples_to_inputs(signature, [example, {**example, "a": [1e300]}])
    assert {name: (tensor.dtype.name, tensor.tolist()) for name, tensor in inputs.items() if name != "b"} == {
        "a": ("float32", [[1.5], [np.inf]]),
        "c": ("object", [[b"x", b"y"]] * 2),
        "d": ("bool", [True, True]),
    }


def test_an_optional_feature_may_be_absent() -> None:
    inputs = {"a": TensorSpec("a", "int64", (None, 1), is_optional=True)}
    assert examples_to_inputs(Signature("s", inputs, {}, "regress"), [{}]) == {}


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ({}, "Feature: a (data type: float) is required but could not be found."),
        ({"a": [1]}, "Feature: a.  Data types don't match. Expected type: float, but got type: int64"),
        (
            {"a": [1.0, 2.0]},
            "Key: a, Index: 0.  Number of float values != expected.  Values size: 2 but output shape: [1]",
        ),
        ({"a": []}, "Key: a, Index: 0.  Number of float values != expected.  Values size: 0 but output shape: [1]"),
    ],
)
def test_a_wrong_feature_is_told(example: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        examples_to_inputs(takes(a=("float32", (None, 1))), [example])
    assert str(caught.value) == message


def test_a_feature_without_declared_length_has_one_length() -> None:
    signature = takes(a=("int64", (None, None)))
    assert examples_to_inputs(signature, [{"a": [1, 2]}, {"a": [3, 4]}])["a"].tolist() == [[1, 2], [3, 4]]
    with pytest.raises(RequestError, match=r"Key: a, Index: 1\."):
        examples_to_inputs(signature, [{"a": [1, 2]}, {"a": [3]}])
    deep = takes(a=("int64", (None, None, 2)))
    assert examples_to_inputs(deep, [{"a": [1, 2, 3, 4]}])["a"].tolist() == [[[1, 2], [3, 4]]]
    with pytest.raises(RequestError, match=r"Key: a\.  3 values fit no shape \[None, 2\]"):
        examples_to_inputs(deep, [{"a": [1, 2, 3]}])


VALUES = (
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3)
    | st.lists(st.floats(width=32, allow_nan=False), max_size=3)
    | st.lists(st.binary(max_size=300), max_size=3)
)


@settings(max_examples=100)
@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=4))
def test_a_serialised_example_reads_back_as_the_message(example: dict[str, Any]) -> None:
    message = example_message()()
    message.ParseFromString(serialise(example))
    read = {}
    for name, feature in message.features.feature.items():
        kind = feature.WhichOneof("kind")
        read[name] = list(getattr(feature, kind).value) if kind else []
    assert read == example


def example_message() -> Any:
    """The class of `tf.train.Example`, from a description of its own."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example_for_test.proto", package="test", syntax="proto3")
    for name, kind in (
        ("BytesList", field.TYPE_BYTES),
        ("FloatList", field.TYPE_FLOAT),
        ("Int64List", field.TYPE_INT64),
    ):
        file.message_type.add(name=name).field.add(name="value", number=1, type=kind, label=field.LABEL_REPEATED)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("Bytes", "Float", "Int64"), 1):
        feature.field.add(
            name=f"{name.lower()}_list",
            number=number,
            type=field.TYPE_MESSAGE,
            type_name=f".test.{name}List",
            oneof_index=0,
        )
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    entry.field.add(
        name="value", number=2, type=field.TYPE_MESSAGE, type_name=".test.Feature", label=field.LABEL_OPTIONAL
    )
    features.field.add(
        name="feature",
        number=1,
        type=field.TYPE_MESSAGE,
        type_name=".test.Features.FeatureEntry",
        label=field.LABEL_REPEATED,
    )
    file.message_type.add(name="Example").field.add(
        name="features", number=1, type=field.TYPE_MESSAGE, type_name=".test.Features"
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("test.Example"))


def test_a_string_input_of_rank_one_named_inputs_takes_whole_examples() -> None:
    assert is_serialised(takes(inputs=("string", (None,))))
    assert not is_serialised(takes(inputs=("string", (None, 1))))
    assert not is_serialised(takes(text=("string", (None,))))
    inputs = examples_to_inputs(takes(inputs=("string", (None,))), [{"a": [1]}, {}])
    assert inputs["inputs"].tolist() == [serialise({"a": [1]}), serialise({})]


def outputs(name: str, shape: Any) -> Signature:
    return Signature("s", {}, {name: TensorSpec(name, "float32", shape)}, "regress")


def test_results_have_a_row_for_each_example_unless_the_signature_says_otherwise() -> None:
    values = {"outputs": np.ones((2, 1))}
    assert regressions(outputs("outputs", None), values, 2).tolist() == [1, 1]
    assert regressions(outputs("outputs", (2, 1)), values, 7).tolist() == [1, 1]
    with pytest.raises(RequestError, match=r"Input batch size did not match output batch size\. Expected 3 but got 2"):
        regressions(outputs("outputs", (None, 1)), values, 3)
    with pytest.raises(RequestError, match=r"either \[batch_size\] or \[batch_size, 1\] but got \[2, 2\]"):
        regressions(outputs("outputs", None), {"outputs": np.ones((2, 2))}, 2)


def test_scores_and_labels_have_one_shape() -> None:
    scores = np.ones((1, 2))
    assert classifications(outputs("scores", None), {"scores": scores}, 1)[1] is None
    with pytest.raises(RequestError, match=r"Expected Tensor shape: \[batch_size num_classes\] but got \[2\]"):
        classifications(outputs("scores", None), {"scores": scores[0]}, 1)
    with pytest.raises(RequestError, match=r"Scores have shape \[1, 2\], classes have \[2\]"):
        classifications(outputs("scores", None), {"scores": scores, "classes": np.array([b"a", b"b"])}, 1)
