"""Keras ranking models, converted by tf2onnx: staged equals flat, and what is one-sided leaves the candidate rate."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

from recserve.network.evaluate import run_flat, run_split
from recserve.network.model import Network
from recserve.network.split import split_network
from recserve.rates import Rate

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
tf2onnx = pytest.importorskip("tf2onnx", reason="tf2onnx is not installed")
pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

layers = tf.keras.layers
USER, ITEM = Rate.REQUEST, Rate.ITEM
RATES: Final = {"user": USER, "item": ITEM, "hist": USER, "lengths": USER, "u1": USER, "i1": ITEM}
STEPS: Final = 5


def inputs(*names: str) -> dict[str, Any]:
    shapes = {"hist": (None, 8), "lengths": ()}
    made = {}
    for name in names:
        dtype = "int64" if name == "lengths" else "float32"
        made[name] = tf.keras.Input(shapes.get(name, (8,)), dtype=dtype, name=name)
    return made


def head(x: Any, name: str = "ctr") -> Any:
    return layers.Dense(1, activation="sigmoid", name=name)(x)


def wide_and_deep() -> Any:
    given = inputs("user", "item")
    x = layers.Concatenate()(list(given.values()))
    deep = layers.Dense(16, activation="relu")(layers.BatchNormalization()(layers.Dense(32, activation="relu")(x)))
    return tf.keras.Model(given, head(layers.Concatenate()([x, deep])))


def deep_fm() -> Any:
    given = inputs("user", "item", "u1", "i1")
    x = tf.keras.ops.stack(list(given.values()), axis=1)
    square = tf.keras.ops.square(tf.keras.ops.sum(x, axis=1)) - tf.keras.ops.sum(tf.keras.ops.square(x), axis=1)
    pairs = 0.5 * tf.keras.ops.sum(square, axis=1, keepdims=True)
    deep = layers.Dense(1)(layers.Dense(16, activation="relu")(layers.Flatten()(x)))
    return tf.keras.Model(given, tf.keras.ops.sigmoid(pairs + deep))


def cross() -> Any:
    given = inputs("user", "item")
    first = x = layers.Concatenate()(list(given.values()))
    for _ in range(2):
        x = layers.Add()([layers.Multiply()([first, layers.Dense(16)(x)]), x])
    return tf.keras.Model(given, head(x))


def din() -> Any:
    given = inputs("user", "item", "hist", "lengths")
    ops, hist = tf.keras.ops, given["hist"]
    query = ops.expand_dims(given["item"], 1) + ops.zeros_like(hist)
    pairs = layers.Concatenate()([query, hist, query - hist, query * hist])
    scores = ops.squeeze(layers.Dense(1)(layers.Dense(16, activation="sigmoid")(pairs)), -1)
    places = ops.cumsum(ops.ones_like(hist[:, :, 0]), axis=1) - 1.0
    mask = places < ops.cast(ops.expand_dims(given["lengths"], 1), "float32")
    weights = ops.softmax(ops.where(mask, scores, -1e9))
    interest = ops.sum(ops.expand_dims(weights, -1) * hist, axis=1)
    x = layers.Concatenate()([given["user"], given["item"], interest])
    return tf.keras.Model(given, head(layers.Dense(16, activation="relu")(x)))


def mmoe() -> Any:
    given = inputs("user", "item")
    x = layers.Concatenate()(list(given.values()))
    experts = tf.keras.ops.stack([layers.Dense(6, activation="relu")(x) for _ in range(3)], axis=1)
    goals = {}
    for goal in ("ctr", "cvr"):
        gate = tf.keras.ops.expand_dims(layers.Dense(3, activation="softmax")(x), -1)
        goals[goal] = head(tf.keras.ops.sum(gate * experts, axis=1), goal)
    return tf.keras.Model(given, goals)


def two_tower() -> Any:
    given = inputs("user", "item")
    towers = [layers.Dense(4)(layers.Dense(16, activation="relu")(x)) for x in given.values()]
    return tf.keras.Model(given, layers.Dot(axes=1, normalize=True)(towers))


def target_attention() -> Any:
    given = inputs("item", "hist")
    query = tf.keras.ops.expand_dims(given["item"], 1)
    mixed = layers.MultiHeadAttention(2, 4)(query, given["hist"])
    x = layers.LayerNormalization()(layers.Add()([query, mixed]))
    return tf.keras.Model(given, head(layers.Dense(16, activation="relu")(layers.Flatten()(x))))


def masked_attention() -> Any:
    given = inputs("user", "item", "hist", "lengths")
    ops, hist = tf.keras.ops, given["hist"]
    places = ops.cumsum(ops.ones_like(hist[:, :, 0]), axis=1) - 1.0
    mask = places < ops.cast(ops.expand_dims(given["lengths"], 1), "float32")
    query = ops.expand_dims(given["item"], 1)
    mixed = ops.squeeze(layers.Attention()([query, layers.Dense(8)(hist)], mask=[None, mask]), 1)
    x = layers.Concatenate()([given["user"], given["item"], mixed])
    return tf.keras.Model(given, head(layers.Dense(16, activation="relu")(x)))


def ple() -> Any:
    given = inputs("user", "item", "u1", "i1")
    x = layers.Concatenate()(list(given.values()))
    experts = [[layers.Dense(8, activation="relu")(x) for _ in range(2)] for _ in range(3)]
    goals = {}
    for own, goal in zip(experts[:2], ("ctr", "cvr"), strict=True):
        gate = tf.keras.ops.expand_dims(layers.Dense(4, activation="softmax")(x), -1)
        goals[goal] = head(tf.keras.ops.sum(gate * tf.keras.ops.stack([*own, *experts[2]], axis=1), axis=1), goal)
    return tf.keras.Model(given, goals)


SHARES: Final[dict[Callable[[], Any], float]] = {
    wide_and_deep: 0.55, deep_fm: 0.1, cross: 0.57, din: 0.34, mmoe: 0.17, two_tower: 0.02, target_attention: 0.16,
    masked_attention: 0.25, ple: 0.12,
}  # fmt: skip
"""How much of the flat graph's operations the candidate part may have."""


