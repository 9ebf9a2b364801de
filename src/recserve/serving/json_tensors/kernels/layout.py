"""Fields of the integer records that Python and the kernels exchange, int64 each.

A *block* is a value of a JSON text that holds nothing but numbers in lists of regular shape: a list of them, or a
*table*, a list of objects with the same keys in the same order. Its numbers stand in *slots* of 8 bytes in the order of
the text: the bits of float64 where a column has a number with a fraction or an exponent, else int64.
"""

from __future__ import annotations

from typing import Final

# ---- what a kernel is given

TEXT: Final = 0
"""Address of the text, which has a byte 0 behind it, as the memory of `bytes` and `bytearray` has."""
SIZE: Final = 1
"""Bytes of the text."""
SLOTS: Final = 2
"""Address of int64[SIZE // 2 + 1]."""
BLOCKS: Final = 3
"""Address of int64[MAX_BLOCKS, BLOCK]."""
COLUMNS: Final = 4
"""Address of int64[MAX_COLUMNS, COLUMN]."""
OP: Final = 8

# ---- what it gives back

BLOCK_COUNT: Final = 0
COLUMN_COUNT: Final = 1
SLOT_COUNT: Final = 2
RUN: Final = 8

# ---- a block

BEGIN: Final = 0
"""First byte of the block in the text."""
END: Final = 1
"""Byte behind its last."""
FIRST_SLOT: Final = 2
ROWS: Final = 3
"""Objects of a table; 1 for a list."""
WIDTH: Final = 4
"""Slots of an object, or of the list."""
FIRST_COLUMN: Final = 5
COLUMN_END: Final = 6
BLOCK: Final = 7

# ---- a column of a block

KEY_BEGIN: Final = 0
"""First byte of the key, behind its quotation mark; −1 for a list."""
KEY_END: Final = 1
OFFSET: Final = 2
"""Slots of the object before those of the column."""
IS_FLOAT: Final = 3
"""0 for integers, 1 for floats, MIXED for floats of which some were written as integers."""
MIXED: Final = 2
RANK: Final = 4
DIMS: Final = 5
"""First of MAX_RANK sizes."""
MAX_RANK: Final = 8
COUNTS: Final = 13
"""First of MAX_RANK counts that the reader keeps."""
COLUMN: Final = 21

MAX_BLOCKS: Final = 256
MAX_COLUMNS: Final = 512
MAX_TABLE_COLUMNS: Final = 128
MIN_BLOCK_BYTES: Final = 48
"""A shorter list costs the usual parser less than a block does."""

# ---- status

DONE: Final = 0
TOO_MANY: Final = 1
"""More blocks or columns than there is room for."""
IN_DOUBT: Final = 2
"""The digits of a number are not sure."""

# ---- what the writer is given

OUT: Final = 0
"""Address of the bytes to write."""
ROW_COUNT: Final = 1
PARTS: Final = 2
"""Address of int64[PART_COUNT, PART], the values that each row has."""
PART_COUNT: Final = 3
SEPARATOR: Final = 4
"""Byte between two rows; 0 for `, `."""
IS_OBJECT: Final = 5
"""Whether a row ends with `}`."""

WRITTEN: Final = 0
"""What it gives back: bytes."""

# ---- a part of the rows

VALUES: Final = 0
"""Address of the values of all rows, one row after the other."""
KIND: Final = 1
FLOAT32: Final = 0
FLOAT64: Final = 1
INT64: Final = 2
BOOL: Final = 3
PREFIX: Final = 2
"""Address of the bytes before the values of a row."""
PREFIX_SIZE: Final = 3
PART_SIZE: Final = 4
"""Values of a row."""
PART_RANK: Final = 5
"""Axes of a row."""
PART_DIMS: Final = 6
MAX_PART_RANK: Final = 16
PART: Final = PART_DIMS + MAX_PART_RANK
VALUE_BYTES: Final = 26
"""At least what the text of a value takes, with the two bytes behind it."""
