"""GBM, DRF, uplift DRF and isolation forests: trees of levels and numbers, summed in double precision."""

from __future__ import annotations

from recserve.importers.mojo.archive import damaged
from recserve.importers.mojo.bytecode import TreeReader
from recserve.importers.mojo.ini import Info, unsupported
from recserve.importers.mojo.prediction import Prediction, calibrate, classify, normalise
from recserve.importers.trees.table import TreeTable
from recserve.scoring.graph import Graph, Value

MAX_TREES = 1 << 20
NEWEST = 1.4
_TWO_CLASSES = ("bernoulli", "quasibinomial", "modified_huber")
_DEFAULT_LINKS = {
    **dict.fromkeys(("bernoulli", "fractionalbinomial", "quasibinomial", "modified_huber", "ordinal"), "logit"),
    **dict.fromkeys(("multinomial", "poisson", "gamma", "tweedie"), "log"),
}


def sum_trees(graph: Graph, info: Info, row: list[Value]) -> tuple[list[Value], int]:
    """The sum of each group of trees, and how many trees a group has.

    Raises:
        ConfigError: "damaged_model" for trees that are none, "unsupported_element" for a newer MOJO.
    """
    if info.version > NEWEST:
        raise unsupported(f"MOJO version {info.version:.2f} is newer than {NEWEST:.2f}", info.where("mojo_version"))
    count = info.count("n_trees", MAX_TREES)
    single = info.classes == 2 and not info.flag("binomial_double_trees", False)
    groups = info.count("n_trees_per_class", MAX_TREES, 1 if single else info.classes)
    sizes = [len(domain) if domain else 0 for domain in info.domains[: len(row)]]
    reader = TreeReader(sizes, info.version, info.text("endianness", "LITTLE_ENDIAN") == "BIG_ENDIAN")
    sums = []
    for group in range(groups):
        table = TreeTable(width=1)
        for number in range(count):
            name = f"trees/t{group:02d}_{number:03d}.bin"
            if name not in info.archive:
                continue
            table.start_tree()
            for node in reader.read(info.archive.data(name), info.archive.where(name)):
                if node.column < 0:
                    table.leaf([node.value])
                elif node.missing_only:
                    table.split(node.column, "missing", 0.0, yes=node.right, no=node.left, unknown="yes")
                elif node.right_levels is not None:
                    unknown = "no" if node.missing_left else "yes"
                    table.split_in(node.column, node.right_levels, yes=node.right, no=node.left, unknown=unknown)
                else:
                    unknown = "yes" if node.missing_left else "no"
                    table.split(node.column, "less", node.value, yes=node.left, no=node.right, unknown=unknown)
        sums.append(table.lower(graph, row)[0])
    return sums, count


def lower_gbm(graph: Graph, info: Info, row: list[Value], offset: Value | None) -> Prediction:
    """Gradient boosting: the sums, the start value, the offset, then the link."""
    sums, _ = sum_trees(graph, info, row)
    family = info.text("distribution")
    start = info.number("init_f")

    def shift(value: Value) -> Value:
        value = graph.apply("add", value, start)
        return value if offset is None else graph.apply("add", value, offset)

    if family in _TWO_CLASSES:
        second = _inverse_link(graph, info, family, shift(sums[0]))
        probabilities = [graph.apply("subtract", 1.0, second), second]
    elif family == "multinomial":
        if info.classes == 2:
            first = shift(sums[0])
            sums = [first, graph.apply("negate", first)]
        probabilities = graph.apply_many("softmax", sums)
    else:
        return Prediction(_inverse_link(graph, info, family, shift(sums[0])))
    found = classify(graph, info, probabilities, row)
    if family == "quasibinomial" and info.response_domain is None:
        found = Prediction(found.first, found.rest, ("predict", "pVal0", "pVal1"))
    return calibrate(graph, info, found)


def _inverse_link(graph: Graph, info: Info, family: str, value: Value) -> Value:
    link = info.text("link_function", _DEFAULT_LINKS.get(family, "identity"))
    if link == "log":
        return graph.apply("min", graph.apply("exp", value), 1e19)
    if link in ("logit", "ologit"):
        return graph.apply("sigmoid", value)
    if link == "ologlog":
        return graph.apply("inverse_cloglog", value)
    if link == "oprobit":
        return graph.constant(0.0)
    if link == "inverse":
        negative = graph.apply("less", value, 0.0)
        low, high = graph.apply("min", value, -1e-5), graph.apply("max", value, -1e-5)
        return graph.apply("reciprocal", graph.apply("select", negative, low, high))
    return value


def lower_drf(graph: Graph, info: Info, row: list[Value], offset: Value | None) -> Prediction:  # noqa: ARG001
    """Random forest: mean of the trees, or their votes over the sum of votes."""
    sums, count = sum_trees(graph, info, row)
    if info.classes == 1:
        return Prediction(graph.apply("divide", sums[0], float(count)))
    if info.classes == 2 and not info.flag("binomial_double_trees"):
        first = graph.apply("divide", sums[0], float(count))
        probabilities = [first, graph.apply("subtract", 1.0, first)]
    else:
        probabilities = normalise(graph, sums)
    return calibrate(graph, info, classify(graph, info, probabilities, row))


def lower_uplift(graph: Graph, info: Info, row: list[Value], offset: Value | None) -> Prediction:  # noqa: ARG001
    """Uplift forest: the mean probability with treatment less that without."""
    sums, count = sum_trees(graph, info, row)
    if len(sums) != 2:
        raise damaged(f"has {len(sums)} trees a group where an uplift forest has 2", info.where("n_trees_per_class"))
    treated, control = (graph.apply("divide", value, float(count)) for value in sums)
    names = ("uplift_predict", "p_y1_with_treatment", "p_y1_without_treatment")
    return Prediction(graph.apply("subtract", treated, control), (treated, control), names)


def lower_isolation(graph: Graph, info: Info, row: list[Value], offset: Value | None) -> Prediction:  # noqa: ARG001
    """Isolation forest: the path length, between the shortest and the longest seen in training."""
    sums, count = sum_trees(graph, info, row)
    shortest, longest = info.integer("min_path_length", 0), info.integer("max_path_length", 0)
    mean = graph.apply("divide", sums[0], float(count)) if count else graph.constant(0.0)
    if longest > shortest:
        score = graph.apply("divide", graph.apply("subtract", float(longest), sums[0]), float(longest - shortest))
    else:
        score = graph.constant(1.0)
    if not info.flag("output_anomaly_flag", False):
        return Prediction(score, (mean,), ("predict", "mean_length"))
    above = graph.apply("boolean_to_number", graph.apply("greater", score, info.threshold))
    return Prediction(above, (score, mean), ("predict", "score", "mean_length"))
