"""Cox regression: the cumulative hazard at a time, from baseline tables."""

from __future__ import annotations

from collections.abc import Mapping

from recserve.importers.pmml.document import Element
from recserve.importers.pmml.scope import Scope
from recserve.scoring.graph import Value


def lower_cox(
    model: Element, betas: list[tuple[str, float]], references: Mapping[str, float], total: Value, scope: Scope
) -> Value:
    """H(t) = H₀(t) · exp(r - s): r is the sum of the row, s that of the reference point.

    Missing after the largest time of the table, and for a stratum without one; 0 before its first time.
    """
    graph = scope.graph
    time = scope.number(model.need("endTimeVariable"), model)
    tables = model.need_child("BaseCumHazardTables")
    strata = model.get("baselineStrataVariable")
    if strata is None:
        hazard = _table(tables, time, scope)
    else:
        field = scope.field(strata, model)
        elements = tables.all("BaselineStratum")
        names = [one.need("value") for one in elements]
        place = scope.lookup(field, names, [float(i) for i in range(len(names))], None, model)
        hazard = graph.apply("choose", place, *[_table(one, time, scope) for one in elements])
    start = sum(beta * references.get(parameter, 0.0) for parameter, beta in betas)
    risk = graph.apply("exp", graph.apply("subtract", total, start))
    # Before the first time nothing has happened, whatever the row is.
    return graph.apply("select", graph.apply("equal", hazard, 0.0), 0.0, graph.apply("multiply", hazard, risk))


def _table(element: Element, time: Value, scope: Scope) -> Value:
    """The baseline hazard at a time: that of the last cell that is not later."""
    cells = sorted((cell.finite("time"), cell.finite("cumHazard")) for cell in element.all("BaselineCell"))
    if not cells:
        raise element.invalid("has no BaselineCell")
    last = element.finite("maxTime")
    starts = [at for at, _ in cells]
    intervals: list[tuple[float | None, float | None, bool, bool]] = [(None, starts[0], False, False)]
    values = [0.0]
    for (start, hazard), end in zip(cells[:-1], starts[1:], strict=True):
        intervals.append((start, end, True, False))
        values.append(hazard)
    intervals.append((starts[-1], max(starts[-1], last), True, True))
    values.append(cells[-1][1])
    return scope.graph.apply("discretize", time, intervals=intervals, values=values)
