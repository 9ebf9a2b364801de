"""Fields of the integer records that Python and the kernels exchange.

An *instruction* is one op, int64[INSTRUCTION]. The *run* is what a running program knows, int64[RUN]. A *slot* is one
column of the block of rows at hand: float64 data and uint8 states. Data of a valid cell are the number, 0.0 or 1.0, or
the code of a text; of a missing one NaN; of a failed one the number of its message.
"""

from __future__ import annotations

from typing import Final

# ---- instruction

KERNEL: Final = 0
"""Address of the compiled kernel."""
ARGS: Final = 1
"""Address of int64[COUNT], the slots of the arguments."""
COUNT: Final = 2
OUTS: Final = 3
"""Address of int64[RESULTS], the slots of the results; none of them is an argument's."""
RESULTS: Final = 4
A: Final = 5
"""First three arguments, and the first result, to save a look into the lists."""
B: Final = 6
C: Final = 7
OUT: Final = 8
P0: Final = 9
"""What P0 to P6 mean is up to the kernel: numbers, the bits of float64, or addresses of constants."""
P1: Final = 10
P2: Final = 11
P3: Final = 12
P4: Final = 13
P5: Final = 14
P6: Final = 15
INSTRUCTION: Final = 16

# ---- run

DATA: Final = 0
"""Address of float64[slots, STRIDE]."""
STATE: Final = 1
"""Address of uint8[slots, STRIDE]."""
STRIDE: Final = 2
"""Rows that a slot has room for."""
ROWS: Final = 3
"""Rows of the block at hand."""
PROGRAM: Final = 4
"""Address of the instructions."""
LENGTH: Final = 5
"""Number of instructions."""
COLUMNS: Final = 6
"""Address of int64[INPUTS], the addresses of float64[TOTAL] raw columns."""
INPUTS: Final = 7
"""Number of raw columns; column i goes to slot i."""
TOTAL: Final = 8
"""Rows of the call."""
OUT_SLOTS: Final = 9
"""Address of int64[OUTPUTS], the slots of what leaves."""
OUTPUTS: Final = 10
OUT_DATA: Final = 11
"""Address of float64[OUTPUTS, TOTAL]."""
OUT_STATE: Final = 12
"""Address of uint8[OUTPUTS, TOTAL]."""
RUN: Final = 13

# ---- states and statuses

VALID: Final = 0
MISSING: Final = 1
FAILED: Final = 2
OK: Final = 0
