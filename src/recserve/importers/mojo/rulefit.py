"""RuleFit: rules of tree paths as categorical columns of a linear model."""

from __future__ import annotations

from recserve.importers.mojo.archive import damaged
from recserve.importers.mojo.ensembles import Lower, read_submodels, submodel
from recserve.importers.mojo.ini import MAX_COLUMNS, Info
from recserve.importers.mojo.prediction import Prediction
from recserve.scoring.graph import Graph, Value

LINEAR, RULES_AND_LINEAR = 0, 1
MAX_RULES = 1 << 20
MAX_TREES = 1 << 16


def lower_rulefit(graph: Graph, info: Info, row: list[Value], lower: Lower) -> Prediction:
    """The linear model over which rule of each tree holds, and over the row itself where the model has linear terms."""
    linear = submodel(info, read_submodels(info), "linear_model")
    kind = info.integer("model_type")
    values = row
    if kind != LINEAR:
        values = _rule_columns(graph, info, row, linear)
        values += row if kind == RULES_AND_LINEAR else []
    places = {name: place for place, name in reversed(list(enumerate(linear.columns)))}
    names = [info.text(f"linear_names_{i}") for i in range(info.count("linear_names_len", MAX_COLUMNS))]
    count = len(linear.features)
    if len(names) < count or len(values) < count:
        raise damaged(f"has {len(names)} names and {len(values)} values for {count}", info.where("linear_names_len"))
    arranged = [graph.constant(0.0)] * count
    for name, value in zip(names[:count], values, strict=False):
        if places.get(name, count) >= count:
            raise damaged(f"names {name!r}, which the linear model does not read", info.where("linear_names_len"))
        arranged[places[name]] = value
    return lower(graph, linear, arranged, None)


def _rule_columns(graph: Graph, info: Info, row: list[Value], linear: Info) -> list[Value]:
    """For each depth and tree (and class of more than two): the level of the last rule that holds, else missing."""
    labels = info.response_domain or ()
    columns = []
    for depth in range(info.count("depth", MAX_TREES)):
        for tree in range(info.count("ntrees", MAX_TREES)):
            count = info.count(f"num_rules_M{depth}T{tree}", MAX_RULES)
            rules = [f"{depth}_{tree}_{number}" for number in range(count)]
            if len(labels) <= 2:
                columns.append(_column(graph, info, row, linear, rules, ""))
                continue
            names = {rule: info.text(f"var_name_rule_id_{rule}") for rule in rules}
            for number, label in enumerate(labels):
                own = [rule for rule in rules if names[rule].endswith(label)]
                columns.append(_column(graph, info, row, linear, own, f"C{number}"))
    return columns


def _column(  # noqa: PLR0917  (what a row needs)
    graph: Graph,
    info: Info,
    row: list[Value],
    linear: Info,
    rules: list[str],
    suffix: str,
) -> Value:
    if not rules:
        return graph.missing("number")
    tests, levels = [], []
    for rule in reversed(rules):
        tests.append(_rule(graph, info, row, rule))
        levels.append(_level(info, linear, rule, suffix))
    return graph.apply("pick", graph.apply("first_true", *tests), values=levels)


def _level(info: Info, linear: Info, rule: str, suffix: str) -> float | None:
    """The rule's code in the linear model's column; None where it has none."""
    key = f"var_name_rule_id_{rule}"
    name = info.text(key)
    column = name.partition("N")[0] + suffix
    if column not in linear.columns:
        raise damaged(f"is {name!r}, of no column of the linear model", info.where(key))
    domain = linear.domains[linear.columns.index(column)] or ()
    return float(domain.index(name)) if name in domain else None


def _rule(graph: Graph, info: Info, row: list[Value], rule: str) -> Value:
    count = info.count(f"num_conditions_rule_id_{rule}", MAX_RULES)
    return graph.apply("and", *[_condition(graph, info, row, f"{number}_{rule}") for number in range(count)])


def _condition(graph: Graph, info: Info, row: list[Value], name: str) -> Value:
    """A test of one column; a missing value passes only where the condition includes it."""
    column = info.count(f"feature_index_{name}", len(row) - 1)
    value = row[column]
    if info.integer(f"type_{name}") == 0:
        size = info.count(f"cat_treshold_length_{name}", MAX_RULES)
        levels = [info.integer(f"cat_treshold_length_{i}_{name}") for i in range(size)]
        test = graph.apply("isin", value, values=levels)
    else:
        operator = info.integer(f"operator_{name}")
        # The writer leaves out the underscore of this key. A threshold that is no number holds for missing values only.
        threshold = info.number(f"num_treshold{name}")
        if operator not in (0, 1) or threshold != threshold:  # noqa: PLR0124  (NaN)
            return graph.apply("and", graph.apply("is_missing", value), info.flag(f"nas_included_{name}"))
        test = graph.apply("greater_equal" if operator else "less", value, threshold)
    return graph.apply("replace_missing", test, info.flag(f"nas_included_{name}"))
