"""H2O's decision trees: from the byte code that MOJOs store to nodes.

A node is `type u8, column u16, direction of missing u8, test, [size of the left subtree], left, right`, in pre-order.
Column 65535 is a leaf of the root. Bits of the type: 0–1 the width of the size field less one, 4–5 both set where the
left child is a leaf, 2–3 the test (0 number, 8 a set of 32 levels, 12 a set of any size), 6 where the right one is a
leaf.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from recserve.importers.mojo.archive import damaged

_NA_VS_REST, _NA_LEFT, _LEFT = 1, 2, 4
_ROOT_LEAF = 65535
_LEFT_LEAF, _RIGHT_LEAF = 0x30, 0x40


@dataclass(frozen=True)
class Node:
    """One node of a tree.

    Attributes:
        column: index in the model's row; −1 for a leaf.
        value: a leaf's score, or the threshold: a row goes right if its value is at or above it. A float32.
        right_levels: level codes that go right, for a test of levels; None for another test.
        missing_only: the node tests only whether the value is missing: present goes left.
        missing_left: where a missing value goes.
        left, right: positions of the children in the tree's list; −1 for a leaf.
    """

    column: int = -1
    value: float = 0.0
    right_levels: tuple[int, ...] | None = None
    missing_only: bool = False
    missing_left: bool = False
    left: int = -1
    right: int = -1


@dataclass(frozen=True)
class _Split:
    """A node's head, and where its children lie."""

    node: Node
    left_leaf: bool
    right_leaf: bool
    right_start: int  # of the right child; −1 where the left child is a leaf
    end: int  # of the head: where the left child starts


class TreeReader:
    """Reads trees of one model.

    Args:
        domains: for each column of the row the number of its levels, 0 for a number.
        version: of the MOJO; 1.0 and 1.1 store sets otherwise.
        big: the byte order of the machine that wrote them, true for big-endian.
    """

    def __init__(self, domains: list[int], version: float, big: bool = False) -> None:
        self.domains = domains
        self.version = version
        order = ">" if big else "<"
        self._u2, self._i4, self._f4 = (struct.Struct(order + code) for code in "Hif")
        self._big = big

    def read(self, data: bytes, where: str) -> list[Node]:
        """The nodes of a tree, the root first.

        Raises:
            ConfigError: "damaged_model": the bytes end early, or are no tree of this model.
        """
        try:
            return self._read(data, where)
        except (struct.error, IndexError):
            raise damaged(f"the tree's {len(data)} bytes end inside a node", where) from None

    def _read(self, data: bytes, where: str) -> list[Node]:
        if self._u2.unpack_from(data, 1)[0] == _ROOT_LEAF:
            return [Node(value=self._f4.unpack_from(data, 3)[0])]
        nodes: list[Node] = []
        heads: list[_Split] = []
        links: list[tuple[int, int]] = []
        # (position of the parent, whether this is its right child, whether it is a leaf)
        pending: list[tuple[int, bool, bool]] = [(-1, False, False)]
        at = 0
        while pending:
            parent, is_right, is_leaf = pending.pop()
            index = len(nodes)
            if parent >= 0:
                left, right = links[parent]
                links[parent] = (left, index) if is_right else (index, right)
                if is_right and heads[parent].right_start not in (-1, at):
                    raise damaged(f"a left subtree ends at byte {at}, not {heads[parent].right_start}", where)
            links.append((-1, -1))
            if is_leaf:
                nodes.append(Node(value=self._f4.unpack_from(data, at)[0]))
                heads.append(_Split(nodes[-1], False, False, -1, at))
                at += 4
                continue
            head = self._head(data, at, where)
            nodes.append(head.node)
            heads.append(head)
            at = head.end
            pending.append((index, True, head.right_leaf))
            pending.append((index, False, head.left_leaf))
        return [
            node
            if node.column < 0
            else Node(node.column, node.value, node.right_levels, node.missing_only, node.missing_left, left, right)
            for node, (left, right) in zip(nodes, links, strict=True)
        ]

    def _head(self, data: bytes, at: int, where: str) -> _Split:
        kind, column, direction = data[at], self._u2.unpack_from(data, at + 1)[0], data[at + 3]
        if column >= len(self.domains):
            raise damaged(f"the node at byte {at} tests column {column} of {len(self.domains)}", where)
        start, at = at, at + 4
        value, levels = 0.0, None
        missing_left = direction in (_NA_LEFT, _LEFT)
        if direction != _NA_VS_REST:
            test = kind & 12
            if test == 0:
                value = self._f4.unpack_from(data, at)[0]
                at += 4
            elif test in (8, 12):
                levels, at = self._levels(data, at, test, column, missing_left)
            else:
                raise damaged(f"the node at byte {start} has the unknown test {test}", where)
        width = kind & 0x33
        left_leaf = width == _LEFT_LEAF
        right_start = -1
        if width <= 3:
            size = int.from_bytes(
                self._bytes(data, at, width + 1), "big" if self._big and width in (1, 3) else "little"
            )
            at += width + 1
            right_start = at + size
        elif not left_leaf:
            raise damaged(f"the node at byte {start} has the unknown layout {width}", where)
        node = Node(column, value, levels, direction == _NA_VS_REST, missing_left)
        return _Split(node, left_leaf, bool(kind & _RIGHT_LEAF), right_start, at)

    def _levels(self, data: bytes, at: int, test: int, column: int, missing_left: bool) -> tuple[tuple[int, ...], int]:
        """The level codes that go right, and where the head goes on."""
        offset, size = 0, 32
        if test == 12:
            offset = self._u2.unpack_from(data, at)[0]
            if self.version < 1.2:
                size, at = 8 * self._u2.unpack_from(data, at + 2)[0], at + 4
            else:
                size, at = self._i4.unpack_from(data, at + 2)[0], at + 6
        length = ((size - 1) >> 3) + 1 if size > 0 else 0
        bits = np.frombuffer(self._bytes(data, at, length), np.uint8)
        inside = np.flatnonzero(np.unpackbits(bits, bitorder="little")[:size]) + offset
        known = self.domains[column] or offset + size
        right = set(inside[inside < known].tolist())
        if (
            self.version > 1.0 and not missing_left
        ):  # a level outside of the set's range goes where a missing value goes
            right.update(range(min(offset, known)))
            right.update(range(offset + size, known))
        return tuple(sorted(right)), at + length

    @staticmethod
    def _bytes(data: bytes, at: int, length: int) -> bytes:
        if at + length > len(data):
            raise IndexError
        return data[at : at + length]
