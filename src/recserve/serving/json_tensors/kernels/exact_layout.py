"""Fields of the records of the exact reader, and what it says of a text, int64 each."""

from __future__ import annotations

from typing import Final

# ---- what the kernel is given

TEXT: Final = 0
"""Address of the text, which has a byte 0 behind it."""
SIZE: Final = 1
"""Bytes of the text."""
OUT: Final = 2
"""Address of uint8[OUT_BYTES_PER_BYTE * SIZE + OUT_BYTES]."""
KINDS: Final = 3
"""Address of uint8[SIZE + 1]: the bracket of each open level."""
KEYS: Final = 4
"""Address of int64[keys, KEY], one more than there can be."""
SLOTS: Final = 5
"""Address of int64[SLOT_MASK + 1], all 0: number of a key, from 1 on, by its hash."""
SLOT_MASK: Final = 6
SCRATCH: Final = 7
"""Address of uint8[SIZE + 1]: keys without their escapes."""
SEED: Final = 8
"""Of the hashes of keys; nobody outside knows it."""
OBJECTS: Final = 9
"""Address of int64[MAX_DEPTH + 2]: the number of the object that is open at each level."""
OP: Final = 10

OUT_BYTES_PER_BYTE: Final = 3
"""`Inf` with its comma becomes `Infinity` with its own."""
OUT_BYTES: Final = 16

# ---- what it gives back

AT: Final = 0
"""Offset of the error in the text."""
WRITTEN: Final = 1
"""Bytes of the text that it wrote."""
IS_PLAIN: Final = 2
"""Whether what it wrote has no NaN and no infinity."""
HAS_EQUAL_KEYS: Final = 3
"""Whether a key was left out because its object has it already."""

# ---- what it keeps there while it reads

OUT_AT: Final = 4
"""Address behind what is written."""
DEPTH: Final = 5
"""Open levels."""
DEEP_AT: Final = 6
"""OUT_AT where the list began that stands for what is too deep."""
LEFT_OUT_DEPTH: Final = 7
"""Level of the object whose member is left out; 0 for none."""
LEFT_OUT_AT: Final = 8
"""OUT_AT before that member."""
OBJECT_COUNT: Final = 9
KEY_COUNT: Final = 10
SCRATCH_AT: Final = 11
"""Address behind the keys without escapes."""
RUN: Final = 12

# ---- a key

KEY_ADDRESS: Final = 0
KEY_SIZE: Final = 1
KEY_HASH: Final = 2
KEY_OBJECT: Final = 3
"""Number of its object."""
KEY: Final = 4

# ---- status

READ: Final = 0
EMPTY: Final = 1
NO_VALUE: Final = 2
NO_COMMA_IN_LIST: Final = 3
NO_COMMA_IN_OBJECT: Final = 4
NO_NAME: Final = 5
NO_COLON: Final = 6
NO_END_OF_STRING: Final = 7
ODD_BYTE: Final = 8
ODD_ESCAPE: Final = 9
ODD_HEX: Final = 10
ODD_SURROGATE: Final = 11
NO_FRACTION: Final = 12
NO_EXPONENT: Final = 13
TOO_BIG: Final = 14

MAX_DEPTH: Final = 256
"""Levels that are kept."""
