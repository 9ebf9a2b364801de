"""Reads the `manifest.json` of a published version: which format it has, and its fields, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeVar

import orjson
import pydantic

from recserve.errors import BundleError

MANIFEST: Final = "manifest.json"
MAX_MANIFEST_BYTES: Final = 64 << 20

M = TypeVar("M", bound=pydantic.BaseModel)


def read_manifest(folder: Path, schema: type[M], *, form: str, form_version: int, kind: str, remake: str) -> M:
    """Read the manifest of a version's folder.

    Args:
        folder: `<base>/<name>/<version>`.
        schema: of its fields; strict, and it forbids others.
        form: what its field `format` must say.
        form_version: what its field `format_version` must say.
        kind: what such a folder is, in words, as `recserve bundle`.
        remake: what to do about another version of the format, as a sentence without its full stop.

    Raises:
        BundleError: `not_a_bundle` where there is none, `bad_manifest` where it is broken or has more than
            `MAX_MANIFEST_BYTES`, `bundle_format` where this recserve reads another version of the format.
    """
    path = folder / MANIFEST
    document = _read_json(path)
    if not isinstance(document, dict) or document.get("format") != form:
        raise _broken(path, f"is not the manifest of a {kind}")
    if document.get("format_version") != form_version:
        raise BundleError(
            f"format version {document.get('format_version')!r}; this recserve reads {form_version}",
            code="bundle_format",
            where=str(path),
            hint=remake,
        )
    try:
        return schema.model_validate(document)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise _broken(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _read_json(path: Path) -> object:
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise _broken(path, f"has more than {MAX_MANIFEST_BYTES >> 20} MiB")
        return orjson.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError(
            f"there is no {MANIFEST}",
            code="not_a_bundle",
            where=str(path.parent),
            hint="The path of a version is <base>/<name>/<version>",
        ) from error
    except orjson.JSONDecodeError as error:
        raise _broken(path, f"is no JSON: {error}") from error
    except OSError as error:
        raise _broken(path, f"cannot be read: {error.strerror}") from error


def _broken(path: Path, message: str) -> BundleError:
    return BundleError(message, code="bad_manifest", where=str(path))
