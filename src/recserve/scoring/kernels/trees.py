"""Tree ensembles: the binary form that boosted trees and forests need, fast and general, and PMML's trees."""

from __future__ import annotations

# ruff: noqa: PLR0917  (compiled functions pass their state one by one)
from typing import Any, Final

import numpy as np

from recserve.dtypes import F64, I64
from recserve.memory import view_f64, view_i64, view_u8
from recserve.scoring.kernels.jit import as_float, data_of, inner, load_f64, load_i64, state_of
from recserve.scoring.kernels.layout import (
    ARGS,
    COUNT,
    DATA,
    FAILED,
    MISSING,
    OK,
    OUTS,
    P0,
    P1,
    P2,
    P3,
    P4,
    P5,
    P6,
    RESULTS,
    STATE,
    STRIDE,
    VALID,
)
from recserve.scoring.kernels.tables import place_of

# A node of the fast form is two words: the bits of the threshold, and MISSING_NO | INNER | slot << SLOT_SHIFT |
# yes << SHIFT, where `yes` is the place in bytes of the node for true; the one for false comes next. A leaf leads to
# itself, and its first word is its value or its row.
MISSING_NO: Final = 1
NODE_BYTES: Final = 16
INNER: Final = NODE_BYTES
SLOT_SHIFT: Final = 5
SLOT_BITS: Final = 22
SHIFT: Final = SLOT_SHIFT + SLOT_BITS
SLOT_MASK: Final = (1 << SLOT_BITS) - 1

# What `each` and `rows` give, and sums: P1 of both kernels of binary trees.
PER_TREE: Final = 0
SUM: Final = 1
SUM_SINGLE: Final = 2


@inner
def _step(nodes: int, data: int, stride: int, node: int) -> Any:
    """The next node of a row.

    `nodes` is an address, `node` a place behind it in bytes; `data` is the address of the row in slot 0, `stride` the
    bytes from slot to slot.
    """
    packed = load_i64(nodes + node + 8)
    x, threshold = load_f64(data + ((packed >> SLOT_SHIFT) & SLOT_MASK) * stride), load_f64(nodes + node)
    is_missing = (x != x) | (threshold != threshold)  # noqa: PLR0124  (with the next one, a single comparison)
    says_no = (x >= threshold) | (packed & MISSING_NO & is_missing)
    return (packed >> SHIFT) + (packed & (says_no << 4))


@inner
def _walk_rows(nodes: int, data: int, stride: int, root: int, depth: int) -> Any:
    """Ends of one tree for eight rows at once: their loads overlap."""
    a = b = c = d = e = f = g = h = root
    for _ in range(depth):
        a = _step(nodes, data, stride, a)
        b = _step(nodes, data + 8, stride, b)
        c = _step(nodes, data + 16, stride, c)
        d = _step(nodes, data + 24, stride, d)
        e = _step(nodes, data + 32, stride, e)
        f = _step(nodes, data + 40, stride, f)
        g = _step(nodes, data + 48, stride, g)
        h = _step(nodes, data + 56, stride, h)
    return a, b, c, d, e, f, g, h


@inner
def _sum_rows(nodes: int, data: int, stride: int, root: int, depth: int, total: F64) -> Any:
    """Add the values of one tree, which its leaves hold, eight rows at once; how many rows are done."""
    first = 0
    while first + 8 <= len(total):
        a, b, c, d, e, f, g, h = _walk_rows(nodes, data + 8 * first, stride, root, depth)
        total[first] += load_f64(nodes + a)
        total[first + 1] += load_f64(nodes + b)
        total[first + 2] += load_f64(nodes + c)
        total[first + 3] += load_f64(nodes + d)
        total[first + 4] += load_f64(nodes + e)
        total[first + 5] += load_f64(nodes + f)
        total[first + 6] += load_f64(nodes + g)
        total[first + 7] += load_f64(nodes + h)
        first += 8
    return first


