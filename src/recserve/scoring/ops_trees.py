"""Tree ensembles: binary trees that are summed, and single trees with PMML's siblings and missing-value strategies."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from recserve.scoring.cells import MISSING, Cell, DType, valid
from recserve.scoring.op import define, numbers
from recserve.scoring.params import Param

Params = Mapping[str, Any]

TESTS: Final[dict[str, int]] = {
    "less": 0,
    "less_equal": 1,
    "greater": 2,
    "greater_equal": 3,
    "equal": 4,
    "not_equal": 5,
    "in": 6,
    "not_in": 7,
    "true": 8,
    "missing": 9,
    "known": 10,
    "always": 11,
    "never": 12,
}
"""Code of each test of a node. `in` and `not_in`: the threshold is the number of a set in `sets`; `true`: the argument
is a boolean; the last four are never unknown. NaN counts as missing."""

UNKNOWN: Final[dict[str, int]] = {"no": 0, "yes": 1, "missing": 2, "stop": 3}
"""Code of what a node of `trees` does where its argument is missing: follow a branch, give nothing, or end here."""

_COMPARE: Final[tuple[Callable[[Any, Any], bool], ...]] = (
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
    operator.eq,
    operator.ne,
)


def _test(params: Params, node: int, cells: tuple[Cell, ...]) -> bool | Cell | None:
    """True, False, None for unknown, or the failure of the argument."""
    code, feature = int(params["tests"][node]), int(params["features"][node])
    if code >= TESTS["always"]:
        return code == TESTS["always"]
    cell = cells[feature]
    if cell.is_failed:
        return cell
    is_missing = cell.is_missing or cell.value != cell.value  # NaN
    if code >= TESTS["missing"]:
        return is_missing == (code == TESTS["missing"])
    if is_missing:
        return None
    if code == TESTS["true"]:
        return bool(cell.value)
    threshold = float(params["thresholds"][node])
    if code in {TESTS["in"], TESTS["not_in"]}:
        return (cell.value in params["sets"][int(threshold)]) == (code == TESTS["in"])
    return bool(_COMPARE[code](cell.value, threshold))


def _wrong_tests(dtypes: Sequence[DType], params: Params, tested: Sequence[int]) -> str | None:
    """What is wrong with the tests of the nodes `tested`."""
    features, tests, thresholds = params["features"], params["tests"], params["thresholds"]
    sets = params["sets"]
    for node in tested:
        code, feature = int(tests[node]), int(features[node])
        if not 0 <= code < len(TESTS):
            return f"node {node} has test {code}, which is none"
        if code >= TESTS["always"]:
            continue
        if not 0 <= feature < len(dtypes):
            return f"node {node} tests argument {feature} of {len(dtypes)}"
        dtype = dtypes[feature]
        if code in {TESTS["in"], TESTS["not_in"]}:
            number = thresholds[node]
            if not 0 <= number < len(sets) or number != int(number):
                return f"node {node} tests set {number} of {len(sets)}"
            kinds = {"number": float, "string": str, "boolean": bool, "object": tuple}
            if any(type(item) is not kinds[dtype] for item in sets[int(number)]):
                return f"set {int(number)} of node {node} holds what is no {dtype}"
        elif code < TESTS["in"] and dtype != "number":
            return f"node {node} compares argument {feature}, a {dtype}, with a number"
        elif code == TESTS["true"] and dtype != "boolean":
            return f"node {node} takes argument {feature}, a {dtype}, for a boolean"
    return None


def _wrong_lengths(params: Params, names: Sequence[str]) -> str | None:
    count = len(params["features"])
    for name in names:
        if len(params[name]) != count:
            return f"{len(params[name])} {name!r} for {count} nodes"
    return None


def _wrong_rows(params: Params, rows: int) -> str | None:
    for node, row in enumerate(params["rows"].tolist()):
        if not -1 <= row < rows:
            return f"node {node} has row {row} of {rows}"
    return None


def _check_trees(dtypes: Sequence[DType], params: Params) -> str | None:
    problem = _wrong_lengths(params, ("tests", "thresholds", "yes", "no", "unknown", "rows"))
    problem = problem or _wrong_rows(params, len(params["values"]))
    if problem:
        return problem
    count, features = len(params["features"]), params["features"]
    inner = np.flatnonzero(features >= 0)
    for name in ("yes", "no"):
        wrong = inner[(params[name][inner] <= inner) | (params[name][inner] >= count)]
        if len(wrong):
            return f"node {wrong[0]}: {name!r} is {params[name][wrong[0]]}; a branch is a later node of {count}"
    if len(bad := inner[(params["unknown"][inner] < 0) | (params["unknown"][inner] > 3)]):
        return f"node {bad[0]}: 'unknown' is {params['unknown'][bad[0]]}, not 0 to 3"
    if any(not 0 <= root < count for root in params["roots"].tolist()):
        return f"a root is no node of {count}"
    if params["base"] is not None and len(params["base"]) != params["values"].shape[1]:
        return f"{len(params['base'])} numbers in 'base' for values of width {params['values'].shape[1]}"
    if params["output"] == "each" and params["values"].shape[1] != 1:
        return "output 'each' needs values of width 1"
    return _wrong_tests(dtypes, params, inner.tolist())


def _count(params: Params) -> int:
    return int(params["values"].shape[1] if params["output"] == "sum" else len(params["roots"]))


_NODES: Final = {
    "features": Param("integers"),
    "tests": Param("integers"),
    "thresholds": Param("numbers"),
    "rows": Param("integers"),
    "sets": Param("rows", ()),
}


@define(
    "trees",
    "any*",
    numbers(_count),
    params={
        **_NODES,
        "yes": Param("integers"),
        "no": Param("integers"),
        "unknown": Param("integers"),
        "roots": Param("integers"),
        "values": Param("matrix"),
        "base": Param("numbers", None),
        "output": Param("text", "sum", ("sum", "each", "rows")),
        "precision": Param("text", "double", ("double", "float")),
        "skip_missing": Param("flag", False),
    },
    is_strict=False,
    has_many=True,
    check=_check_trees,
)
def trees(params: Params, *cells: Cell) -> tuple[Cell, ...]:
    """Binary trees over the arguments.

    Node i is a leaf where `features[i]` is -1; else it tests argument `features[i]` and goes on at `yes[i]` or `no[i]`,
    both later nodes. `rows[i]` is the row of `values` that it gives where the tree ends here (-1: missing).
    `output`: `sum` adds the rows of all trees (`roots`) in order to `base`: one result a column; `each` gives the value
    of each tree; `rows` the row number of each tree. Missing trees make a sum missing, or are left out
    (`skip_missing`). A failed argument fails the row where a tree tests it.
    """
    rows = []
    for root in params["roots"].tolist():
        row = _walk(params, root, cells)
        if isinstance(row, Cell):
            return (row,) * _count(params)
        rows.append(row)
    if params["output"] == "rows":
        return tuple(MISSING if row < 0 else valid(float(row)) for row in rows)
    if params["output"] == "each":
        return tuple(MISSING if row < 0 else valid(float(params["values"][row, 0])) for row in rows)
    width = int(params["values"].shape[1])
    if any(row < 0 for row in rows) and not params["skip_missing"]:
        return (MISSING,) * width
    kind = np.float32 if params["precision"] == "float" else np.float64
    total = np.zeros(width, kind) if params["base"] is None else params["base"].astype(kind)
    for row in rows:
        if row >= 0:
            total = total + params["values"][row].astype(kind)
    return tuple(valid(float(x)) for x in total)


def _walk(params: Params, node: int, cells: tuple[Cell, ...]) -> int | Cell:
    """Row of `values` at which a tree ends, -1 for none, or a failure."""
    while params["features"][node] >= 0:
        answer = _test(params, node, cells)
        if isinstance(answer, Cell):
            return answer
        way = int(params["unknown"][node]) if answer is None else int(answer)
        if way == UNKNOWN["missing"]:
            return -1
        if way == UNKNOWN["stop"]:
            break
        node = int(params["yes"][node] if way else params["no"][node])
    return int(params["rows"][node])


def _two_numbers(dtypes: Sequence[DType], params: Params) -> tuple[DType, ...]:  # noqa: ARG001
    return ("number", "number")


def _check_tree(dtypes: Sequence[DType], params: Params) -> str | None:
    count = len(params["features"])
    if not count:
        return "a tree has one node at least"
    problem = _wrong_lengths(params, ("tests", "thresholds", "rows", "child", "sibling", "default"))
    problem = problem or _wrong_rows(params, 2**53)
    if problem:
        return problem
    for name in ("child", "sibling", "default"):
        for node, other in enumerate(params[name].tolist()):
            if other != -1 and not node < other < count:
                return f"node {node}: {name!r} is {other}; it is a later node of {count}, or -1"
    return _wrong_tests(dtypes, params, range(count))


@define(
    "tree",
    "any*",
    _two_numbers,
    params={
        **_NODES,
        "child": Param("integers"),
        "sibling": Param("integers"),
        "default": Param("integers"),
        "missing": Param("text", "none", ("none", "null", "last", "default")),
        "no_true_child": Param("text", "null", ("null", "last")),
    },
    is_strict=False,
    has_many=True,
    check=_check_tree,
)
def tree(params: Params, *cells: Cell) -> tuple[Cell, Cell]:
    """One tree in PMML's form: the node's row number where it ends, and how many default children it took.

    Node 0 is the root; `child` and `sibling` are the first child and the next sibling of each node (later nodes, or
    -1), `default` its default child. The walk goes to the first child whose test is true. `missing` says what an
    unknown test does: `none` passes the child over, `null` gives missing, `last` ends at the parent, `default` goes to
    the parent's default child. `no_true_child`: `null` gives missing, `last` ends at the parent. `rows[i]` is the
    number of the node's score in tables of your own (`gather`, `pick`), -1 for a node without one: missing.
    """
    answer = _test(params, 0, cells)
    if isinstance(answer, Cell):
        return answer, answer
    node, levels = 0 if answer else -1, 0
    while node >= 0 and params["child"][node] >= 0:
        found, is_unknown = _first_true_child(params, node, cells)
        if isinstance(found, Cell):
            return found, found
        if is_unknown and params["missing"] == "default":
            levels += 1
            found = int(params["default"][node])
        if found < 0:
            stays = params["missing"] == "last" if is_unknown else params["no_true_child"] == "last"
            node = node if stays else -1
            break
        node = found
    row = -1 if node < 0 else int(params["rows"][node])
    return (MISSING, MISSING) if row < 0 else (valid(float(row)), valid(float(levels)))


def _first_true_child(params: Params, node: int, cells: tuple[Cell, ...]) -> tuple[int | Cell, bool]:
    """(child, False); (-1, whether a test that is unknown ended the search); or (failure, False)."""
    child = int(params["child"][node])
    while child >= 0:
        answer = _test(params, child, cells)
        if isinstance(answer, Cell):
            return answer, False
        if answer is None and params["missing"] != "none":
            return -1, True
        if answer:
            return child, False
        child = int(params["sibling"][child])
    return -1, False
