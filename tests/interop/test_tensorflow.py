"""TensorFlow's and Keras's own answers against the plain models that recserve makes of what they save."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.importers import formats, keras_file, savedmodel
from recserve.importers.savedmodel.runtime import SavedModel
from recserve.plain_model import PlainModel, open_plain_model
from recserve.signatures import Tensor

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("tf2onnx", reason="tf2onnx is not installed")
pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

ROWS = 6
IDS = np.arange(ROWS, dtype=np.int64).reshape(-1, 1)
X = np.linspace(-2, 2, ROWS * 3, dtype=np.float32).reshape(ROWS, 3)


def text(*values: bytes) -> Any:
    return np.array(values, object)


def opened(folder: Path) -> PlainModel:
    return open_plain_model(folder, name="m")


def ranked() -> Any:
    """A Keras model of two inputs with a table of more than a megabyte."""
    layers = tf.keras.layers
    ids, x = tf.keras.Input((1,), dtype="int64", name="id"), tf.keras.Input((3,), name="x")
    joined = layers.Concatenate()([layers.Flatten()(layers.Embedding(20_000, 16)(ids)), x])
    hidden = layers.BatchNormalization()(layers.Dense(8, activation="relu")(joined))
    return tf.keras.Model({"id": ids, "x": x}, {"ctr": layers.Dense(1, activation="sigmoid", name="ctr")(hidden)})


@pytest.fixture(scope="module")
def keras_model() -> Any:
    return ranked()


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_keras_file_answers_as_keras_does(suffix: str, keras_model: Any, tmp_path: Path) -> None:
    path, folder = tmp_path / f"model.{suffix}", tmp_path / "1"
    keras_model.save(str(path))
    folder.mkdir()
    assert formats.guess(path) == "keras"
    report = keras_file.convert(path, folder)
    assert report.notes == []
    assert len(list((folder / "weights").iterdir())) == 1  # both signatures share the table
    given = opened(folder).run("serving_default", {"id": IDS, "x": X})
    want = keras_model({"id": IDS, "x": X})["ctr"].numpy()
    np.testing.assert_allclose(given["ctr"], want, rtol=1e-5, atol=1e-6)


def test_a_lambda_layer_is_refused_and_not_run(tmp_path: Path) -> None:
    model = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Lambda(lambda x: x * 2)])
    model.save(str(tmp_path / "model.keras"))
    with pytest.raises(ConfigError, match="Keras cannot load it") as caught:
        keras_file.convert(tmp_path / "model.keras", tmp_path / "1")
    assert "Lambda" in str(caught.value.hint)


class Lookup(tf.Module):  # type: ignore[misc]
    """String, lookup and numeric signatures, and tf.Examples."""

    def __init__(self) -> None:
        super().__init__()
        keys = tf.lookup.KeyValueTensorInitializer(["ios", "android"], tf.constant([1.0, 2.0]))
        self.table = tf.lookup.StaticHashTable(keys, -1.0)
        self.weight = tf.Variable([[1.0], [2.0]])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="device")])  # type: ignore[untyped-decorator]
    def look(self, device: Any) -> Any:
        bucket = tf.strings.to_hash_bucket_fast(device, 1000)
        return {"weight": self.table.lookup(tf.strings.lower(device)), "bucket": bucket, "same": device}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def line(self, x: Any) -> Any:
        return {"outputs": x @ self.weight, "total": tf.reduce_sum(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])  # type: ignore[untyped-decorator]
    def examples(self, examples: Any) -> Any:
        parsed = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([2], tf.float32)})
        return {"outputs": parsed["x"] @ self.weight}


@pytest.fixture(scope="module")
def lookup() -> Lookup:
    return Lookup()


def saved(lookup: Lookup, path: Path, *names: str) -> Path:
    tf.saved_model.save(lookup, str(path), signatures={name: getattr(lookup, name) for name in names})
    return path


def agree(given: dict[str, Tensor], want: dict[str, Any]) -> None:
    for name, tensor in want.items():
        if tensor.dtype == tf.string:
            assert given[name].tolist() == tensor.numpy().tolist()
        else:
            np.testing.assert_allclose(given[name], tensor.numpy(), rtol=1e-6)


def test_a_saved_model_of_numbers_becomes_onnx_with_its_signatures(lookup: Lookup, tmp_path: Path) -> None:
    (folder := tmp_path / "1").mkdir()
    source = saved(lookup, tmp_path / "source", "line")
    assert formats.guess(source) == "savedmodel"
    report = savedmodel.convert(source, folder)
    assert report.notes == []
    assert json.loads((folder / "model.json").read_text()).get("engine") is None
    model = opened(folder)
    assert model.signatures["line"].outputs["outputs"].shape == (None, 1)
    agree(model.run("line", {"x": X[:, :2]}), lookup.line(X[:, :2]))


def test_string_and_lookup_ops_run_in_tensorflow(lookup: Lookup, tmp_path: Path) -> None:
    (folder := tmp_path / "1").mkdir()
    report = savedmodel.convert(saved(lookup, tmp_path / "source", "look", "line", "examples"), folder)
    assert "does not become ONNX" in report.notes[-1]
    assert json.loads((folder / "model.json").read_text())["engine"] == "tensorflow"
    model = opened(folder)
    devices = text(b"iOS", b"\xff\xfe", b"")
    agree(model.run("look", {"device": devices}), lookup.look(tf.constant(list(devices))))
    agree(model.run("line", {"x": X[:, :2]}, ["total"]), {"total": lookup.line(X[:, :2])["total"]})
    value = tf.train.Feature(float_list=tf.train.FloatList(value=[1.0, 3.0]))
    example = tf.train.Example(features=tf.train.Features(feature={"x": value})).SerializeToString()
    assert model.run("examples", {"examples": text(example)})["outputs"].tolist() == [[7.0]]


def test_a_saved_model_is_served_where_it_stands(lookup: Lookup, tmp_path: Path) -> None:
    folder = saved(lookup, tmp_path / "m" / "7", "look")
    model = open_plain_model(folder)
    assert (model.name, model.version) == ("m", 7)
    agree(model.run("look", {"device": text(b"android")}), lookup.look(tf.constant(["android"])))


def test_wrong_inputs_and_damaged_models_are_told(lookup: Lookup, tmp_path: Path) -> None:
    from recserve.errors import RequestError

    model = open_plain_model(saved(lookup, tmp_path / "m" / "7", "line", "look"))
    with pytest.raises(RequestError, match="the model refuses the inputs"):
        model.run("line", {"x": np.ones((2, 5), np.float32)})
    (tmp_path / "m" / "7" / "model.json").write_text('{"engine": "tensorflow", "signatures": {"lime": {}}}')
    with pytest.raises(ConfigError, match="no signature 'lime'"):
        open_plain_model(tmp_path / "m" / "7")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "saved_model.pb").write_bytes(b"garbage")
    with pytest.raises(ConfigError, match="TensorFlow cannot load it") as caught:
        SavedModel(tmp_path / "bad")
    assert caught.value.code == "damaged_model"
    tf.saved_model.save(tf.Module(), str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="the SavedModel has no signatures"):
        SavedModel(tmp_path / "none")


def test_a_server_answers_for_a_saved_model(lookup: Lookup, tmp_path: Path) -> None:
    import urllib.request

    saved(lookup, tmp_path / "models" / "m" / "1", "look")
    program = "from recserve.cli import main; main()"
    command = [sys.executable, "-c", program, "serve", str(tmp_path / "models"), "--dialect", "tfs:0"]
    body = json.dumps({"signature_name": "look", "instances": ["ANDROID"]}).encode()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip().rsplit(" ", 1)[1]
            request = urllib.request.Request(f"{url}/v1/models/m:predict", body)
            with urllib.request.urlopen(request, timeout=60) as answer:
                (row,) = json.load(answer)["predictions"]
        finally:
            process.terminate()
            process.wait(30)
    assert (row["weight"], row["same"]) == (2.0, "ANDROID")
