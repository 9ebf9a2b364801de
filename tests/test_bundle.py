from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from onnx import TensorProto, helper

from recserve import __version__
from recserve.bundle import Bundle
from recserve.errors import BundleError, ConfigError
from recserve.features.feature_set import FeatureSet
from recserve.network.model import Network
from recserve.ranker import Ranker

IDS = {"embedding_dim": 2}
FEATURES: list[dict[str, Any]] = [
    {"feature_name": "age", "feature_type": "raw_feature", "expression": "user:age"},
    {"feature_name": "price", "feature_type": "raw_feature", "expression": "item:price"},
    {"feature_name": "color", "feature_type": "id_feature", "expression": "item:color", "vocab_file": "colors.txt"}
    | {"default_value": "red", "default_bucketize_value": 0, **IDS},
    {"feature_name": "unread", "feature_type": "raw_feature", "expression": "item:unread"},
]
ROWS = np.array([[0, 0], [1, 10], [2, 20], [3, 30]], np.float32)
OUTPUTS = {"ctr": ["age", "price", "color"]}
FILES = [
    "assets/",
    "features.json",
    "network/candidate.onnx",
    "network/flat.onnx",
    "network/item.onnx",
    "network/request.onnx",
    "network/split.json",
    "tables/color_emb.direct.npy",
]
Build = Callable[..., Path]


@pytest.fixture
def build(sum_model: Build, tmp_path: Path) -> Build:
    (tmp_path / "colors.txt").write_text("red\ngreen\nblue\n")

    def with_features(out: str = "models/rank/7", **options: Any) -> Path:
        return sum_model(FEATURES, OUTPUTS, out, tables={"color_emb": ROWS, "spare": ROWS}, **options)

    return with_features


@pytest.fixture
def bundle(build: Build) -> Path:
    return build()


def refuse(path: Path, **options: Any) -> BundleError:
    with pytest.raises(BundleError) as caught:
        Bundle.open(path, **options)
    return caught.value


def file_of(bundle: Path, name: str) -> Path:
    return next((bundle / name).iterdir()) if name.endswith("/") else bundle / name


