"""Fields of the integer records that Python and the kernels exchange.

An *instruction* is one op of a stage, int64[INSTRUCTION]. What P0... mean is up to the kernel: numbers, slots (rows of
the value table), or addresses of constants. The *run* is what a running stage knows, int64[RUN]. A *column* is one raw
column in canonical form, int64[COLUMN]. A *failure* is what Python makes a DataError of, int64[FAILURE].
"""

from __future__ import annotations

from typing import Final

# ---- instruction

KERNEL: Final = 0
"""Address of the compiled kernel."""
OUT: Final = 1
"""Slot of the output."""
A: Final = 2
"""Slots of up to three inputs; a column op has its column in A and its steps, or -1, in B."""
B: Final = 3
C: Final = 4
DOMAIN: Final = 5
"""Slot of the STEPS value whose steps are the output's rows, or -1."""
OP: Final = 6
"""Number of the op in the graph."""
P0: Final = 7
P1: Final = 8
P2: Final = 9
P3: Final = 10
P4: Final = 11
P5: Final = 12
INSTRUCTION: Final = 13

# ---- run

RUN_VALUES: Final = 0
"""Address of the value table."""
RUN_ARENA: Final = 1
"""Address of the arena's cursor."""
RUN_COLUMNS: Final = 2
"""Address of the column table."""
RUN_ROWS: Final = 3
"""Rows of the batch."""
RUN_FAILURE: Final = 4
"""Address of the failure record."""
RUN_TRAINING: Final = 5
"""1 in training, else 0."""
RUN: Final = 6

# ---- column: rows → outer lists → inner lists → leaves

DEPTH: Final = 0
"""0: a cell is a leaf; 1: a list of leaves, or a map; 2: a list of lists."""
LEAF: Final = 1
"""TEXT, INT, FLOAT or BOOL; of a map that of its keys."""
COLUMN_ROWS: Final = 2
"""1 (the same in every row) or the rows of the batch."""
OUTER: Final = 3
"""Address of int64[rows + 1] if DEPTH > 0. A missing cell is an empty one."""
INNER: Final = 4
"""Address of int64[lists + 1] if DEPTH is 2."""
LEAVES: Final = 5
"""Address of uint8 (TEXT: all bytes; BOOL: one a leaf), int64 or float64."""
LEAF_OFFSETS: Final = 6
"""Address of int64[leaves + 1], TEXT only."""
LEAF_VALID: Final = 7
"""Address of uint8[leaves], 0 where missing; or 0 if none is missing."""
IS_MAP: Final = 8
"""1: OUTER cuts the pairs of a row; the fields above are the keys, those below the values."""
MAP_LEAF: Final = 9
MAP_LEAVES: Final = 10
MAP_OFFSETS: Final = 11
MAP_VALID: Final = 12
COLUMN: Final = 13

TEXT: Final = 0
INT: Final = 1
FLOAT: Final = 2
BOOL: Final = 3

# ---- failure

FAILED_OP: Final = 0
FAILED_ROW: Final = 1
"""Row of the batch, or -1."""
FAILED_STEP: Final = 2
"""Step within that row, or -1."""
FAILED_TEXT: Final = 3
"""Address of the offending bytes, if FAILED_BYTES >= 0."""
FAILED_BYTES: Final = 4
FAILURE: Final = 5

# ---- what a kernel returns, besides memory.OUT_OF_MEMORY

OK: Final = 0
NOT_A_NUMBER: Final = 1
NOT_AN_INTEGER: Final = 2
IS_A_MAP: Final = 3
LENGTHS_DIFFER: Final = 4
TOO_MANY_COMBINATIONS: Final = 5
BAD_CODE: Final = 6
NOT_A_MULTIPLE: Final = 7
TOO_MANY_COMPARISONS: Final = 8
TOO_MANY_BYTES: Final = 9

# ---- sizes of elements

TOKENS: Final = 0
"""Bytes of varying number, with TOKEN_OFFSETS."""
EIGHT_BYTES: Final = 8
"""Ids and numbers."""
FOUR_BYTES: Final = 4
"""Elements of a dense value."""