@inner
def _walk_trees(nodes: int, data: int, stride: int, roots: I64, depth: int) -> Any:
    """Ends of four trees for one row. `roots`: (root, depth) a tree."""
    a, b, c, d = roots[0], roots[2], roots[4], roots[6]
    for _ in range(depth):
        a = _step(nodes, data, stride, a)
        b = _step(nodes, data, stride, b)
        c = _step(nodes, data, stride, c)
        d = _step(nodes, data, stride, d)
    return a, b, c, d


@inner
def _walk(nodes: int, data: int, stride: int, node: int) -> Any:
    """End of one tree for one row, however deep."""
    while load_i64(nodes + node + 8) & INNER:
        node = _step(nodes, data, stride, node)
    return node


@inner
def _failed_slot(op: I64, run: I64, row: int) -> Any:
    """Slot of the first failed cell that a tree tests in a row, or -1. P0, P3, P4: see `fast_trees`."""
    nodes, roots, states = op[P0], view_i64(op[P3], 2 * op[P4]), view_u8(run[STATE], 1)
    for t in range(op[P4]):
        node = roots[2 * t]
        while load_i64(nodes + node + 8) & INNER:
            slot = (load_i64(nodes + node + 8) >> SLOT_SHIFT) & SLOT_MASK
            if states[slot * run[STRIDE] + row] == FAILED:
                return slot
            node = _step(nodes, run[DATA] + 8 * row, 8 * run[STRIDE], node)
    return -1


@inner
def _add(op: I64, run: I64, tree: int, row: int, word: int) -> None:
    """Count what a tree gave for a row: the word of the leaf is its value, or the row of the values."""
    outs = view_i64(op[OUTS], op[RESULTS])
    if op[P1] == PER_TREE:
        data_of(run, outs[tree])[row] = as_float(word)
    elif op[P5] == 0:
        data = data_of(run, outs[0])
        value = as_float(word)
        data[row] = data[row] + value if op[P1] == SUM else np.float32(data[row]) + np.float32(value)
    else:
        values = view_f64(op[P5], 1)
        for i in range(len(outs)):
            data = data_of(run, outs[i])
            value = values[word * len(outs) + i]
            data[row] = data[row] + value if op[P1] == SUM else np.float32(data[row]) + np.float32(value)


@inner
def _start(op: I64, run: I64, outs: I64, base: F64) -> None:
    for i in range(len(outs)):
        state_of(run, outs[i])[:] = VALID
        if op[P1] != PER_TREE:
            data_of(run, outs[i])[:] = base[i] if op[P1] == SUM else np.float64(np.float32(base[i]))


@inner
def fast_trees(op: I64, run: I64) -> Any:
    """Binary trees whose tests are all x < threshold, and whose leaves all have values.

    P0: nodes, int64[nodes, 2]; P1: PER_TREE, SUM or SUM_SINGLE; P2: base, float64[RESULTS]; P3: (root, depth) a tree;
    P4: trees; P5: values float64[rows, RESULTS], 0 where leaves hold them; P6: depth from which on leaves end walks.
    """
    outs, roots = view_i64(op[OUTS], op[RESULTS]), view_i64(op[P3], 2 * op[P4])
    nodes, data, stride = op[P0], run[DATA], 8 * run[STRIDE]
    _start(op, run, outs, view_f64(op[P2], len(outs)))
    rows = len(data_of(run, outs[0]))
    t = 0
    while t < op[P4]:
        root, depth, first = roots[2 * t], roots[2 * t + 1], 0
        if depth < op[P6] and rows >= 8:
            if op[P1] == SUM and op[P5] == 0:
                first = _sum_rows(nodes, data, stride, root, depth, data_of(run, outs[0]))
            while first + 8 <= rows:
                for j, end in enumerate(_walk_rows(nodes, data + 8 * first, stride, root, depth)):
                    _add(op, run, t, first + j, load_i64(nodes + end))
                first += 8
        elif depth < op[P6] and t + 4 <= op[P4]:
            deepest = max(depth, roots[2 * t + 3], roots[2 * t + 5], roots[2 * t + 7])
            if deepest < op[P6]:
                for row in range(rows):
                    ends = _walk_trees(nodes, data + 8 * row, stride, roots[2 * t : 2 * t + 8], deepest)
                    for j, end in enumerate(ends):
                        _add(op, run, t + j, row, load_i64(nodes + end))
                t += 4
                continue
        for row in range(first, rows):
            _add(op, run, t, row, load_i64(nodes + _walk(nodes, data + 8 * row, stride, root)))
        t += 1
    _fail_rows(op, run, rows)
    return OK


