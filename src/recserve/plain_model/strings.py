"""String tensors on their way into and out of the engine.

Protocols carry bytes; the engine takes Unicode text and nothing else. Text goes in as it is. Where a call holds bytes
that are no UTF-8, each of them stands as one character of a private range on the way through, so that a graph that only
moves strings about gives the same bytes back.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Objects = NDArray[np.object_]

_FIRST: Final = 0x10FE80
"""Stands for byte 0x80; the last one, for 0xFF, is still within Unicode."""

_SURROGATE: Final = 0xDC80
_HIGH: Final = range(0x80)

# A character of the range that comes from a caller is taken apart into its bytes, so that none is taken for ours.
_ENTER: Final[dict[int, str]] = {_SURROGATE + i: chr(_FIRST + i) for i in _HIGH} | {
    _FIRST + i: "".join(chr(_FIRST + byte - 0x80) for byte in chr(_FIRST + i).encode()) for i in _HIGH
}
_LEAVE: Final[dict[int, int]] = {_FIRST + i: _SURROGATE + i for i in _HIGH}


def to_text(strings: NDArray[Any]) -> tuple[Objects, bool]:
    """Bytes as text.

    Args:
        strings: object array of `bytes`, any shape.

    Returns:
        Object array of `str` of the same shape, and whether some bytes are replaced.

    Raises:
        TypeError: an element is something else than `bytes`.
    """
    flat = strings.ravel().tolist()
    is_replaced = False
    try:
        texts = list(map(bytes.decode, flat))
    except UnicodeDecodeError:
        is_replaced = True
        texts = [part.decode("utf-8", "surrogateescape").translate(_ENTER) for part in flat]
    return _shaped(texts, strings.shape), is_replaced


def to_bytes(texts: NDArray[Any], is_replaced: bool) -> Objects:
    """What `to_text` made into text, as bytes again; any other text as UTF-8.

    Args:
        texts: object array of `str`, any shape.
        is_replaced: as `to_text` returned it.

    Returns:
        Object array of `bytes` of the same shape.
    """
    flat = texts.ravel().tolist()
    if is_replaced:
        parts = [text.translate(_LEAVE).encode("utf-8", "surrogateescape") for text in flat]
    else:
        parts = list(map(str.encode, flat))
    return _shaped(parts, texts.shape)


def _shaped(values: list[Any], shape: tuple[int, ...]) -> Objects:
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape)
