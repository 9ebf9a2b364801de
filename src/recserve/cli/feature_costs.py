"""How `recserve explain features` shows costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import typer

from recserve.rates import Rate

if TYPE_CHECKING:
    from recserve.features.graph import PlanGraph
    from recserve.staging.feature_costs import FeatureCost, PlanCosts

_RATES: Final = (Rate.ITEM, Rate.REQUEST, Rate.CANDIDATE)


def describe_costs(graph: PlanGraph, costs: PlanCosts) -> dict[str, Any]:
    """Costs as plain JSON values: features, ops, and totals by rate."""
    from recserve.features.trace import op_text

    return {
        "rows": costs.rows,
        "features": {
            feature.name: {
                "rate": feature.rate.value,
                "columns": list(feature.columns),
                "ops": list(feature.ops),
                "shared_ops": list(feature.shared),
                "nanoseconds": {rate.value: round(ns, 1) for rate, ns in feature.nanoseconds.items()},
                "item_bytes": feature.item_bytes,
            }
            for feature in costs.features
        },
        "ops": [
            {
                "op": op_text(graph.ops[op.number], op.number),
                "rate": op.rate.value,
                "nanoseconds": round(op.nanoseconds, 1),
                "elements": op.elements,
                "features": list(op.features),
            }
            for op in costs.ops
        ],
        "totals": {
            rate.value: {
                "ops": sum(op.rate is rate for op in costs.ops),
                "nanoseconds": round(costs.nanoseconds(rate), 1),
            }
            for rate in Rate
        }
        | {"item_bytes": costs.item_bytes},
    }


def print_costs(graph: PlanGraph, costs: PlanCosts, *, has_ops: bool) -> None:
    """Print costs as tables: features, ops if asked for, and totals."""
    from recserve.cli.output import print_table
    from recserve.features.trace import op_text

    rows = [_feature_row(feature, costs) for feature in costs.features]
    names = ["feature", "rate", "ops: item + request + candidate", "shared", *(f"ns/{r.value}" for r in _RATES)]
    print_table("Features", [*names, "bytes/item"], rows)
    if has_ops:
        listed = [
            (
                op_text(graph.ops[op.number], op.number),
                op.rate.value,
                f"{op.nanoseconds:,.0f}",
                f"{op.elements:.3g}",
                f"{op.features[0]} and {len(op.features) - 1} more" if op.is_shared else ", ".join(op.features),
            )
            for op in costs.ops
        ]
        print_table("Ops", ["op", "rate", "ns", "elements", "features"], listed)
    totals = []
    for rate in _RATES:
        ops = [op for op in costs.ops if op.rate is rate]
        totals.append((rate.value, len(ops), sum(op.is_shared for op in ops), f"{costs.nanoseconds(rate):,.0f}"))
    print_table("Totals by rate", ["rate", "ops", "shared", "ns each"], totals)
    typer.echo(
        f"{costs.item_bytes:,.0f} bytes per item, before the network shrinks or widens them. Measured on {costs.rows} "
        "rows, one thread; the costs of shared ops are divided among the features that share them."
    )


def _feature_row(feature: FeatureCost, costs: PlanCosts) -> tuple[object, ...]:
    counts = [sum(costs.ops[number].rate is rate for number in feature.ops) for rate in _RATES]
    spent = [f"{feature.nanoseconds[rate]:,.0f}" if feature.nanoseconds[rate] else "" for rate in _RATES]
    kept = "a sequence" if feature.item_bytes is None else f"{feature.item_bytes:,.0f}" if feature.item_bytes else ""
    return (
        feature.name,
        feature.rate.value,
        " + ".join(map(str, counts)),
        len(feature.shared) or "",
        *spent,
        kept,
    )


def listings(graph: PlanGraph) -> dict[str, str]:
    """The program of each rate's stage."""
    from recserve.features.compiled import CompiledPlan

    plan = CompiledPlan(graph)
    stages = {Rate.ITEM: plan.item, Rate.REQUEST: plan.request, Rate.CANDIDATE: plan.candidate}
    return {rate.value: stage.listing() for rate, stage in stages.items()}
