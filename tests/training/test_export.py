from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from recserve.errors import ConfigError
from recserve.features.outputs import OutputKind, OutputSpec
from recserve.rates import Rate
from recserve.training.export import export_module, flat_sample
from recserve.training.zoo import MODELS, DinConfig, build_model

Outputs = tuple[OutputSpec, ...]
SIZES = [(1, 0), (1, 1), (1, 7), (4, 0), (4, 1), (5, 3), (33, 6)]
PLAIN = (
    OutputSpec("user.id", OutputKind.SPARSE, 3, Rate.REQUEST, "u", 5),
    OutputSpec("d", OutputKind.DENSE, 2, Rate.ITEM),
)


def axes(path: Path) -> dict[str, list[str | int]]:
    graph = onnx.load(path).graph
    values = [*graph.input, *graph.output]
    return {value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}


def draw(outputs: Outputs, rows: int, steps: int) -> dict[str, Tensor]:
    """Flat-form inputs with rows of all lengths, 0 first."""
    inputs = flat_sample(outputs, rows, steps)
    lengths = torch.arange(rows) % (steps + 1)
    for spec in outputs:
        if spec.is_sequence:
            inputs[f"{spec.sequence}.lengths"] = lengths
            inputs[spec.name] *= (torch.arange(steps) < lengths[:, None])[:, :, None]
    return inputs


def hold_equal(module: nn.Module, outputs: Outputs, path: Path) -> None:
    """The file gives what the module gives, for all sizes."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    used = [value.name for value in session.get_inputs()]
    goals = [value.name for value in session.get_outputs()]
    for rows, steps in SIZES:
        inputs = draw(outputs, rows, steps)
        with torch.no_grad():
            expected = module(inputs)
        for goal, values in zip(goals, session.run(None, {name: inputs[name].numpy() for name in used}), strict=True):
            assert values.dtype == np.float32
            np.testing.assert_allclose(values, expected[goal].numpy(), rtol=1e-5, atol=1e-6, err_msg=f"{rows}, {steps}")


@pytest.mark.parametrize("name", MODELS)
def test_the_exported_network_equals_the_module(name: str, shop_outputs: Outputs, tmp_path: Path) -> None:
    goals = ("ctr", "cvr") if MODELS[name].many_goals else ("ctr",)
    module = build_model(name, shop_outputs, goals).eval()
    path = export_module(module, shop_outputs, tmp_path)
    hold_equal(module, shop_outputs, path)
    expected: dict[str, list[str | int]] = {}
    for spec in shop_outputs:
        step = [f"L_{spec.sequence}"] if spec.is_sequence else []
        expected[spec.name] = ["N", *step, spec.dim]
    expected |= {"clicks.lengths": ["N"], "searches.lengths": ["N"]} | {goal: ["N"] for goal in goals}
    assert axes(path) == expected


def test_softmax_attention_over_one_sequence_has_the_axis_l(shop_outputs: Outputs, tmp_path: Path) -> None:
    outputs = shop_outputs[:-1]
    module = build_model("din", outputs, config=DinConfig(softmax=True)).eval()
    path = export_module(module, outputs, tmp_path / "new" / "folder")
    hold_equal(module, outputs, path)
    assert axes(path)["clicks__item_id"] == ["N", "L", 8]


class Own(nn.Module):
    """Reads one of two features, normalises by batch, and names its goal with a dot."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.linear = nn.Linear(3, 1)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"like.rate": torch.sigmoid(self.linear(self.norm(inputs["user.id"])))[:, 0]}


def test_your_own_module_is_exported_in_evaluation_mode_and_left_as_it_was(tmp_path: Path) -> None:
    module = Own()
    path = export_module(module, PLAIN, tmp_path)
    assert module.training
    hold_equal(module.eval(), PLAIN, path)


def test_inputs_that_do_not_matter_are_left_out(tmp_path: Path) -> None:
    assert axes(export_module(Own(), PLAIN, tmp_path)) == {"user.id": ["N", 3], "like.rate": ["N"]}


class Branches(nn.Module):
    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        if inputs["d"].sum() > 0:
            return {"ctr": inputs["d"][:, 0]}
        return {"ctr": inputs["d"][:, 1]}


class Answers(nn.Module):
    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, _inputs: dict[str, Tensor]) -> object:
        return self.answer


def test_control_flow_on_values_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Branches: cannot be exported: .*forward needs tensor operations only"):
        export_module(Branches(), PLAIN, tmp_path)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (torch.zeros(3), "Answers: forward returned a Tensor, not a dict of goals"),
        ({}, "Answers: forward returned a dict, not a dict of goals"),
        ({"ctr": torch.zeros(3, 1)}, r"Answers: goal 'ctr' has the shape \[3, 1\], not \[N\] \(N = 3 here\)"),
        ({"ctr": 0.5}, r"Answers: goal 'ctr' has the shape float, not \[N\]"),
        ({"ctr": torch.zeros(3)}, "ctr.* has a fixed number of rows"),
    ],
)
def test_a_module_has_to_return_a_vector_per_goal(answer: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        export_module(Answers(answer), PLAIN, tmp_path)
