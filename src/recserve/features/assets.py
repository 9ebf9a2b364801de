"""A feature set with all it needs in one folder: features.json, and copies of its vocabularies and tokenizers."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any, Final

import orjson

from recserve.errors import ConfigError
from recserve.features.feature_set import FeatureSet

FEATURES_FILE: Final = "features.json"
_ASSET_OPTIONS: Final = ("vocab_file", "stop_char_file")


def save_features(features: FeatureSet, folder: Path) -> None:
    """Write `<folder>/features.json` and its assets to `<folder>/assets`, each named after its content.

    Raises:
        ConfigError: an asset cannot be read; names it.
    """
    document = _with_assets(features.to_fg_json(), features.asset_dir, None, folder)
    (folder / FEATURES_FILE).write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def _with_assets(node: Any, asset_dir: Path | None, own: str | None, folder: Path) -> Any:
    """`node` with its asset options replaced by the names of copies. `own` is the asset_dir of the feature."""
    if isinstance(node, list):
        return [_with_assets(child, asset_dir, own, folder) for child in node]
    if not isinstance(node, dict):
        return node
    own = node.get("asset_dir") or own
    changed = {}
    for key, value in node.items():
        if key in _ASSET_OPTIONS and isinstance(value, str) and value:
            changed[key] = _copy((asset_dir or Path()) / (own or "") / value, folder)
        elif key != "asset_dir":
            changed[key] = _with_assets(value, asset_dir, own, folder)
    return changed


def _copy(source: Path, folder: Path) -> str:
    try:
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        target = folder / "assets" / f"{digest[:12]}_{source.name}"
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, target)
    except OSError as error:
        raise ConfigError(f"cannot copy it: {error.strerror}", code="missing_asset", where=str(source)) from error
    return f"assets/{target.name}"
