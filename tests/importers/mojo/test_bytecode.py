from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import ConfigError
from recserve.importers.mojo.bytecode import Node, TreeReader

DOMAINS = [0, 5, 40, 0]
Tree = float | tuple[int, int, object, "Tree", "Tree"]


def trees(depth: int = 4) -> st.SearchStrategy[Tree]:
    """A leaf's value, or (column, direction of missing, test, left, right)."""
    numbers = st.floats(-10, 10, width=32)
    split = st.tuples(st.sampled_from([0, 3]), st.sampled_from([1, 2, 3, 4, 5]), numbers)
    small = st.tuples(st.just(1), st.sampled_from([2, 3, 4, 5]), st.sets(st.integers(0, 31), max_size=8))
    large = st.tuples(
        st.just(2), st.sampled_from([2, 3]), st.tuples(st.integers(0, 9), st.integers(1, 33), st.integers(0, 2**33 - 1))
    )
    tests = st.one_of(split, small, large)
    return st.recursive(
        numbers, lambda inner: st.tuples(tests, inner, inner).map(lambda t: (*t[0], *t[1:])), max_leaves=12
    )


def encode(tree: Tree) -> bytes:
    if not isinstance(tree, tuple):
        return struct.pack("<BHf", 0, 65535, tree)
    return _node(tree)


def _node(tree: tuple[int, int, object, Tree, Tree]) -> bytes:
    column, direction, test, left, right = tree
    kind, body = 0, b""
    if direction != 1:
        if isinstance(test, float):
            body = struct.pack("<f", test)
        elif isinstance(test, set):
            kind, body = 8, struct.pack("<I", sum(1 << bit for bit in test))
        else:
            offset, size, bits = test  # type: ignore[misc]
            length = ((size - 1) >> 3) + 1
            kind, body = 12, struct.pack("<Hi", offset, size) + (bits % 2**size).to_bytes(length, "little")
    left_bytes = _node(left) if isinstance(left, tuple) else struct.pack("<f", left)
    right_bytes = _node(right) if isinstance(right, tuple) else struct.pack("<f", right)
    kind |= 0 if isinstance(right, tuple) else 0x40
    if isinstance(left, tuple):
        width = max((len(left_bytes).bit_length() + 7) // 8, 1)
        kind |= width - 1
        left_bytes = len(left_bytes).to_bytes(width, "little") + left_bytes
    else:
        kind |= 0x30
    return struct.pack("<BHB", kind, column, direction) + body + left_bytes + right_bytes


def walk_meaning(tree: Tree, row: list[float]) -> float:
    """What genmodel's `scoreTree` does."""
    while isinstance(tree, tuple):
        column, direction, test, left, right = tree
        x = row[column]
        na_left = direction in (2, 4)
        outside = DOMAINS[column] and not math.isnan(x) and DOMAINS[column] <= x
        if isinstance(test, float) or direction == 1:
            contains = not isinstance(test, float) or x >= test
        elif isinstance(test, set):
            outside, contains = outside or not 0 <= x < 32, x in test
        else:
            offset, size, bits = test  # type: ignore[misc]
            outside = outside or not offset <= x < offset + size
            contains = not outside and not math.isnan(x) and bool(bits >> int(x - offset) & 1)
        goes_right = not na_left if math.isnan(x) or outside else direction != 1 and contains
        tree = right if goes_right else left
    return tree


def walk_nodes(nodes: list[Node], row: list[float]) -> float:
    node = nodes[0]
    while node.column >= 0:
        x = row[node.column]
        if math.isnan(x):
            right = node.missing_only or not node.missing_left
        elif node.missing_only:
            right = False
        elif node.right_levels is not None:
            right = x in node.right_levels
        else:
            right = x >= node.value
        node = nodes[node.right if right else node.left]
    return node.value


ROWS = st.tuples(
    st.one_of(st.just(math.nan), st.floats(-11, 11)),
    st.one_of(st.just(math.nan), st.integers(0, 4).map(float)),
    st.one_of(st.just(math.nan), st.integers(0, 39).map(float)),
    st.one_of(st.just(math.nan), st.floats(-11, 11)),
)


@settings(max_examples=100, deadline=None)
@given(trees(), st.lists(ROWS, min_size=1, max_size=8))
def test_nodes_send_each_row_where_the_byte_code_does(tree: Tree, rows: list[tuple[float, ...]]) -> None:
    nodes = TreeReader(DOMAINS, 1.4).read(encode(tree), "here")
    for row in rows:
        assert walk_nodes(nodes, list(row)) == pytest.approx(walk_meaning(tree, list(row)), nan_ok=True)


def test_children_come_after_their_parent() -> None:
    nodes = TreeReader(DOMAINS, 1.4).read(encode((0, 2, 1.0, (3, 3, 2.0, 1.0, 2.0), 3.0)), "here")
    assert all(index < min(node.left, node.right) for index, node in enumerate(nodes) if node.column >= 0)


def test_old_versions_send_levels_outside_of_a_set_left() -> None:
    head = struct.pack("<BHB", 12 | 0x70, 2, 3) + struct.pack("<HH", 3, 1) + b"\x01" + struct.pack("<ff", 1.0, 2.0)
    assert TreeReader(DOMAINS, 1.0).read(head, "here")[0].right_levels == (3,)
    newer = TreeReader(DOMAINS, 1.1).read(head, "here")[0].right_levels
    assert newer is not None
    assert set(newer) == {3, *range(3), *range(11, 40)}


def test_any_cut_of_a_tree_is_refused() -> None:
    data = encode((0, 2, 1.0, (2, 3, (1, 20, 77), 1.0, 2.0), (1, 3, {1, 3}, 3.0, 4.0)))
    for length in range(len(data)):
        with pytest.raises(ConfigError, match=r"tree\.bin"):
            TreeReader(DOMAINS, 1.4).read(data[:length], "tree.bin")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (struct.pack("<BHBfff", 0x70, 9, 2, 1.0, 1.0, 2.0), "tests column 9 of 4"),
        (struct.pack("<BHBfff", 0x74, 0, 2, 1.0, 1.0, 2.0), "unknown test 4"),
        (struct.pack("<BHBfff", 0x50, 0, 2, 1.0, 1.0, 2.0), "unknown layout 16"),
        (struct.pack("<BHBfB", 0x40, 0, 2, 1.0, 99) + encode((0, 2, 1.0, 1.0, 2.0)) + bytes(4), "a left subtree ends"),
    ],
)
def test_a_node_that_is_none_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TreeReader(DOMAINS, 1.4).read(data, "tree.bin")
