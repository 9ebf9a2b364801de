"""Plans as instructions and constants."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numba import njit

from recserve.errors import InvariantError
from recserve.features import expressions, ops
from recserve.features.codegen import Constants, bits, instruction, kernel_of
from recserve.features.codegen_expressions import generate
from recserve.features.compiled import CompiledPlan
from recserve.features.graph import GraphOutput, PlanGraph
from recserve.features.infer import infer
from recserve.features.kernels import KERNELS
from recserve.features.kernels import layout as at
from recserve.features.kernels.cells import separator_at
from recserve.features.kernels.driver import copy_out
from recserve.features.kernels.entries import LIBRARY
from recserve.features.outputs import OutputKind, OutputSpec

SETTINGS = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def graph_of(*given_ops: Any) -> PlanGraph:
    values: list[Any] = []
    for number, op in enumerate(given_ops):
        values.append(infer(op, number, given_ops[:number], values, "feature_x"))
    last = len(values) - 1
    spec = OutputSpec("out", OutputKind.DENSE, values[-1].dim, values[-1].rate)
    return PlanGraph(tuple(given_ops), tuple(values), (GraphOutput(spec, last),))


def test_equal_constants_are_kept_once_and_different_ones_apart() -> None:
    constants = Constants()
    first = constants.integers([1, 2])
    assert constants.integers([1, 2]) == first
    assert constants.integers([1, 2, 3]) != first
    assert constants.array(np.array([1, 2], np.float64)) != first
    out = np.zeros(3, np.int64)
    copy_out(constants.integers([1, 2, 3]), out.view(np.uint8))
    assert out.tolist() == [1, 2, 3]
    assert constants.integers([]) > 0


@njit
def _separator(text: Any, position: int, end: int, table: int) -> Any:
    return separator_at(text, position, end, table)


@SETTINGS
@given(st.lists(st.sampled_from(["a", "ab", "abc", ";", "ü", "\x1d"]), max_size=4), st.text("abcü;", max_size=8))
def test_a_separator_table_finds_the_longer_separator_first(separators: list[str], text: str) -> None:
    constants = Constants()
    table = constants.separators(separators)
    data = np.frombuffer(text.encode() + b"\0", np.uint8)
    for position in range(len(data) - 1):
        rest = data[position:-1].tobytes()
        fitting = [len(s.encode()) for s in separators if rest.startswith(s.encode())]
        found = _separator(data, position, len(data) - 1, table)
        assert (found > 0) == bool(fitting)
        if fitting:
            assert found in fitting
            assert found > 1 or max(fitting) == 1


def test_an_instruction_has_no_inputs_unless_they_are_given() -> None:
    row = instruction({at.OUT: 5, at.A: 2, at.P3: 9})
    assert [row[i] for i in (at.OUT, at.A, at.B, at.C, at.DOMAIN, at.P3)] == [5, 2, -1, -1, -1, 9]


def test_bits_are_those_of_the_double() -> None:
    assert struct.pack("<q", bits(-0.5)) == struct.pack("<d", -0.5)


def test_an_op_without_a_kernel_is_our_mistake() -> None:
    class Strange(ops.Op):
        column, is_masked, steps = "c", False, None

    with pytest.raises(InvariantError, match="no kernel for Strange"):
        kernel_of(Strange(), _Context())


class _Context:
    """A context that has one column and no values."""

    constants = Constants()

    def slot(self, value: int) -> int:
        return value

    def column(self, _name: str) -> int:
        return 0


# ---- expressions

LEAVES = st.sampled_from(["x", "y", "2", "0.5", "_pi"])


def calls(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    one = st.sampled_from([name for name, count in expressions.SCALAR_FUNCTIONS.items() if count == 1])
    many = st.sampled_from(["min", "max", "sum", "avg"])
    operator = st.sampled_from(expressions.BINARY_OPERATORS)
    return st.one_of(
        st.tuples(inner, operator, inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(one, inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(st.sampled_from(["mod", "roundp"]), inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
        st.tuples(many, st.lists(inner, min_size=1, max_size=3)).map(lambda t: f"{t[0]}({', '.join(t[1])})"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} ? {t[1]} : {t[2]})"),
        inner.map(lambda t: f"(-{t})"),
        st.tuples(inner, inner, inner, inner).map(lambda t: f"haversine({', '.join(t)})"),
    )


EXPRESSIONS = st.recursive(LEAVES, calls, max_leaves=8)
VECTORS = st.one_of(
    st.sampled_from([n for n, count in expressions.VECTOR_FUNCTIONS.items() if count == 1]).map(lambda n: f"{n}(x)"),
    st.sampled_from([n for n, count in expressions.VECTOR_FUNCTIONS.items() if count == 2]).map(lambda n: f"{n}(x, y)"),
)
NUMBERS = st.sampled_from([0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1e6, 1e300, float("nan"), float("inf")]) | st.floats(-9, 9)


def evaluated(expression: str, rows: list[tuple[list[float], list[float]]]) -> list[list[float]]:
    graph = graph_of(
        ops.ParseNumbers("x", "item", ("\x1d",), None),
        ops.ParseNumbers("y", "item", ("\x1d",), None),
        ops.Evaluate(expression, ("x", "y"), (0, 1)),
        ops.NumbersToTokens(2),
    )
    spec = OutputSpec("out", OutputKind.SPARSE, 1, graph.values[3].rate)
    plan = CompiledPlan(PlanGraph(graph.ops, graph.values, (GraphOutput(spec, 3),)))
    out: Any = plan.run({"x": [x for x, _ in rows], "y": [y for _, y in rows]})["out"]
    return [[float(token) for token in out.row(n)] for n in range(len(rows))]


@SETTINGS
@given(EXPRESSIONS, st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=4))
def test_an_expression_means_what_the_interpreter_says(expression: str, pairs: list[tuple[float, float]]) -> None:
    tree = expressions.parse(expression, ("x", "y"))
    got = evaluated(expression, [([x], [y]) for x, y in pairs])
    for (x, y), row in zip(pairs, got, strict=True):
        want = expressions.evaluate(tree, {"x": np.array([x]), "y": np.array([y])})
        np.testing.assert_allclose(row, want, rtol=1e-9, atol=1e-300, err_msg=expression)


@SETTINGS
@given(VECTORS, st.lists(st.floats(-9, 9), min_size=1, max_size=5), st.data())
def test_a_vector_function_works_on_each_row(call: str, x: list[float], data: st.DataObject) -> None:
    y = data.draw(st.lists(st.floats(-9, 9), min_size=len(x), max_size=len(x)))
    expression = f"{call} + 1"
    want = expressions.evaluate(expressions.parse(expression, ("x", "y")), {"x": np.array(x), "y": np.array(y)})
    got = evaluated(expression, [(x, y), (x, [])])
    if "corr" not in call:  # of numbers that are nearly equal, rounding decides
        np.testing.assert_allclose(got[0], want, rtol=1e-6, atol=1e-9)
    assert got[1] == []


def test_blocks_longer_than_the_machines_are_evaluated_in_stretches() -> None:
    rows: list[tuple[list[float], list[float]]] = [([float(n), n + 0.5], [2.0]) for n in range(700)]
    assert evaluated("x * y", rows) == [[2.0 * n, 2.0 * n + 1] for n in range(700)]


def test_code_knows_its_stack_and_its_variables() -> None:
    code = generate("x + 2 * x", ("x", "y"))
    assert code.depth == 3
    assert code.variables == {"x"}
    assert not code.has_vector_functions
    assert generate("1 + len(y)", ("x", "y")).has_vector_functions


# ---- entry points


def test_the_generated_file_has_an_entry_for_each_kernel() -> None:
    for module, kernels in KERNELS.items():
        text = LIBRARY.source_of(module)
        compile(text, module, "exec")
        assert all(f"def {kernel}_entry(op, run):" in text for kernel in kernels)


def test_the_name_of_generated_code_tells_modules_apart() -> None:
    digests = {LIBRARY.digest_of(module) for module in KERNELS}
    assert len(digests) == len(KERNELS)
    assert all(len(digest) == 16 for digest in digests)


def test_a_listing_names_kernels_columns_and_features() -> None:
    graph = graph_of(
        ops.ParseTokens("word", "item", (",",), None), ops.HashIds(0, 10), ops.IdsToNumbers(1), ops.ToDense(2)
    )
    assert CompiledPlan(graph).item.listing() == (
        "columns word; imports none\n"
        "  %0 = parse_tokens word  # feature_x\n"
        "  %1 = hash_ids %0  # feature_x\n"
        "  %2 = ids_to_numbers %1  # feature_x\n"
        "  %3 = to_dense %2  # feature_x"
    )
