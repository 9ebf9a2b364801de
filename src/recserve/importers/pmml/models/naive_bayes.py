"""NaiveBayesModel: the product of a prior and one likelihood an input, in log space.

A missing input counts for nothing, as does a category that the document does not list. A count of zero has the
likelihood `threshold`; the density of a continuous input is `threshold` at least.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from recserve.importers.pmml import expressions
from recserve.importers.pmml.results import Result, classify
from recserve.importers.pmml.scope import Typed

if TYPE_CHECKING:
    from recserve.importers.pmml.document import Element
    from recserve.importers.pmml.scope import Scope
    from recserve.scoring.graph import Value

DISTRIBUTIONS = ("GaussianDistribution", "PoissonDistribution", "UniformDistribution", "AnyDistribution")
_HALF_LOG_TAU = 0.5 * math.log(2.0 * math.pi)


def lower(model: Element, scope: Scope) -> Result:
    """Lower a `NaiveBayesModel`.

    Raises:
        ConfigError: a label has no prior, an input lists neither counts nor distributions, or a distribution is none
            that has a density.
    """
    model.choice("functionName", ("classification",))
    graph = scope.graph
    floor = _log(model.finite("threshold"))
    priors = _counts(model.need_child("BayesOutput").need_child("TargetValueCounts"))
    terms: dict[str, list[Value]] = {label: [] for label in priors}
    for element in model.need_child("BayesInputs").all("BayesInput"):
        for label, term in _lower_input(element, scope, floor).items():
            if label not in priors:
                raise element.invalid(f"has the label {label!r}, which <BayesOutput> does not count")
            terms[label].append(graph.apply("replace_missing", term, 0.0))
    logs = [
        graph.apply("linear", *terms[label], weights=[1.0] * len(terms[label]), bias=_log(count))
        for label, count in priors.items()
    ]
    probabilities = dict(zip(priors, graph.apply_many("softmax", logs), strict=True))
    return Result("classification", value=classify(graph, probabilities), probabilities=probabilities)


def _log(x: float) -> float:
    return math.log(x) if x > 0.0 else -math.inf


def _counts(element: Element) -> dict[str, float]:
    """Label → count of a `TargetValueCounts`, in order."""
    counts = {one.need("value"): one.finite("count") for one in element.all("TargetValueCount")}
    if not counts or min(counts.values()) < 0.0:
        raise element.invalid("needs counts of zero or more")
    return counts


def _lower_input(element: Element, scope: Scope, floor: float) -> dict[str, Value]:
    """Label → log likelihood of one input, missing where it says nothing."""
    field: Typed = scope.field(element.need("fieldName"), element)
    stats = element.first("TargetValueStats")
    if stats is not None:
        x = scope.convert(field, "double").value
        return {stat.need("value"): _log_density(stat, x, scope, floor) for stat in stats.all("TargetValueStat")}
    derived = element.first("DerivedField")
    if derived is not None:
        if len(derived.children) != 1:
            raise derived.invalid(f"holds {len(derived.children)} expressions instead of one")
        made = expressions.lower(derived.children[0], scope)
        field = scope.convert(made, derived.get("dataType", made.data_type) or made.data_type)
    return _discrete(element, field, scope, floor)


def _discrete(element: Element, field: Typed, scope: Scope, floor: float) -> dict[str, Value]:
    pairs = element.all("PairCounts")
    if not pairs:
        raise element.invalid("has neither <PairCounts> nor <TargetValueStats>")
    counted = [(pair, _counts(pair.need_child("TargetValueCounts"))) for pair in pairs]
    totals: dict[str, float] = {}
    for _, counts in counted:
        for label, count in counts.items():
            totals[label] = totals.get(label, 0.0) + count
    terms = {}
    for label, total in totals.items():
        logs = [_log(counts[label] / total) if counts.get(label) else floor for _, counts in counted]
        logs = [log if label in counts else 0.0 for log, (_, counts) in zip(logs, counted, strict=True)]
        terms[label] = scope.lookup(field, [pair.need("value") for pair, _ in counted], logs, 0.0, element)
    return terms


def _log_density(stat: Element, x: Value, scope: Scope, floor: float) -> Value:
    """Log density of a distribution at x, at least `floor`."""
    graph = scope.graph
    distribution = stat.need_child(*DISTRIBUTIONS)
    if distribution.tag == "GaussianDistribution":
        log = _gaussian(distribution, x, scope)
    elif distribution.tag == "PoissonDistribution":
        log = _poisson(distribution, x, scope)
    elif distribution.tag == "UniformDistribution":
        log = _uniform(distribution, x, scope)
    else:
        raise distribution.unsupported("has a mean and a variance but no density", "Write the distribution it is")
    return graph.apply("max", log, floor) if floor > -math.inf else log


def _gaussian(distribution: Element, x: Value, scope: Scope) -> Value:
    variance = distribution.finite("variance")
    if variance <= 0.0:
        raise distribution.invalid(f"has the variance {variance:g}", "A variance is above zero")
    graph = scope.graph
    off = graph.apply("subtract", x, distribution.finite("mean"))
    log = graph.apply("divide", graph.apply("square", off), -2.0 * variance)
    return graph.apply("subtract", log, 0.5 * math.log(variance) + _HALF_LOG_TAU)


def _poisson(distribution: Element, x: Value, scope: Scope) -> Value:
    """k·log(mean) - mean - log(k!) of a whole number k; nothing else has a probability."""
    mean = distribution.finite("mean")
    if mean <= 0.0:
        raise distribution.invalid(f"has the mean {mean:g}", "The mean of a Poisson distribution is above zero")
    graph = scope.graph
    inside = graph.apply("and", graph.apply("is_integer", x), graph.apply("greater_equal", x, 0.0))
    k = graph.apply("select", inside, x, 0.0)
    log = graph.apply("linear", k, graph.apply("log_gamma", graph.apply("add", k, 1.0)), weights=[math.log(mean), -1.0])
    log = graph.apply("subtract", log, mean)
    return graph.apply("select", inside, log, -math.inf)


def _uniform(distribution: Element, x: Value, scope: Scope) -> Value:
    low, high = distribution.finite("lower"), distribution.finite("upper")
    if not low < high:
        raise distribution.invalid(f"lies between {low:g} and {high:g}", "`lower` is below `upper`")
    graph = scope.graph
    inside = graph.apply("and", graph.apply("greater_equal", x, low), graph.apply("less_equal", x, high))
    return graph.apply("select", inside, -math.log(high - low), -math.inf)
