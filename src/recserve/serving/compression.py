"""Content codings of bodies: gzip and deflate, in and out.

What comes in is inflated up to a limit and no further, so that a small body cannot fill the memory.
"""

from __future__ import annotations

import zlib
from typing import Final, Literal

from recserve.errors import RequestError
from recserve.serving.refusals import BodyTooLargeError

Coding = Literal["identity", "gzip", "deflate"]

_CODINGS: Final[dict[str, Coding]] = {"identity": "identity", "gzip": "gzip", "deflate": "deflate"}
_DETECT: Final = 32 + zlib.MAX_WBITS
"""zlib tells gzip and zlib streams apart by their first bytes."""

_PIECE_BYTES: Final = 64 << 10

MAX_MEMBERS: Final = 4096
"""Compressed members of one body: each costs its start, however small it is."""

_LEVEL: Final = 1
_WINDOW: Final = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class UnsupportedCodingError(RequestError):
    """The body is compressed in a way that the server does not know."""

    default_code = "unsupported_encoding"


def read_coding(value: str) -> Coding:
    """The coding that a `Content-Encoding` header names.

    Raises:
        UnsupportedCodingError: neither gzip, deflate nor identity.
    """
    match value.strip().lower():
        case "" | "identity":
            return "identity"
        case "gzip" | "x-gzip":
            return "gzip"
        case "deflate":
            return "deflate"
    raise UnsupportedCodingError("Unsupported compression type", where="header content-encoding")


def inflate(body: bytes, coding: Coding, max_bytes: int) -> bytes:
    """The body as it was before its compression.

    Raises:
        RequestError: not what its coding says, or cut off, or of more than `MAX_MEMBERS` members.
        BodyTooLargeError: it inflates to more than `max_bytes`.
    """
    if coding == "identity" or not body:
        return body
    parts: list[bytes] = []
    left, at = max_bytes, 0
    for _ in range(MAX_MEMBERS):  # a gzip body may have several
        inflated, at = _inflate_member(body, at, coding, left)
        parts += inflated
        left -= sum(map(len, inflated))
        if left < 0:
            raise BodyTooLargeError(
                f"the body inflates to more than {max_bytes} bytes", where="body", hint="Split the request."
            )
        if at >= len(body):
            return b"".join(parts)
    raise RequestError(f"failed to decompress the {coding} request body: it has more than {MAX_MEMBERS} members")


def _inflate_member(body: bytes, at: int, coding: Coding, max_bytes: int) -> tuple[list[bytes], int]:
    """The parts of the member that begins at `at`, up to one byte more than `max_bytes`, and where it ends."""
    stream = zlib.decompressobj(_DETECT)
    parts: list[bytes] = []
    left = max_bytes
    while at < len(body) and not stream.eof and left >= 0:
        piece = body[at : at + _PIECE_BYTES]  # what a stream does not need, it copies
        try:
            parts.append(stream.decompress(piece, left + 1))
        except zlib.error as error:
            raise RequestError(f"failed to decompress the {coding} request body: {error}") from None
        left -= len(parts[-1])
        at += len(piece) - len(stream.unused_data)
    if not stream.eof and left >= 0:
        raise RequestError(f"failed to decompress the {coding} request body: it is cut off")
    return parts, at


def deflate(body: bytes, coding: Coding) -> bytes:
    """The body, compressed."""
    if coding == "identity":
        return body
    stream = zlib.compressobj(_LEVEL, wbits=_WINDOW[coding])
    return stream.compress(body) + stream.flush()


def choose_coding(accept_encoding: str) -> Coding:
    """The coding of an answer: of those that an `Accept-Encoding` header lists, the known one of most weight.

    The first wins where two weigh the same; what the header gets wrong counts as not listed.
    """
    best: Coding = "identity"
    best_weight = 0.0
    for item in accept_encoding.split(","):
        name, _, parameters = item.strip().lower().partition(";")
        weight = _weight(parameters)
        coding = _CODINGS.get(name.strip())
        if coding is not None and weight > best_weight:
            best, best_weight = coding, weight
    return best


def _weight(parameters: str) -> float:
    text = parameters.replace(" ", "")
    if not text:
        return 1.0
    try:
        weight = float(text.removeprefix("q="))
    except ValueError:
        return 0.0
    return weight if text.startswith("q=") and 0 < weight <= 1 else 0.0