@inner
def _fail_rows(op: I64, run: I64, rows: int) -> None:
    """Mark the rows in which a tree tests a failed cell."""
    has_failed = False
    for argument in view_i64(op[ARGS], op[COUNT]):
        states = state_of(run, argument)
        worst = 0
        for n in range(rows):
            worst |= states[n]
        has_failed = has_failed or (worst & FAILED) != 0
    if not has_failed:
        return
    for row in range(rows):
        slot = _failed_slot(op, run, row)
        if slot >= 0:
            message = data_of(run, slot)[row]
            for out in view_i64(op[OUTS], op[RESULTS]):
                state_of(run, out)[row], data_of(run, out)[row] = FAILED, message


TRUE: Final = 1
FALSE: Final = 0
UNKNOWN: Final = 2
FAILURE: Final = 3


@inner
def _compare(code: int, x: float, threshold: float) -> Any:
    if code == 0:
        return x < threshold
    if code == 1:
        return x <= threshold
    if code == 2:
        return x > threshold
    if code == 3:
        return x >= threshold
    if code == 4:
        return x == threshold
    if code == 5:
        return x != threshold
    return x != 0.0


@inner
def _test(op: I64, run: I64, fields: I64, node: int, row: int) -> Any:
    """TRUE, FALSE, UNKNOWN or FAILURE. P1: thresholds; P2: (address, count) of each set."""
    code, slot = fields[8 * node], fields[8 * node + 1]
    if code >= 11:
        return TRUE if code == 11 else FALSE
    state, x = state_of(run, slot)[row], data_of(run, slot)[row]
    if state == FAILED:
        return FAILURE
    is_missing = state == MISSING or np.isnan(x)
    if code >= 9:
        return TRUE if is_missing == (code == 9) else FALSE
    if is_missing:
        return UNKNOWN
    threshold = view_f64(op[P1], node + 1)[node]
    if code == 6 or code == 7:  # noqa: PLR1714  (numba)
        described = view_i64(op[P2] + 16 * int(threshold), 2)
        found = place_of(view_f64(described[0], described[1]), x) >= 0
        return TRUE if found == (code == 6) else FALSE
    return TRUE if _compare(code, x, threshold) else FALSE


@inner
def general_trees(op: I64, run: I64) -> Any:
    """Binary trees with any tests.

    P0: int64[nodes, 8]: test, slot, yes, no, what a missing argument does, row, whether inner; P1, P2: see `_test`;
    P3: description: trees, form (see PER_TREE), whether missing trees are left out, address of the base, address of the
    values (0: the row is the result), width of the values; then the roots.
    """
    outs, about = view_i64(op[OUTS], op[RESULTS]), view_i64(op[P3], 6)
    fields, roots = view_i64(op[P0], 1), view_i64(op[P3] + 48, about[0])
    rows = len(data_of(run, outs[0]))
    for row in range(rows):
        state, message = VALID, 0.0
        if about[1] != PER_TREE:
            _restart(run, outs, row, view_f64(about[3], len(outs)), about[1] == SUM_SINGLE)
        for t in range(len(roots)):
            node = _end_of(op, run, fields, roots[t], row)
            if node < -1:
                state, message = FAILED, data_of(run, -2 - node)[row]
                break
            found = fields[8 * node + 5] if node >= 0 else -1
            if about[1] == PER_TREE:
                x = np.nan
                if found >= 0:
                    x = view_f64(about[4], found + 1)[found] if about[4] else float(found)
                state_of(run, outs[t])[row], data_of(run, outs[t])[row] = VALID if found >= 0 else MISSING, x
            elif found >= 0:
                _add_row(run, outs, row, view_f64(about[4] + 8 * found * len(outs), len(outs)), about[1] == SUM_SINGLE)
            elif about[2] == 0 and state == VALID:
                state, message = MISSING, np.nan
        if state != VALID:
            for out in outs:
                state_of(run, out)[row], data_of(run, out)[row] = state, message
    return OK


