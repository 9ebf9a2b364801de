"""The `Content-Type` header of a scoring request."""

from __future__ import annotations

from typing import Final

from recserve.errors import RequestError

CSV: Final = "text/csv"
JSON: Final = "application/json"
PARQUET: Final = "application/vnd.apache.parquet"
TYPES: Final = (CSV, JSON, PARQUET)


class MediaTypeError(RequestError):
    """The body is of a type that the server does not read."""

    default_code = "unsupported_media_type"


def read_content_type(value: str) -> str:
    """One of `TYPES`.

    Raises:
        MediaTypeError: another type, a charset that is not UTF-8, or a parameter other than the charset.
    """
    kind, *rest = (part.strip() for part in value.split(";"))
    parameters = {name.strip().lower(): text.strip().strip('"') for name, _, text in (p.partition("=") for p in rest)}
    parameters.pop("", None)
    if parameters.pop("charset", "utf-8").lower() != "utf-8":
        raise MediaTypeError("The scoring server only supports UTF-8")
    if parameters:
        raise MediaTypeError(f"Unrecognized content type parameters: {', '.join(parameters)}.")
    if kind.lower() not in TYPES:
        raise MediaTypeError(
            f"This predictor only supports the following content types: Types: {list(TYPES)}. Got '{value}'."
        )
    return kind.lower()
