from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recserve.errors import ConfigError
from recserve.features.outputs import OutputKind, OutputSpec
from recserve.rates import Rate
from recserve.training.export import flat_sample
from recserve.training.zoo import (
    MODELS,
    DeepFmConfig,
    DinConfig,
    FmConfig,
    LrConfig,
    MmoeConfig,
    TwoTowerConfig,
    WideDeepConfig,
    build_model,
)
from recserve.training.zoo.din import Attention, match_queries
from recserve.training.zoo.layers import Mlp, field_of

Outputs = tuple[OutputSpec, ...]
PLAIN = (
    OutputSpec("u", OutputKind.SPARSE, 3, Rate.REQUEST, "u", 5),
    OutputSpec("i", OutputKind.SPARSE, 3, Rate.ITEM, "i", 5),
    OutputSpec("d", OutputKind.DENSE, 2, Rate.ITEM),
)


def padded(inputs: dict[str, Tensor], outputs: Outputs, lengths: list[int]) -> dict[str, Tensor]:
    """The inputs with these numbers of steps, zeros beyond them."""
    for spec in outputs:
        if spec.is_sequence:
            inputs[f"{spec.sequence}.lengths"] = torch.tensor(lengths)
            for row, length in enumerate(lengths):
                inputs[spec.name][row, length:] = 0
    return inputs


@pytest.mark.parametrize("name", MODELS)
def test_every_model_predicts_a_probability_per_row(name: str, shop_outputs: Outputs) -> None:
    goals = ("ctr", "cvr") if MODELS[name].many_goals else ("ctr",)
    module = build_model(name, shop_outputs, goals).eval()
    results = module(padded(flat_sample(shop_outputs, 4, 3), shop_outputs, [3, 0, 1, 2]))
    assert tuple(results) == goals
    for values in results.values():
        assert values.shape == (4,)
        assert bool(((values > 0) & (values < 1)).all())


@pytest.mark.parametrize("name", MODELS)
def test_a_row_does_not_depend_on_its_neighbours_or_on_padding(name: str, shop_outputs: Outputs) -> None:
    module = build_model(name, shop_outputs).eval()
    inputs = padded(flat_sample(shop_outputs, 3, 4), shop_outputs, [4, 0, 2])
    together = module(inputs)["ctr"].detach()
    for row, length in enumerate([4, 0, 2]):
        alone = {
            key: value[row : row + 1, :length] if value.ndim == 3 else value[row : row + 1]
            for key, value in inputs.items()
        }
        torch.testing.assert_close(module(alone)["ctr"].detach(), together[row : row + 1])


def test_factors_are_the_products_of_all_pairs() -> None:
    module = build_model("fm", PLAIN, config=FmConfig(factor_dim=3)).eval()
    inputs = flat_sample(PLAIN, 4, 0)
    projected = [inputs["u"], inputs["i"], module.factors.projections[2](inputs["d"])]  # type: ignore[union-attr, index]
    pairs = sum((projected[a] * projected[b]).sum(1) for a in range(3) for b in range(a))
    linear = module.linear(torch.cat([inputs["u"], inputs["i"], inputs["d"]], 1))[:, 0]  # type: ignore[operator]
    torch.testing.assert_close(module(inputs)["ctr"], torch.sigmoid(linear + pairs))


@pytest.mark.parametrize("softmax", [False, True])
def test_attention_equals_a_loop_over_steps(softmax: bool, shop_outputs: Outputs) -> None:
    (attended,) = match_queries(shop_outputs, {})
    attention = Attention(attended, DinConfig(softmax=softmax))
    lengths = [3, 0, 2]
    inputs = padded(flat_sample(shop_outputs, 3, 3), shop_outputs, lengths)
    expected = torch.zeros(3, 17)
    for row, length in enumerate(lengths):
        query = torch.cat([inputs["item_id"][row], inputs["category"][row]])
        logits, values = [], []
        for step in range(length):
            key = torch.cat([inputs["clicks__item_id"][row, step], inputs["clicks__category"][row, step]])
            age = inputs["clicks__age"][row, step]
            logits.append(attention.unit(torch.cat([query, key, query - key, query * key, age])))
            values.append(torch.cat([key, age]))
        if length:
            weights = torch.stack(logits)
            weights = torch.softmax(weights, 0) if softmax else weights
            expected[row] = (weights * torch.stack(values)).sum(0)
    torch.testing.assert_close(attention(inputs), expected)


def test_a_sequence_counts_as_the_mean_of_its_steps() -> None:
    spec = OutputSpec("s", OutputKind.DENSE_SEQUENCE, 1, Rate.REQUEST, sequence="s")
    inputs = {"s": torch.tensor([[[1.0], [3.0]], [[0.0], [0.0]]]), "s.lengths": torch.tensor([2, 0])}
    assert field_of(spec, inputs).tolist() == [[2.0], [0.0]]


def test_din_asks_with_the_item_and_pools_what_nobody_asks(shop_outputs: Outputs) -> None:
    (attended,) = match_queries(shop_outputs, {})
    assert attended.group == "clicks"
    assert [spec.name for spec in attended.keys] == ["clicks__item_id", "clicks__category"]
    assert [spec.name for spec in attended.queries] == ["item_id", "category"]
    assert [spec.name for spec in attended.extras] == ["clicks__age"]
    favourite = replace(shop_outputs[2], name="favourite", rate=Rate.REQUEST)
    assert match_queries((favourite, *shop_outputs), {}) == (attended,)


def test_din_can_be_told_who_asks(shop_outputs: Outputs) -> None:
    _, searches = match_queries(shop_outputs, {"searches": "tags"})
    assert [spec.name for spec in searches.queries] == ["tags"]


