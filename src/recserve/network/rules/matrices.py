"""Products of matrices, recurrent cells and convolutions."""

from __future__ import annotations

from recserve.network.facts import Fact, Layout, Step, rule
from recserve.network.rules.elementwise import broadcast
from recserve.network.sizes import Dims, Size


@rule("MatMul")
def _matmul(step: Step) -> list[Layout] | None:
    """Rows may be batch axes of both, the M axis of the left, or the last axis of the right; never contracted."""
    left, right = step.known()
    a, b = step.dims(0), step.dims(1)
    if len(a) < 2 or len(b) < 2:
        return _matmul_of_vectors(a, b, left.row, right.row)
    a_batch = left.row is not None and left.row < len(a) - 2
    b_batch = right.row is not None and right.row < len(b) - 2
    parts = [
        Fact(left.rate, a[:-2], left.row if a_batch else None),
        Fact(right.rate, b[:-2], right.row if b_batch else None),
    ]
    batch = broadcast(parts, step)
    if batch is None or left.row == len(a) - 1 or right.row == len(b) - 2:
        return None
    rank = len(batch.dims) + 2
    rows = [batch.row] if batch.row is not None else []
    rows += [rank - 2] if left.row == len(a) - 2 else []
    rows += [rank - 1] if right.row == len(b) - 1 else []
    if len(rows) > 1:
        return None
    return [Layout((*batch.dims, a[-2], b[-1]), rows[0] if rows else None)]


def _matmul_of_vectors(a: Dims, b: Dims, a_row: int | None, b_row: int | None) -> list[Layout] | None:
    if not a or not b:
        return None
    if len(b) == 1 and b_row is None and a_row != len(a) - 1:
        return [Layout(a[:-1], a_row)]
    if len(a) == 1 and a_row is None and b_row != len(b) - 2 and len(b) >= 2:
        return [Layout((*b[:-2], b[-1]), b_row if b_row is None or b_row < len(b) - 2 else b_row - 1)]
    return None


@rule("Gemm")
def _gemm(step: Step) -> list[Layout] | None:
    a, b = step.dims(0), step.dims(1)
    m, n = (1 if step.int_of("transA", 0) else 0), (0 if step.int_of("transB", 0) else 1)
    a_row, b_row = step.row(0), step.row(1)
    if a_row == 1 - m or b_row == 1 - n or (a_row is not None and b_row is not None):
        return None
    product = Fact(step.rate, (a[m], b[n]), 0 if a_row is not None else 1 if b_row is not None else None)
    bias = step.fact(2)
    layout = broadcast([product] if bias is None else [product, bias], step)
    return None if layout is None or layout.dims != product.dims else [layout]


@rule("Einsum")
def _einsum(step: Step) -> list[Layout] | None:
    """The label of the rows is the same in all operands that have rows, in no other, and in the output."""
    terms, arrow, output = step.text_of("equation", "").replace(" ", "").partition("->")
    labels = terms.split(",")
    if not arrow or "." in terms or len(labels) != len(step.facts):
        return None
    sizes: dict[str, Size] = {}
    row_label: str | None = None
    for i, text in enumerate(labels):
        row = step.row(i)
        if len(set(text)) != len(text) or len(text) != len(step.dims(i)):
            return None
        if row is not None:
            if row_label not in (None, text[row]):
                return None
            row_label = text[row]
        for label, size in zip(text, step.dims(i), strict=True):
            if label not in sizes or sizes[label].names > size.names:
                sizes[label] = size
    if row_label is None:
        return [Layout(tuple(sizes[x] for x in output), None)]
    rows = {step.dims(i)[text.index(row_label)] for i, text in enumerate(labels) if row_label in text}
    if len(rows) > 1 or row_label not in output or len(set(output)) != len(output):
        return None
    sizes[row_label] = rows.pop()
    return [Layout(tuple(sizes[x] for x in output), output.index(row_label))]


@rule("GRU", "LSTM", "RNN")
def _recurrent(step: Step) -> list[Layout] | None:
    """X [L, N, d], lengths [N], states [directions, N, H]; outputs [L, directions, N, H] and states."""
    if step.int_of("layout", 0) or step.row(0) not in (1, None):
        return None
    weights = [step.fact(i) for i in (1, 2, 3, 7)]
    if any(f is not None and f.row is not None for f in weights):
        return None
    row = step.row(0)
    expected = {4: 0, 5: 1, 6: 1}
    if any(step.fact(i) is not None and step.row(i) != (where if row is not None else None)
           for i, where in expected.items()):  # fmt: skip
        return None
    length, rows, _ = step.dims(0)
    directions, hidden = step.dims(2)[0], step.dims(2)[2]
    if any(f is not None and f.row is not None and f.dims is not None and f.dims[f.row] != rows for f in step.facts):
        return None
    states = Layout((directions, rows, hidden), row)
    return [Layout((length, directions, rows, hidden), None if row is None else 2), states, states]


@rule("Conv", "MaxPool", "AveragePool")
def _window(step: Step) -> list[Layout] | None:
    dims = step.dims(0)
    if step.row(0) not in (0, None) or any(f.row is not None for f in step.known()[1:]) or len(step.node.outputs) > 1:
        return None
    channels = step.dims(1)[0] if step.op == "Conv" else dims[1]
    return [Layout((dims[0], channels, *[step.fresh(a) for a in range(2, len(dims))]), step.row(0))]
