"""Random graphs and columns, to hold the forms of a program against each other.

All ops drawn are exact (no exponentials), so that results must be equal bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any, Final

from recserve.scoring.cells import DType
from recserve.scoring.graph import Graph, Value
from recserve.scoring.ops_trees import TESTS

NUMBERS: Final = (0.0, 1.0, -1.5, 2.0, 3.25, 1e6, -0.0, 0.1, 7.0)
TEXTS: Final = ("a", "b", "c", "", "1", "true")
RAW: Final = (
    None,
    "a",
    "b",
    "c",
    "",
    "1",
    "2.5",
    " 3 ",
    "true",
    "false",
    "x",
    "nan",
    1,
    0,
    2.0,
    3.25,
    -1.5,
    True,
    False,
)

_UNARY: Final = "negate abs square floor ceil rint round_half_up truncate sign relu to_float32 sqrt reciprocal".split()  # noqa: SIM905
_BINARY: Final = "add subtract multiply divide modulo remainder".split()  # noqa: SIM905
_COMPARE: Final = "less less_equal greater greater_equal equal not_equal".split()  # noqa: SIM905


class Drawing:
    """A graph in the making.

    Args:
        random: what draws.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.graph = Graph()
        self.values: dict[DType, list[Value]] = {"number": [], "boolean": [], "string": [], "object": []}
        for column in ("n", "m", "k"):
            self.add(self.graph.input(column, "number"))
        for column in ("s", "n"):
            self.add(self.graph.input(column, "string"))
        self.add(self.graph.input("b", "boolean"))
        self.add(self.values["number"][0].unparsed)

    def add(self, value: Value) -> None:
        """Let later ops take a value."""
        self.values[value.dtype].append(value)

    def take(self, dtype: DType) -> Value:
        """One of the values so far."""
        return self.random.choice(self.values[dtype])

    def many(self, dtype: DType, least: int = 1) -> list[Value]:
        """A few of the values so far."""
        return [self.take(dtype) for _ in range(self.random.randint(least, 4))]

    def literal(self, dtype: DType) -> Any:
        """A value for a parameter."""
        choices: dict[DType, tuple[Any, ...]] = {"number": NUMBERS, "string": TEXTS, "boolean": (True, False)}
        return self.random.choice(choices[dtype])

    def literals(self, dtype: DType, count: int) -> list[Any]:
        """Values for a parameter; None now and then."""
        return [None if self.random.random() < 0.1 else self.literal(dtype) for _ in range(count)]

    def dtype(self) -> DType:
        """One that parameters can have."""
        return self.random.choice(("number", "string", "boolean"))


def _elementwise(d: Drawing) -> list[Value]:
    kind = d.random.randrange(4)
    if kind == 0:
        return [d.graph.apply(d.random.choice(_UNARY), d.take("number"))]
    if kind == 1:
        return [d.graph.apply(d.random.choice(_BINARY), d.take("number"), d.take("number"))]
    if kind == 2:
        return [d.graph.apply(d.random.choice(_COMPARE), d.take("number"), d.random.choice(NUMBERS))]
    dtype = d.dtype()
    return [d.graph.apply(d.random.choice(("equal", "not_equal")), d.take(dtype), d.take(dtype))]


def _aggregate(d: Drawing) -> list[Value]:
    skip = d.random.random() < 0.5
    name = d.random.choice(("sum", "product", "min", "max", "mean", "median", "argmax", "argmin"))
    if d.random.random() < 0.7:
        return [d.graph.apply(name, *d.many("number"), skip_missing=skip)]
    xs = d.many("number")
    weights = [d.random.choice((0.5, 1.0, 2.0)) for _ in xs]
    return [
        d.graph.apply(d.random.choice(("weighted_mean", "weighted_median")), *xs, weights=weights, skip_missing=skip)
    ]


def _state(d: Drawing) -> list[Value]:
    dtype = d.dtype()
    g, x, y, condition = d.graph, d.take(dtype), d.take(dtype), d.take("boolean")
    made: list[Callable[[], Value]] = [
        lambda: g.apply(d.random.choice(("is_missing", "is_known", "is_failed")), x),
        lambda: g.apply(d.random.choice(("replace_missing", "replace_failed")), x, y),
        lambda: g.apply("mark_missing", x, condition),
        lambda: g.apply("fail", x, condition, message=f"failed {d.random.randrange(3)}"),
        lambda: g.apply("select", condition, x, y),
        lambda: g.apply("select_or", condition, x, y, d.take(dtype)),
        lambda: g.apply("coalesce", *d.many(dtype)),
        lambda: g.apply(d.random.choice(("and", "or", "first_true")), *d.many("boolean", 0)),
        lambda: g.apply("nth_true", *d.many("boolean"), nth=2),
        lambda: g.apply(d.random.choice(("xor", "equal")), condition, d.take("boolean")),
        lambda: g.apply("not", condition),
        lambda: g.apply("choose", d.take("number"), *d.many(dtype)),
        lambda: g.apply(d.random.choice(("missing_to_nan", "nan_to_missing")), d.take("number")),
        lambda: g.missing(dtype),
        lambda: g.constant(d.literal(dtype)),
    ]
    return [d.random.choice(made)()]