def test_two_tower_is_the_cosine_of_its_towers() -> None:
    module = build_model("two_tower", PLAIN, config=TwoTowerConfig(temperature=0.5)).eval()
    inputs = flat_sample(PLAIN, 4, 0)
    user, item = module.user(inputs["u"]), module.item(torch.cat([inputs["i"], inputs["d"]], 1))  # type: ignore[operator]
    cosine = torch.nn.functional.cosine_similarity(user, item)
    torch.testing.assert_close(module(inputs)["ctr"], torch.sigmoid(cosine / 0.5))


def test_mmoe_mixes_its_experts_per_goal() -> None:
    module: Any = build_model("mmoe", PLAIN, ("ctr", "cvr"), MmoeConfig(experts=2, gate_hidden=(4,))).eval()
    inputs = flat_sample(PLAIN, 3, 0)
    features = torch.cat([inputs["u"], inputs["i"], inputs["d"]], 1)
    shares = torch.softmax(module.gates[1](features), 1)
    mixed = shares[:, :1] * module.experts[0](features) + shares[:, 1:] * module.experts[1](features)
    torch.testing.assert_close(module(inputs)["cvr"], torch.sigmoid(module.towers[1](mixed)[:, 0]))


def test_settings_reach_the_layers() -> None:
    module: Any = build_model("wide_deep", PLAIN, config=WideDeepConfig(wide=("i",), deep=("u", "d"), hidden=(7,)))
    assert module.wide.in_features == 3
    assert [layer.in_features for layer in module.deep if hasattr(layer, "in_features")] == [5, 7]
    dropped: Any = build_model("deepfm", PLAIN, config=DeepFmConfig(hidden=(7,), dropout=0.5, activation="prelu"))
    assert [type(layer).__name__ for layer in dropped.deep] == ["Linear", "PReLU", "Dropout", "Linear"]


CROSS = OutputSpec("x", OutputKind.DENSE, 1, Rate.CANDIDATE)
STEPS = OutputSpec("s", OutputKind.SPARSE_SEQUENCE, 3, Rate.REQUEST, "i", 5, sequence="s")
TWIN = replace(PLAIN[1], name="j")


@pytest.mark.parametrize(
    ("name", "outputs", "config", "message"),
    [
        ("dim", PLAIN, None, "model 'dim' is not in the zoo. Did you mean 'din'?"),
        ("xxxxx", PLAIN, None, "model 'xxxxx' is not in the zoo. Known are lr, fm"),
        ("lr", (), None, "model 'lr' has no features to read"),
        ("fm", PLAIN, LrConfig(), "model 'fm' takes a FmConfig, not a LrConfig"),
        ("wide_deep", PLAIN, WideDeepConfig(wide=("ii",)), "wide: there is no feature 'ii'"),
        ("wide_deep", PLAIN, WideDeepConfig(deep=()), "deep: names no features"),
        ("deepfm", PLAIN, DeepFmConfig(hidden=(0,)), r"layers of the widths \[0\] are not all at least 1 wide"),
        ("deepfm", PLAIN, DeepFmConfig(dropout=1.0), r"dropout 1.0 is not in 0 … 1"),
        ("deepfm", PLAIN, DeepFmConfig(activation="rely"), "activation 'rely' is not known. Did you mean 'relu'?"),  # type: ignore[arg-type]
        ("deepfm", PLAIN, DeepFmConfig(activation="?"), "activation '\\?' is not known. Known are relu"),  # type: ignore[arg-type]
        ("mmoe", PLAIN, MmoeConfig(experts=0), "0 experts are fewer than 1"),
        ("two_tower", PLAIN, TwoTowerConfig(temperature=0), "temperature 0 is not positive"),
        ("two_tower", (*PLAIN, CROSS), None, "neither tower can read 'x', which depend on both.*set leave_out_cand"),
        ("two_tower", PLAIN[1:], None, "a two-tower model needs features of the request rate, but there are none"),
        ("din", PLAIN, None, "DIN needs a sequence that shares a table with a plain feature.*one embedding_name"),
        ("din", (*PLAIN, TWIN, STEPS), None, "feature 's': 'i', 'j' share table 'i' with it.*queries={'s': 'i'}"),
        ("din", (*PLAIN, STEPS), DinConfig(queries={"t": "i"}), "queries: there is no feature 't'"),
        ("din", (*PLAIN, STEPS), DinConfig(queries={"s": "k"}), r"queries\['s'\]: there is no feature 'k'"),
        ("din", (*PLAIN, STEPS), DinConfig(queries={"s": "d"}), "'d' is 2 wide, but the sequence's steps are 3"),
    ],
)
def test_what_a_model_cannot_use_is_refused(name: str, outputs: Outputs, config: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_model(name, outputs, config=config)


def test_goals_must_fit_the_model() -> None:
    with pytest.raises(
        ConfigError, match=r"model 'lr' predicts one goal, not 2: ctr, cvr. Use 'mmoe' for several goals"
    ):
        build_model("lr", PLAIN, ("ctr", "cvr"))
    with pytest.raises(ConfigError, match=r"MMoE needs at least one goal"):
        build_model("mmoe", PLAIN, ())


def test_candidate_features_can_be_left_out_of_two_towers() -> None:
    module = build_model("two_tower", (*PLAIN, CROSS), config=TwoTowerConfig(leave_out_candidate_features=True))
    assert module(flat_sample(PLAIN, 2, 0))["ctr"].shape == (2,)


def test_an_mlp_without_layers_changes_nothing() -> None:
    values = torch.tensor(np.arange(4, dtype=np.float32).reshape(2, 2))
    assert Mlp(2, ())(values) is values
