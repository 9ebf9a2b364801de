from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recserve.errors import ConfigError
from recserve.importers.torch_archive import EXPORTED, SCRIPT, WEIGHTS, check_exported, find_kind


class Bomb:
    def __reduce__(self) -> Any:
        return print, ("unpickled",)


def write(path: Path, **members: Any) -> Path:
    """An archive of one exported program, with members changed."""
    files = {
        "models/model.json": json.dumps({"nodes": [{"target": "torch.ops.aten.add.Tensor"}]}),
        "archive_format": "pt2",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (files | members).items():
            archive.writestr(f"m/{name}", data)
    return path


def test_a_file_is_known_by_its_members(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(2)}, tmp_path / "weights.pt")
    torch.jit.script(torch.nn.ReLU()).save(str(tmp_path / "script.pt"))
    assert find_kind(tmp_path / "weights.pt") == WEIGHTS
    assert find_kind(tmp_path / "script.pt") == SCRIPT
    assert find_kind(write(tmp_path / "program.pt2")) == EXPORTED
    (tmp_path / "old.pt").write_bytes(pickle.dumps({}))
    with pytest.raises(ConfigError, match=r"no file of PyTorch 1\.6 or later"):
        find_kind(tmp_path / "old.pt")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme", "")
    with pytest.raises(ConfigError, match="none of PyTorch's"):
        find_kind(tmp_path / "other.zip")


@pytest.mark.parametrize(
    "target",
    [
        "torch.load",
        "torch.hub.load",
        "torch.ops.load_library",
        "torch.ops.load_library.x",
        "torch.ops.aten.__class__",
        "torch.ops.aten.add.__init__",
        "_operator.attrgetter",
        "_operator.call",
        "_operator.methodcaller",
        "math.__loader__",
        "#extension",
        "os.system",
        "torch.sym_int.__globals__",
    ],
)
def test_functions_that_are_no_tensor_ops_are_refused(tmp_path: Path, target: str) -> None:
    path = write(tmp_path / "m.pt2", **{"models/model.json": json.dumps({"a": [{"target": target}]})})
    with pytest.raises(ConfigError, match="which is no tensor op") as caught:
        check_exported(path)
    assert caught.value.code == "damaged_model"
    assert "m/models/model.json" in str(caught.value.where)


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.__and__.Tensor",
        "torch.ops.higher_order.cond",
        "_operator.floordiv",
        "torch.sym_max",
        "math.ceil",
        "torch.ops.aten._to_copy.default",
    ],
)
def test_tensor_ops_pass(tmp_path: Path, target: str) -> None:
    check_exported(write(tmp_path / "m.pt2", **{"models/model.json": json.dumps({"a": [{"target": target}]})}))


@pytest.mark.parametrize(
    ("size", "passes"),
    [
        ("Symbol('s23', positive=True, integer=True)", True),
        ("Add(Mul(Integer(2), Symbol('s0', integer=True)), Integer(1))", True),
        ("(s0 + 1)//2", True),
        ("Max(1, s0)", True),
        ("exec('import os')", False),
        ("exec(chr(95))", False),
        ("s0.__class__", False),
        ("().a", False),
        ("Symbol('s'+'t')", False),
        ("9**9**9**9", False),
        ("1" * 5000, False),
        (7, False),
    ],
)
def test_sizes_are_arithmetic(tmp_path: Path, size: Any, passes: bool) -> None:
    path = write(tmp_path / "m.pt2", **{"models/model.json": json.dumps({"as_expr": {"expr_str": size}})})
    if passes:
        check_exported(path)
    else:
        with pytest.raises(ConfigError, match="is no arithmetic"):
            check_exported(path)


def test_pickles_are_refused_and_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.dumps({"config": {"w": {"use_pickle": True}}})
    with pytest.raises(ConfigError, match="is pickled; tensors are not"):
        check_exported(write(tmp_path / "a.pt2", **{"data/weights/model_weights_config.json": config}))
    buffer = io.BytesIO()
    torch.save({"x": Bomb()}, buffer)
    with pytest.raises(ConfigError, match="it holds more than tensors, or is damaged"):
        check_exported(write(tmp_path / "b.pt2", **{"data/sample_inputs/model.pt": buffer.getvalue()}))
    with pytest.raises(ConfigError, match="compiled code or objects"):
        check_exported(write(tmp_path / "c.pt2", **{"data/constants/opaque_obj_0": pickle.dumps(Bomb())}))
    assert capsys.readouterr().out == ""


def test_packed_members_and_broken_text_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt2", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/archive_format", "pt2" * 100)
    with pytest.raises(ConfigError, match="the member is packed"):
        check_exported(tmp_path / "m.pt2")
    for text in ("{", "[" * 100_000):
        with pytest.raises(ConfigError, match="it is no JSON"):
            check_exported(write(tmp_path / "b.pt2", **{"models/model.json": text}))


@given(st.text(alphabet="s01+-*/()., _aexcopn'", max_size=40))
def test_no_size_that_passes_calls_or_looks_up_anything(text: str) -> None:
    from recserve.importers.torch_archive import _is_arithmetic

    if _is_arithmetic(text):
        assert "'" not in text
        assert "__" not in text
        for name in ("exec", "open", "exp"):
            assert f"{name}(" not in text.replace(" ", "")
