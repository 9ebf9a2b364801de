"""Which bundle a path on the command line means, and which items go with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recserve.errors import ConfigError, suggest


def resolve_bundle(path: str) -> Path:
    """`<base>/<name>/<version>` as it is; for `<base>/<name>`, its highest version.

    Raises:
        ConfigError: there is no such directory.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ConfigError(
            "there is no such directory", where=path, hint="Give <base>/<name>/<version>, such as models/rank/7."
        )
    versions = [child for child in folder.iterdir() if child.name.isascii() and child.name.isdigit()]
    return max(versions, key=lambda child: int(child.name)) if versions else folder


def match_items(values: Sequence[str], bundles: Sequence[Path]) -> dict[Path, str | None]:
    """Bundle → its items file, from values of the form `FILE` (for every bundle) or `NAME=FILE` (for that model).

    Raises:
        ConfigError: an unknown model name, a model named twice, or a file that does not exist.
    """
    by_name: dict[str | None, str] = {}
    names = {bundle.absolute().parent.name for bundle in bundles}
    for value in values:
        name, _, file = value.partition("=")
        model, source = (name, file) if file and not Path(value).exists() else (None, value)
        if model is not None and model not in names:
            raise ConfigError(f"items for the unknown model {model!r}", where="--items", hint=suggest(model, names))
        if model in by_name:
            raise ConfigError(f"two items files for {model or 'every model'}", where="--items")
        if not Path(source).exists():
            raise ConfigError("there is no such file", where=f"--items {source}")
        by_name[model] = source
    return {bundle: by_name.get(bundle.absolute().parent.name, by_name.get(None)) for bundle in bundles}