def convert(build: Callable[[], Any], opset: int) -> tuple[Any, Network]:
    tf.keras.utils.set_random_seed(0)
    model = build()
    signature = {name: tf.TensorSpec(v.shape, v.dtype, name=name) for name, v in model.input.items()}

    @tf.function(input_signature=[signature])  # type: ignore[untyped-decorator]
    def score(given: Any) -> Any:
        answer = model(given)
        goals = answer if isinstance(answer, dict) else {"ctr": answer}
        return {name: tf.identity(value, name=name) for name, value in goals.items()}

    proto, _ = tf2onnx.convert.from_function(score, [signature], opset=opset)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    return model, Network.from_bytes(proto.SerializeToString(), build.__name__)


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("build", SHARES, ids=lambda b: b.__name__)
def test_a_keras_model_splits_and_scores_like_keras(build: Callable[[], Any], opset: int) -> None:
    model, network = convert(build, opset)
    rng = np.random.default_rng(0)
    drawn: dict[Rate, dict[str, Any]] = {Rate.ITEM: {}, Rate.REQUEST: {}}
    for name in network.inputs:
        shape = {"hist": (1, STEPS, 8), "lengths": (1,)}.get(name, (4 if RATES[name] is ITEM else 1, 8))
        drawn[RATES[name]][name] = rng.normal(size=shape).astype(np.float32)
    if "lengths" in network.inputs:
        drawn[Rate.REQUEST]["lengths"] = np.array([3])
    index = rng.integers(0, 4, 7)
    split = split_network(network, RATES)
    staged = run_split(split, drawn[ITEM], drawn[USER], {}, index)
    flat = run_flat(network, drawn[ITEM], drawn[USER], {}, index)
    tiled = {n: v[index] for n, v in drawn[ITEM].items()} | {n: np.repeat(v, 7, 0) for n, v in drawn[USER].items()}
    answer = model(tiled)
    want = answer if isinstance(answer, dict) else {"ctr": answer}
    for name, value in flat.items():
        np.testing.assert_allclose(staged[name], value, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(value.reshape(-1), want[name].numpy().reshape(-1), rtol=1e-4, atol=1e-5)
    assert 0 < split.report.flops[Rate.CANDIDATE] <= SHARES[build] * split.report.flat_flops