@inner
def _restart(run: I64, outs: I64, row: int, base: F64, single: bool) -> None:
    for i in range(len(outs)):
        state_of(run, outs[i])[row] = VALID
        data_of(run, outs[i])[row] = np.float64(np.float32(base[i])) if single else base[i]


@inner
def _add_row(run: I64, outs: I64, row: int, values: F64, single: bool) -> None:
    for i in range(len(outs)):
        data = data_of(run, outs[i])
        data[row] = np.float32(data[row]) + np.float32(values[i]) if single else data[row] + values[i]


@inner
def _end_of(op: I64, run: I64, fields: I64, node: int, row: int) -> Any:
    """Node at which a tree ends, -1 for none, or -2 - slot of a failed argument."""
    while fields[8 * node + 6]:
        answer = _test(op, run, fields, node, row)
        if answer == FAILURE:
            return -2 - fields[8 * node + 1]
        way = fields[8 * node + 4] if answer == UNKNOWN else answer
        if way == 2:
            return -1
        if way == 3:
            return node
        node = fields[8 * node + 2] if way == 1 else fields[8 * node + 3]
    return node


@inner
def tree(op: I64, run: I64) -> Any:
    """A tree with siblings.

    P0: int64[nodes, 8]: test, slot, child, sibling, default, row; P1, P2: see `_test`; P3: what an unknown test does, 0
    none, 1 null, 2 last, 3 default; P4: whether no true child ends at the parent.
    """
    outs, fields = view_i64(op[OUTS], 2), view_i64(op[P0], 1)
    for row in range(len(data_of(run, outs[0]))):
        answer = _test(op, run, fields, 0, row)
        node, levels = 0 if answer == TRUE else -1, 0
        if answer == FAILURE:
            node = -2 - fields[1]
        while node >= 0 and fields[8 * node + 2] >= 0:
            found = _true_child(op, run, fields, node, row)
            is_unknown = found == -1
            if found < -2:
                node = found + 1
                break
            if is_unknown and op[P3] == 3:
                levels += 1
                found = fields[8 * node + 4]
            if found < 0:
                stays = op[P3] == 2 if is_unknown else op[P4] != 0
                node = node if stays else -1
                break
            node = found
        end = fields[8 * node + 5] if node >= 0 else -1
        state, x, y = VALID, float(end), float(levels)
        if node < -1:
            state, x = FAILED, data_of(run, -2 - node)[row]
            y = x
        elif end < 0:
            state, x, y = MISSING, np.nan, np.nan
        state_of(run, outs[0])[row], data_of(run, outs[0])[row] = state, x
        state_of(run, outs[1])[row], data_of(run, outs[1])[row] = state, y
    return OK


@inner
def _true_child(op: I64, run: I64, fields: I64, node: int, row: int) -> Any:
    """The first true child, -1 where an unknown test ended the search, -2 for none, -3 - slot for a failure."""
    child = fields[8 * node + 2]
    while child >= 0:
        answer = _test(op, run, fields, child, row)
        if answer == FAILURE:
            return -3 - fields[8 * child + 1]
        if answer == UNKNOWN and op[P3] != 0:
            return -1
        if answer == TRUE:
            return child
        child = fields[8 * child + 3]
    return -2