def _table(d: Drawing) -> list[Value]:
    dtype, count = d.dtype(), d.random.randint(1, 4)
    kinds = [d.dtype() for _ in range(d.random.randint(1, 3))]
    keys = [[d.literal(kind) for kind in kinds] for _ in range(count)]
    values, default, missing = d.literals(dtype, count), *d.literals(dtype, 2)
    g, x, bounds = d.graph, d.take("number"), sorted(d.random.choices(NUMBERS, k=count + 1))
    intervals: list[Any] = [(a, b, d.random.random() < 0.5, d.random.random() < 0.5) for a, b in pairwise(bounds)]
    intervals[0] = (None, *intervals[0][1:])
    made: list[Callable[[], list[Value]]] = [
        lambda: [
            g.apply(
                "lookup", *map(d.take, kinds), keys=keys, values=values, default=default, missing=missing, dtype=dtype
            )
        ],
        lambda: [g.apply("isin", d.take(kinds[0]), values=[key[0] for key in keys])],
        lambda: g.apply_many("one_hot", [d.take(kinds[0])], values=[key[0] for key in keys]),
        lambda: [g.apply("discretize", x, intervals=intervals, values=values, default=default, dtype=dtype)],
        lambda: [
            g.apply(
                "piecewise",
                x,
                xs=bounds,
                ys=[d.random.choice(NUMBERS) for _ in bounds],
                outside=d.random.choice(("extrapolate", "clamp", "missing")),
            )
        ],
        lambda: [g.apply("pick", x, values=values, dtype=dtype)],
        lambda: g.apply_many("gather", [x], table=[[1.0, float("nan")], [2.0, 3.0]]),
    ]
    return d.random.choice(made)()


def _block(d: Drawing) -> list[Value]:
    xs = d.many("number")
    weights = [d.random.choice(NUMBERS) for _ in xs]
    precision = d.random.choice(("double", "float"))
    kind = d.random.randrange(4)
    if kind == 0:
        bias_last = d.random.random() < 0.5
        return [d.graph.apply("linear", *xs, weights=weights, bias=0.1, precision=precision, bias_last=bias_last)]
    if kind == 1:
        return d.graph.apply_many(
            "dense",
            xs,
            weights=[[weight, 0.5] for weight in weights],
            bias=[0.1, 0.2],
            activation=d.random.choice(("identity", "rectifier", "square", "elliott")),
            precision=precision,
        )
    if kind == 2:
        return d.graph.apply_many("simplemax", xs)
    dtype = d.dtype()
    labels = d.many(dtype)
    classes = list(dict.fromkeys(d.literal(dtype) for _ in range(3)))
    skip = d.random.random() < 0.5
    return d.graph.apply_many("vote", labels, weights=[0.5] * len(labels), classes=classes, skip_missing=skip)


def draw_trees(d: Drawing, *, is_simple: bool) -> list[Value]:
    """Binary trees; of simple ones each can be laid out for the fast kernel."""
    args = [d.take("number"), d.take("number"), d.take("boolean"), *([] if is_simple else [d.take("string")])]
    nodes: list[list[float]] = []  # feature, test, threshold, yes, no, unknown, row
    roots = []
    sets = [["a", "c"], list(NUMBERS[:3])]
    for _ in range(d.random.randint(1, 9)):
        roots.append(len(nodes))
        _grow(d, nodes, 0, is_simple)
    width = 1 if d.random.random() < 0.5 else 2
    values = [[d.random.choice(NUMBERS) for _ in range(width)] for _ in range(5)]
    output = d.random.choice(("sum", "rows", "each") if width == 1 else ("sum", "rows"))
    names = ("features", "tests", "thresholds", "yes", "no", "unknown", "rows")
    columns = {name: [node[i] for node in nodes] for i, name in enumerate(names)}
    return d.graph.apply_many(
        "trees",
        args,
        **columns,
        sets=[] if is_simple else sets,
        roots=roots,
        values=values,
        base=[0.3] * width,
        output=output,
        precision=d.random.choice(("double", "float")),
        skip_missing=d.random.random() < 0.5,
    )


