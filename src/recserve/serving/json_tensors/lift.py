"""The lists of numbers of a JSON body as arrays, and the rest of the body as a small text.

    {"inputs": {"x": [[1, 2], [3, 4]], "name": "a"}}    →    {"inputs": {"x": "<mark>0", "name": "a"}}

Where one of these lists was, the rest has a string that no body can hold by chance. So the rest is JSON exactly where
the body is, and what parsed the body before parses the rest now. A caller takes the blocks where it expects tensors.
Where anything else happens (an error, a block somewhere else) it must parse the body itself instead, so that what is
odd is read, or refused, as it always was.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recserve.serving.json_tensors.kernels import layout as at
from recserve.serving.json_tensors.kernels.entries import load_kernel

Numbers = NDArray[np.int64] | NDArray[np.float64]

MIN_BODY_BYTES: Final = 512
"""A shorter body costs the usual parser less than all this."""

_MARK: Final = secrets.token_hex(16)
_lift_numbers: Final = load_kernel("lift_numbers")


@dataclass(frozen=True)
class Block:
    """Lists of numbers.

    Attributes:
        columns: int64 or float64 of the shape of the list. Of a table (a list of objects with the same keys) an array a
            key, objects first; of a list of numbers one, its key empty.
        is_table: which.
        is_mixed: whether a column of float64 has numbers that were written as integers.
    """

    columns: Mapping[str, Numbers]
    is_table: bool
    is_mixed: bool = False


@dataclass(frozen=True)
class Lifted:
    """A body in two parts.

    Attributes:
        rest: the body with a string in the place of each block.
        blocks: in the order of the body; at least one.
    """

    rest: bytes
    blocks: tuple[Block, ...]
    _taken: set[int] = field(default_factory=set)

    def take(self, value: object) -> Block | None:
        """The block that a value of the parsed rest stands for; None for any other value."""
        if not isinstance(value, str) or not value.startswith(_MARK):
            return None
        number = int(value[len(_MARK) :])
        self._taken.add(number)
        return self.blocks[number]

    @property
    def is_used_up(self) -> bool:
        """Whether every block was taken; a string that stands for another may have been read as a text."""
        return len(self._taken) == len(self.blocks)


def lift(body: bytes | bytearray) -> Lifted | None:
    """Take the lists of numbers out of a body.

    Args:
        body: JSON, or any other bytes.

    Returns:
        None where that gains nothing, or is not possible.
    """
    if len(body) < MIN_BODY_BYTES:
        return None
    text = np.frombuffer(body, np.uint8)
    slots = np.empty(len(body) // 2 + 1, np.int64)
    blocks = np.empty((at.MAX_BLOCKS, at.BLOCK), np.int64)
    columns = np.empty((at.MAX_COLUMNS, at.COLUMN), np.int64)
    op = np.zeros(at.OP, np.int64)
    op[at.TEXT], op[at.SIZE], op[at.SLOTS] = text.ctypes.data, len(body), slots.ctypes.data
    op[at.BLOCKS], op[at.COLUMNS] = blocks.ctypes.data, columns.ctypes.data
    run = np.zeros(at.RUN, np.int64)
    if _lift_numbers(op.ctypes.data, run.ctypes.data) != at.DONE or not run[at.BLOCK_COUNT]:
        return None
    found = blocks[: run[at.BLOCK_COUNT]].tolist()
    table = columns[: run[at.COLUMN_COUNT]].tolist()
    made = [_block(body, fields, table, slots) for fields in found]
    if any(block is None for block in made):
        return None
    return Lifted(_rest(body, found), tuple(block for block in made if block is not None))


def _rest(body: bytes | bytearray, blocks: list[list[int]]) -> bytes:
    pieces: list[bytes | bytearray] = []
    before = 0
    for number, fields in enumerate(blocks):
        pieces += (body[before : fields[at.BEGIN]], f'"{_MARK}{number}"'.encode())
        before = fields[at.END]
    pieces.append(body[before:])
    return b"".join(pieces)


def _block(
    body: bytes | bytearray, fields: list[int], table: list[list[int]], slots: NDArray[np.int64]
) -> Block | None:
    """The block; None where two of its keys are equal."""
    first, rows, width = fields[at.FIRST_SLOT], fields[at.ROWS], fields[at.WIDTH]
    numbers = slots[first : first + rows * width].reshape(rows, width)
    found = table[fields[at.FIRST_COLUMN] : fields[at.COLUMN_END]]
    is_mixed = any(column[at.IS_FLOAT] == at.MIXED for column in found)
    if found[0][at.KEY_BEGIN] < 0:
        return Block({"": _column(numbers, found[0])[0]}, is_table=False, is_mixed=is_mixed)
    columns = {body[column[at.KEY_BEGIN] : column[at.KEY_END]].decode(): _column(numbers, column) for column in found}
    return Block(columns, is_table=True, is_mixed=is_mixed) if len(columns) == len(found) else None


def _column(numbers: NDArray[np.int64], column: list[int]) -> Numbers:
    shape = column[at.DIMS : at.DIMS + column[at.RANK]]
    size = int(np.prod(shape, dtype=np.int64)) if shape else 1
    part = numbers[:, column[at.OFFSET] : column[at.OFFSET] + size]
    typed: Numbers = part.view(np.float64) if column[at.IS_FLOAT] else part
    return typed.reshape(len(numbers), *shape)
