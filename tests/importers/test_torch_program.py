from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recserve.errors import ConfigError
from recserve.importers import formats
from recserve.importers.torch_program import convert, convert_module
from recserve.plain_model import open_plain_model


class Scorer(torch.nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(10, width)
        self.line = torch.nn.Linear(width + 2, 1)
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, ids: torch.Tensor, x: torch.Tensor) -> dict[str, torch.Tensor]:
        joined = self.drop(torch.cat([self.table(ids), x], 1))
        return {"score": torch.sigmoid(self.line(joined)), "x": x * 2}


INPUTS = {"ids": np.zeros(1, np.int64), "x": np.zeros((1, 2), np.float32)}
FEEDS = {"ids": np.arange(7) % 3, "x": np.linspace(-1, 1, 14, dtype=np.float32).reshape(7, 2)}


def answers(module: torch.nn.Module) -> Any:
    with torch.no_grad():
        return {k: v.numpy() for k, v in module.eval()(**{k: torch.as_tensor(v) for k, v in FEEDS.items()}).items()}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.nn.Module]:
    """An exported program's file and its module."""
    module = Scorer().eval()
    rows = torch.export.Dim("rows")
    example = (torch.zeros(3, dtype=torch.int64), torch.zeros(3, 2))
    made = torch.export.export(module, example, dynamic_shapes={"ids": {0: rows}, "x": {0: rows}})
    path = tmp_path_factory.mktemp("torch") / "model.pt2"
    torch.export.save(made, path)
    return path, module


def test_an_exported_program_answers_as_its_module(program: tuple[Path, torch.nn.Module], tmp_path: Path) -> None:
    path, module = program
    assert formats.guess(path) == "torch"
    report = convert(path, tmp_path)
    assert report.format == "torch.export"
    assert report.notes == []
    given = open_plain_model(tmp_path).run("serving_default", FEEDS)
    want = answers(module)
    np.testing.assert_allclose(given["score"], want["score"], rtol=1e-5)
    np.testing.assert_allclose(given["x_out"], want["x"], rtol=1e-6)  # `x` is an input already


def test_a_module_is_exported_in_evaluation_mode_with_weights_of_a_file(tmp_path: Path) -> None:
    trained, module = Scorer(), Scorer().train()
    torch.save({"state_dict": trained.state_dict(), "epoch": 3}, tmp_path / "weights.pt")
    convert_module(module, INPUTS, tmp_path / "m" / "1", weights=tmp_path / "weights.pt")
    assert module.training
    given = open_plain_model(tmp_path / "m" / "1").run("serving_default", FEEDS)
    np.testing.assert_allclose(given["score"], answers(trained)["score"], rtol=1e-5)


def test_axes_may_vary_each_on_its_own(tmp_path: Path) -> None:
    class Pairs(torch.nn.Module):
        def forward(self, user: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
            return items @ user[0]

    example = {"user": torch.ones(1, 4), "items": torch.ones(5, 4)}
    convert_module(Pairs(), example, tmp_path, dynamic_axes={"items": {0: "candidates"}})
    feeds = {"user": np.ones((1, 4), np.float32), "items": np.ones((9, 4), np.float32)}
    (scores,) = open_plain_model(tmp_path).run("serving_default", feeds).values()
    assert scores.tolist() == [4.0] * 9
    with pytest.raises(ConfigError, match="dynamic_axes names no input: 'item'"):
        convert_module(Pairs(), example, tmp_path, dynamic_axes={"item": {0: "n"}})
    with pytest.raises(ConfigError, match="input 'items' has 2 axes, and no 2"):
        convert_module(Pairs(), example, tmp_path, dynamic_axes={"items": {2: "n"}})


def test_weights_that_are_damaged_foreign_or_code_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        convert_module(Scorer(), INPUTS, tmp_path / "a", weights=tmp_path / "absent.pt")
    torch.save(Scorer(), tmp_path / "whole.pt")
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04")
    for name in ("whole.pt", "cut.pt"):
        with pytest.raises(ConfigError, match="does not hold tensors alone, or is damaged") as caught:
            convert_module(Scorer(), INPUTS, tmp_path / "a", weights=tmp_path / name)
        assert caught.value.code == "damaged_model"
    torch.save(Scorer(width=5).state_dict(), tmp_path / "wide.pt")
    with pytest.raises(ConfigError, match=r"the weights do not fit Scorer: .*size mismatch") as caught:
        convert_module(Scorer(), INPUTS, tmp_path / "a", weights=tmp_path / "wide.pt")
    assert caught.value.code == "weights_do_not_fit"


def test_a_module_that_branches_on_values_is_refused(tmp_path: Path) -> None:
    class Branches(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(ConfigError, match=r"Branches: torch\.export refuses it"):
        convert_module(Branches(), {"x": np.zeros((2, 2), np.float32)}, tmp_path)


def script(path: Path, declared: Any) -> Path:
    layers = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    torch.jit.script(layers).save(str(path))
    if declared is not None:
        text = declared if isinstance(declared, str) else json.dumps(declared)
        path.with_name(f"{path.stem}.inputs.json").write_text(text)
    return path


def test_a_script_answers_as_itself(tmp_path: Path) -> None:
    path = script(tmp_path / "s.pt", {"x": {"dtype": "float32", "shape": [None, 3]}})
    report = convert(path, tmp_path)
    assert (report.format, report.targets) == ("torchscript", ["output"])
    x = np.linspace(-1, 1, 21, dtype=np.float32).reshape(7, 3)
    want = torch.jit.load(str(path))(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(
        open_plain_model(tmp_path).run("serving_default", {"x": x})["output"], want, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (None, "does not say what forward takes.*s.inputs.json"),
        ("{", "it is no JSON"),
        ([], "maps each input to its dtype and shape"),
        ({"x": {"dtype": "float32"}}, "an input is"),
        ({"x": {"dtype": "float32", "shape": [0]}}, "an input is"),
        ({"x": {"dtype": "float31", "shape": [3]}}, "unknown dtype 'float31'.*'float32'"),
        ({"x": {"dtype": "float32", "shape": [None, 5]}}, "does not become ONNX"),
    ],
)
def test_wrong_declared_inputs_are_told(tmp_path: Path, declared: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        convert(script(tmp_path / "s.pt", declared), tmp_path)


def test_weights_alone_are_no_model(tmp_path: Path) -> None:
    torch.save(Scorer().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ConfigError, match=r"holds weights, and no program.*convert_module"):
        convert(tmp_path / "weights.pt", tmp_path)


def test_a_cut_off_program_is_told(program: tuple[Path, torch.nn.Module], tmp_path: Path) -> None:
    data = program[0].read_bytes()
    (tmp_path / "a.pt2").write_bytes(data[: len(data) // 2])
    with pytest.raises(ConfigError, match=r"no file of PyTorch 1\.6 or later"):
        convert(tmp_path / "a.pt2", tmp_path)
