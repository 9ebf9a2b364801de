from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.importers import read
from recserve.importers.mojo.deep_learning import hot_places

Make = Callable[..., Path]
RNG = np.random.default_rng(3)
W0, B0 = RNG.normal(size=(2, 4)).astype(np.float32), RNG.normal(size=2)
W1, B1 = RNG.normal(size=(1, 2)).astype(np.float32), RNG.normal(size=1)
BASE: dict[str, Any] = {
    "algo": "deeplearning",
    "cats": 1,
    "nums": 1,
    "cat_offsets": [0, 3],
    "norm_mul": [2.0],
    "norm_sub": [0.5],
    "use_all_factor_levels": True,
    "activation": "Tanh",
    "distribution": "gaussian",
    "neural_network_sizes": [4, 2, 1],
    "hidden_dropout_ratios": [0.25, 0.0],
    "weight_layer0": W0.ravel().tolist(),
    "bias_layer0": B0.tolist(),
    "weight_layer1": W1.ravel().tolist(),
    "bias_layer1": B1.tolist(),
}
COLUMNS = ["city", "x", "y"]
ROWS: dict[str, list[Any]] = {"city": ["a", "b", None, "?"], "x": [1.0, None, 2.0, -1.0]}
INPUTS = np.array([[1, 0, 0, 1.0], [0, 1, 0, 0.0], [0, 0, 1, 3.0], [0, 0, 1, -3.0]])
ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Tanh": np.tanh,
    "TanhWithDropout": lambda x: np.tanh(x) * 0.75,
    "Rectifier": lambda x: np.maximum(x, 0),
    "ExpRectifier": lambda x: np.where(x >= 0, x, np.exp(x) - 1),
}


def score(make_mojo: Make, **extra: Any) -> dict[str, Any]:
    return read(make_mojo(BASE | extra, COLUMNS, {0: ["a", "b"]})).score(ROWS).outputs


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_activation_is_applied(name: str, make_mojo: Make) -> None:
    hidden = ACTIVATIONS[name](INPUTS @ W0.T + B0)
    np.testing.assert_allclose(score(make_mojo, activation=name)["predict"], (hidden @ W1.T + B1)[:, 0], rtol=1e-12)


def test_maxout_takes_the_larger_of_two_parts(make_mojo: Make) -> None:
    w = RNG.normal(size=(2, 4, 2)).astype(np.float32)
    b = RNG.normal(size=4)
    hidden = (np.einsum("ri,uip->rup", INPUTS, w) + b.reshape(2, 2)).max(axis=2)
    found = score(make_mojo, activation="Maxout", weight_layer0=w.ravel().tolist(), bias_layer0=b.tolist())
    np.testing.assert_allclose(found["predict"], (hidden @ W1.T + B1)[:, 0], rtol=1e-12)


def test_the_response_is_put_back_on_its_scale(make_mojo: Make) -> None:
    plain = score(make_mojo)["predict"]
    scaled = score(make_mojo, norm_resp_mul=[2.0], norm_resp_sub=[1.0], distribution="poisson")["predict"]
    np.testing.assert_allclose(scaled, np.exp(plain / 2 + 1))
    np.testing.assert_allclose(score(make_mojo, distribution="bernoulli")["predict"], 1 / (1 + np.exp(-plain)))


def test_an_autoencoder_gives_its_inputs_back(make_mojo: Make) -> None:
    w1, b1 = RNG.normal(size=(4, 2)).astype(np.float32), RNG.normal(size=4)
    more = {"category": "AutoEncoder", "supervised": False, "n_features": 2, "neural_network_sizes": [4, 2, 4]}
    info = BASE | more | {"weight_layer1": w1.ravel().tolist(), "bias_layer1": b1.tolist()}
    model = read(make_mojo(info, COLUMNS[:2], {0: ["a", "b"]}))
    found = model.score(ROWS).outputs
    want = np.tanh(np.tanh(INPUTS @ W0.T + B0) @ w1.T + b1)
    want[:, 3] = want[:, 3] / 2.0 + 0.5
    names = ["reconstr_city.a", "reconstr_city.b", "reconstr_city.missing(NA)", "reconstr_x"]
    assert list(model.outputs) == names
    np.testing.assert_allclose(np.stack([found[name] for name in names], axis=1), want, rtol=1e-12)


def test_level_0_may_have_no_input_and_unknown_ones_share_the_last() -> None:
    assert hot_places(4, 3, all_levels=True) == [0.0, 1.0, 2.0, 2.0]
    assert hot_places(4, 2, all_levels=False) == [-1.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"activation": "Sine"}, "the activation 'Sine' is unknown"),
        ({"neural_network_sizes": [3, 2, 1]}, "for 4 inputs"),
        ({"bias_layer1": [1.0, 2.0]}, "has 2 weights and 2 biases for 2 inputs and 1 units"),
        ({"cat_offsets": [0]}, "has 1 offsets for 1 columns"),
        ({"mojo_version": "1.20"}, "newer than 1.10"),
    ],
)
def test_contradictions_are_refused(extra: dict[str, Any], message: str, make_mojo: Make) -> None:
    with pytest.raises(ConfigError, match=message):
        score(make_mojo, **extra)