def _grow(d: Drawing, nodes: list[list[float]], depth: int, is_simple: bool) -> int:
    """Append a subtree; number of its root."""
    here = len(nodes)
    row = d.random.randrange(5)
    if depth >= 5 or d.random.random() < 0.15 * depth:
        nodes.append([-1, 0, 0.0, -1, -1, 0, row if is_simple else d.random.randint(-1, 4)])
        return here
    test, feature, threshold = d.random.randrange(4), d.random.randrange(2), d.random.choice(NUMBERS)
    if d.random.random() < 0.2:
        test, feature = TESTS["true"], 2
    elif not is_simple and d.random.random() < 0.5:
        test = d.random.randrange(13)
        if test in {TESTS["in"], TESTS["not_in"]}:
            threshold = d.random.randrange(2)
            feature = 3 if threshold == 0 else d.random.randrange(2)
        feature = 2 if test == TESTS["true"] else feature
    unknown = d.random.randrange(2 if is_simple else 4)
    node: list[float] = [feature, test, threshold, -1, -1, unknown, row]
    nodes.append(node)
    node[3] = _grow(d, nodes, depth + 1, is_simple)
    node[4] = _grow(d, nodes, depth + 1, is_simple)
    return here


def draw_tree(d: Drawing) -> list[Value]:
    """A tree with siblings."""
    count = d.random.randint(1, 12)
    parents = [-1, *(d.random.randrange(i) for i in range(1, count))]
    child, sibling, default = [-1] * count, [-1] * count, [-1] * count
    for i in range(count - 1, 0, -1):
        sibling[i], child[parents[i]] = child[parents[i]], i
        if d.random.random() < 0.5:
            default[parents[i]] = i
    tests = [11 if d.random.random() < 0.3 else d.random.choice((0, 1, 2, 3, 4, 5, 9, 10)) for _ in range(count)]
    return d.graph.apply_many(
        "tree",
        [d.take("number"), d.take("number")],
        features=[d.random.randrange(2) for _ in range(count)],
        tests=tests,
        thresholds=[d.random.choice(NUMBERS) for _ in range(count)],
        rows=[d.random.randint(-1, 5) for _ in range(count)],
        child=child,
        sibling=sibling,
        default=default,
        missing=d.random.choice(("none", "null", "last", "default")),
        no_true_child=d.random.choice(("null", "last")),
    )


def _text(d: Drawing) -> list[Value]:
    g = d.graph
    made: list[Callable[[], Value]] = [
        lambda: g.apply("concat", *d.many("string"), separator="-"),
        lambda: g.apply("uppercase", d.take("string")),
        lambda: g.apply("substring", d.take("string"), d.take("number"), 2.0),
        lambda: g.apply("number_to_string", d.take("number")),
        lambda: g.apply("string_to_number", d.take("string")),
        lambda: g.apply("string_to_boolean", d.take("string")),
        lambda: g.apply("boolean_to_number", d.take("boolean")),
        lambda: g.apply("number_to_boolean", d.take("number")),
        lambda: g.apply("make_list", d.take("string"), d.take("number")),
    ]
    return [d.random.choice(made)()]


def draw_graph(random: Random, ops: int = 12) -> Graph:
    """A graph over the columns n, m, k (numbers), s (text), b (boolean), with an output for most values."""
    drawing = Drawing(random)
    makers = (_elementwise, _aggregate, _state, _state, _table, _block, draw_tree, _text)
    outputs: list[Value] = []
    for _ in range(ops):
        choice = random.randrange(len(makers) + 2)
        is_simple = choice == len(makers)
        made = makers[choice](drawing) if choice < len(makers) else draw_trees(drawing, is_simple=is_simple)
        for value in made:
            drawing.add(value)
        outputs += made
    for i, value in enumerate(outputs):
        if value.dtype != "object" or random.random() < 0.5:
            drawing.graph.output(f"y{i}", value)
    if random.random() < 0.3:
        drawing.graph.guard(drawing.take("number"))
    if not drawing.graph.outputs:
        drawing.graph.output("y", outputs[0])
    return drawing.graph


def draw_columns(random: Random, rows: int) -> dict[str, list[Any]]:
    """Raw cells for the columns of `draw_graph`; a column is left out now and then."""
    columns = {name: [random.choice(RAW) for _ in range(rows)] for name in ("n", "m", "k", "s", "b")}
    if random.random() < 0.7:  # numbers alone take another way in
        columns["m"] = [random.choice((*NUMBERS, None)) for _ in range(rows)]
    if random.random() < 0.1:
        del columns["k"]
    return columns