def edit(bundle: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the manifest."""
    path = bundle / "manifest.json"
    document = orjson.loads(path.read_bytes())
    change(document)
    path.write_bytes(orjson.dumps(document))


def reseal(bundle: Path, name: str) -> None:
    """Give a changed file the checksum that it has now."""
    data = (bundle / name).read_bytes()
    entry = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    edit(bundle, lambda manifest: manifest["files"].update({name: entry}))


def test_a_bundle_holds_what_its_manifest_lists(bundle: Path) -> None:
    found = sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file())
    manifest = Bundle.open(bundle).manifest
    assert sorted([*manifest.files, "manifest.json"]) == found
    names = [name if not name.endswith("/") else f"{name}{file_of(bundle, name).name}" for name in FILES]
    assert sorted(manifest.files) == names
    for name, entry in manifest.files.items():
        data = (bundle / name).read_bytes()
        assert entry.sha256 == hashlib.sha256(data).hexdigest()
        assert entry.size_bytes == len(data)


def test_the_manifest_says_what_the_model_is(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    manifest = opened.manifest
    assert (manifest.format, manifest.format_version) == ("recserve-bundle", 1)
    assert (opened.name, opened.version) == ("rank", 7)
    assert manifest.recserve_version == __version__
    assert (manifest.profile, manifest.profile_version, manifest.mode) == ("pyfg", 1, "raw")
    assert manifest.encoded_separator == "\x03"
    assert manifest.plan_digest == opened.features.digest
    assert manifest.score == "ctr"
    assert manifest.outputs == ["ctr"]
    assert manifest.tables == ["color_emb"]
    assert manifest.unused_features == ["unread"]
    assert manifest.proof["max_difference"] < 1e-5
    assert manifest.created.endswith("+00:00")


def test_a_bundle_needs_nothing_beside_it(bundle: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "rank" / "9"
    moved.parent.mkdir(parents=True)
    shutil.move(bundle, moved)
    (tmp_path / "colors.txt").unlink()
    ranker = Ranker.open(moved, items=[{"item_id": "a", "color": "blue", "price": 5.0}])
    result = ranker.rank({"age": 1}, {}, ["a"])
    assert result.scores.tolist() == [1 + 5 + 2 + 20]
    assert result.version == ("rank", 7, 0, 1)


def test_nothing_else_is_left_and_readers_may_read(bundle: Path) -> None:
    assert [path.name for path in bundle.parent.iterdir()] == ["7"]
    assert bundle.stat().st_mode & 0o755 == 0o755


def test_progress_is_told_step_by_step(build: Build) -> None:
    lines: list[str] = []
    build(progress=lines.append)
    assert lines == [
        "compiling features",
        "splitting the network",
        "choosing an engine for the candidate network",
        "proving that staged equals flat",
        "writing",
    ]


def test_versions_are_never_overwritten(build: Build, bundle: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in bundle.rglob("*")}
    with pytest.raises(ConfigError) as caught:
        build()
    assert caught.value.code == "version_exists"
    assert str(caught.value) == (
        f"{bundle}: exists already; a version is never overwritten. Take version 8, or remove the directory"
    )
    assert {path: path.stat().st_mtime_ns for path in bundle.rglob("*")} == before


def test_a_version_that_appears_while_building_stays(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def late(source: Path, target: Path) -> None:
        target.mkdir()
        (target / "theirs").touch()
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    with pytest.raises(ConfigError, match=r"cannot publish: .*not empty") as caught:
        build()
    assert caught.value.code == "cannot_write"
    path = Path(caught.value.where or "")
    assert [found.name for found in path.parent.iterdir()] == ["7"]
    assert [found.name for found in path.iterdir()] == ["theirs"]


def test_a_failure_while_writing_leaves_nothing(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("recserve.bundle.save_split", full)
    with pytest.raises(ConfigError, match=r"models/rank/7: cannot publish: \[Errno 28\] No space left on device"):
        build()
    assert not list((tmp_path / "models" / "rank").iterdir())


@pytest.mark.parametrize("version", ["0", "-1", "seven", "1.5", "٣", "07x"])
def test_a_version_is_a_positive_integer(build: Build, version: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(f"models/rank/{version}")
    assert caught.value.code == "bad_version"
    assert f"version {version!r} is not a positive integer" in str(caught.value)
    assert str(caught.value).endswith("The path is <base>/<name>/<version>, such as models/rank/7")


@pytest.mark.parametrize("name", ["a:b", "a%20b"])
def test_a_name_fits_into_an_address(build: Build, name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' is no name of a model") as caught:
        build(f"models/{name}/1")
    assert caught.value.code == "bad_name"


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_is_found(bundle: Path, name: str) -> None:
    path = file_of(bundle, name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    error = refuse(bundle)
    assert error.code == "damaged_file"
    assert str(error) == (
        f"{path}: is not what was published: its checksum differs. Copy the bundle again, and never edit one in place"
    )


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_found_without_reading_it(bundle: Path, name: str) -> None:
    path = file_of(bundle, name)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    error = refuse(bundle, verify=False)
    assert error.code == "damaged_file"
    assert str(error) == f"{path}: has {size - 1} bytes instead of {size}. Copy the bundle again"


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(bundle: Path, name: str) -> None:
    path = file_of(bundle, name)
    path.unlink()
    error = refuse(bundle, verify=False)
    assert error.code == "missing_file"
    assert str(error) == f"{path}: is missing. Copy the bundle again"


def test_a_path_out_of_the_bundle_is_refused(bundle: Path) -> None:
    (bundle.parent / "secret").write_text("s")
    for outside in ("../secret", str(bundle.parent / "secret")):
        edit(bundle, lambda manifest, name=outside: manifest["files"].update({name: {"sha256": "", "size_bytes": 1}}))
        error = refuse(bundle)
        assert error.code == "bad_manifest"
        assert str(error) == f"{bundle}: file {outside!r} is outside the bundle"
        edit(bundle, lambda manifest, name=outside: manifest["files"].pop(name))


def test_a_link_out_of_the_bundle_is_refused(bundle: Path) -> None:
    path = bundle / "network" / "split.json"
    shutil.move(path, bundle.parent / "split.json")
    path.symlink_to(bundle.parent / "split.json")
    assert "file 'network/split.json' is outside the bundle" in str(refuse(bundle))


def test_nothing_may_be_added(bundle: Path) -> None:
    shutil.copy(bundle / "tables" / "color_emb.direct.npy", bundle / "tables" / "color_emb.hashed.npy")
    error = refuse(bundle, verify=False)
    assert error.code == "bad_manifest"
    assert str(error) == (
        f"{bundle}: file 'tables/color_emb.hashed.npy' is not in the manifest. "
        "Nothing may be added to a bundle; remove it"
    )


def test_other_formats_are_refused(bundle: Path) -> None:
    edit(bundle, lambda manifest: manifest.update(format_version=2))
    error = refuse(bundle)
    assert error.code == "bundle_format"
    assert str(error) == (
        f"{bundle / 'manifest.json'}: format version 2; this recserve reads 1. "
        "Build the bundle again, or serve it with the recserve that built it"
    )
    edit(bundle, lambda manifest: manifest.update(format="other"))
    assert str(refuse(bundle)) == f"{bundle / 'manifest.json'}: is not the manifest of a recserve bundle"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "\xff"])
def test_a_manifest_that_is_none_is_refused(bundle: Path, text: str) -> None:
    path = bundle / "manifest.json"
    path.write_bytes(text.encode("latin-1"))
    error = refuse(bundle)
    assert error.code == "bad_manifest"
    assert str(error).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"version": "7"}, "version: Input should be a valid integer"),
        ({"extra": 1}, "extra: Extra inputs are not permitted"),
        ({"mode": "other"}, "mode: Input should be 'raw', 'encoded' or 'bucketize'"),
        ({"files": {"x": 1}}, "files.x: Input should be a valid dictionary or instance of FileEntry"),
    ],
)
def test_a_manifest_of_another_form_is_refused(bundle: Path, change: dict[str, Any], text: str) -> None:
    edit(bundle, lambda manifest: manifest.update(change))
    assert str(refuse(bundle)) == f"{bundle / 'manifest.json'}: {text}"


def test_what_is_no_bundle_says_so(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        error = refuse(path)
        assert error.code == "not_a_bundle"
        assert str(error) == f"{path}: there is no manifest.json. The path of a version is <base>/<name>/<version>"


def test_a_plan_compiled_otherwise_never_serves(bundle: Path) -> None:
    digest = Bundle.open(bundle).manifest.plan_digest
    edit(bundle, lambda manifest: manifest.update(plan_digest="0" * 64))
    error = refuse(bundle)
    assert error.code == "plan_mismatch"
    assert str(error) == (
        f"{bundle}: this version of recserve compiles the features to plan {digest[:12]}, but the model was built with "
        "plan 000000000000. Build the bundle again with this version"
    )


def test_objects_are_never_unpickled(bundle: Path, tmp_path: Path) -> None:
    name = "tables/color_emb.direct.npy"
    mark = tmp_path / "unpickled"

    class Trap:
        def __reduce__(self) -> Any:
            return (mark.touch, ())

    np.save(bundle / name, np.array([Trap()], object), allow_pickle=True)
    reseal(bundle, name)
    error = refuse(bundle)
    assert str(error).startswith(f"{bundle / name}: not a whole .npy file (")
    assert not mark.exists()


def test_no_source_unpickles() -> None:
    source = Path(__file__).parent.parent / "src" / "recserve"
    for path in source.rglob("*.py"):
        text = path.read_text()
        assert "import pickle" not in text, path
        assert "allow_pickle=True" not in text, path


@pytest.mark.parametrize("name", ["features.json", "network/split.json", "network/item.onnx", "network/flat.onnx"])
def test_damage_under_a_right_checksum_is_an_error_all_the_same(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(b"{}")
    reseal(bundle, name)
    with pytest.raises(ConfigError, match=f"^{bundle}"):
        Bundle.open(bundle).pipeline()


def test_parts_that_do_not_fit_are_refused_before_anything_is_written(
    build: Build, sum_model: Build, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="'cvr', which is no output of the network"):
        build(score="cvr")
    with pytest.raises(ConfigError, match="feature 'color': needs the table 'color_emb', which was not given"):
        sum_model(FEATURES, OUTPUTS, "models/rank/8")
    with pytest.raises(ConfigError, match=r"features.json: cannot read it: No such file or directory"):
        Bundle.build(features=tmp_path / "features.json", tables={}, network="n", out=tmp_path / "models/rank/9")
    assert not (tmp_path / "models").exists()


def test_a_missing_vocabulary_is_named_at_build(sum_model: Build, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"colors\.txt"):
        sum_model(FEATURES, OUTPUTS, tables={"color_emb": ROWS})


def test_unread_features_may_lack_their_tables(build: Build) -> None:
    opened = Bundle.open(build())
    assert set(opened.tables) == {"color_emb"}
    assert isinstance(opened.features, FeatureSet)


def test_a_score_takes_one_number_for_each_candidate(tmp_path: Path) -> None:
    features = FeatureSet.from_fg_json({"features": [FEATURES[1] | {"value_dim": 3, "separator": ","}]})
    network = identity_network("price", ["N", 3], "both")
    build = {"features": features, "tables": {}, "network": network}
    with pytest.raises(ConfigError) as caught:
        Bundle.build(**build, out=tmp_path / "rank" / "1")
    assert caught.value.code == "bad_score"
    assert str(caught.value) == (
        "score: 'both' reads 'both' of the shape ['N', 3]; it takes one number for each candidate. "
        "Export an output of the shape [N] or [N, 1] to rank by"
    )
    path = Bundle.build(**build, out=tmp_path / "rank" / "1", score="1").path
    result = Ranker.open(path, items=[{"item_id": "a", "price": "1,2,3"}]).rank({}, {}, ["a"])
    assert result.outputs["both"].tolist() == [[1, 2, 3]]
    assert result.scores.tolist() == [1]


def identity_network(name: str, dims: list[Any], output: str) -> Network:
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, dims)]
    graph = helper.make_graph([helper.make_node("Identity", [name], [output])], "identity", inputs, outputs)
    return Network(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), "identity")


def test_a_score_can_be_of_no_output(build: Build) -> None:
    ranker = Ranker.open(build(score="2"), items=[{"item_id": name} for name in "ab"])
    assert ranker.rank({}, {}, ["b", "a"]).item_ids == ["b", "a"]


def test_only_raw_features_can_be_served(tmp_path: Path) -> None:
    entry = {"feature_type": "id_feature", "feature_name": "a", "num_buckets": 3, "embedding_dim": 2}
    features = FeatureSet.from_fg_json({"features": [entry]}, mode="encoded")
    with pytest.raises(ConfigError) as caught:
        Bundle.build(features=features, tables={}, network=tmp_path / "no.onnx", out=tmp_path / "m" / "1")
    assert str(caught.value) == (
        "features: features in mode 'encoded' read columns that belong to no side. "
        "Build with the raw features; finished ids and numbers are for training"
    )
