"""What `recserve explain network` adds to the parts of a network: bytes, the floor, dear nodes, and the drawing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from recserve.network.model import Network
    from recserve.network.split import SplitNetwork
    from recserve.rates import Rate

_SHOWN = 12


def rates_of_sides(sides: list[str], network: Network) -> dict[str, Rate]:
    """The rate of each input from `INPUT=SIDE` texts.

    Raises:
        ConfigError: a text has another form, or names no input or no side.
    """
    from recserve.errors import ConfigError, suggest
    from recserve.rates import SIDE_RATES

    rates: dict[str, Rate] = {}
    for text in sides:
        name, equals, side = text.partition("=")
        if not equals:
            raise ConfigError(f"{text!r} is not INPUT=SIDE", where="--side", hint="Write --side user_emb=user")
        if name not in network.inputs:
            hint = suggest(name, network.inputs) or f"Inputs are {', '.join(network.inputs)}"
            raise ConfigError(f"the network has no input {name!r}", where="--side", hint=hint)
        if side not in SIDE_RATES:
            hint = suggest(side, SIDE_RATES) or "Sides are user, item, context and candidate"
            raise ConfigError(f"{side!r} is no side", where="--side", hint=hint)
        rates[name] = SIDE_RATES[side]
    return rates


def report_split(split: SplitNetwork, candidates: int) -> dict[str, Any]:
    """Bytes by rate, the floor, what each pass did how often and from which to which rate, and the candidate nodes."""
    from recserve.network.anatomy import dissect, measure_ceilings
    from recserve.rates import Rate

    anatomy, ceilings = dissect(split), measure_ceilings()
    dearest = sorted(anatomy.nodes[Rate.CANDIDATE], key=lambda node: -(node.flops or 0))[:_SHOWN]
    return {
        "weight_bytes": {rate.value: anatomy.weight_bytes(rate) for rate in anatomy.nodes},
        "activation_bytes": {rate.value: anatomy.activation_bytes(rate) for rate in anatomy.nodes},
        "compute_us": {
            rate.value: ceilings.compute_us(anatomy, rate, candidates if rate is Rate.CANDIDATE else 1)
            for rate in anatomy.nodes
        },
        "floor": {
            "candidates": candidates,
            "us": round(ceilings.floor_us(anatomy, candidates), 1),
            "compute_us": round(ceilings.compute_us(anatomy, Rate.CANDIDATE, candidates), 1),
            "bytes_us": round(ceilings.bytes_us(anatomy, candidates), 1),
            "gflops": round(ceilings.flops / 1e9, 1),
            "gbytes_per_s": round(ceilings.bytes / 1e9, 1),
        },
        "passes": dict(Counter(change.rewrite for change in split.report.changes).most_common()),
        "candidate_nodes": [
            {"op": node.op, "name": node.name, "flops": node.flops, "weight_bytes": node.bytes} for node in dearest
        ],
    }


def report_engine(engine: dict[str, Any], split: SplitNetwork) -> dict[str, Any]:
    """How the candidate part of a bundle runs: its way, what was measured, and what is in integers in int8.

    Args:
        engine: of the manifest.
        split: of the same bundle.
    """
    from recserve.network.engine_choice import Measured
    from recserve.network.quantise import quantisable

    measured = Measured.from_dict(engine)
    rounded = [name for name, _, _ in measured.choice.ranges]
    able = quantisable(split.candidate.model) if rounded else ()
    return {
        "way": measured.choice.label,
        "cpu": measured.cpu,
        "us": measured.us,
        "rounded": rounded,
        "left_out": [name for name in able if name not in rounded],
    }


def _print_engine(engine: dict[str, Any]) -> None:
    from recserve.cli.output import print_table

    where = f", as measured on {engine['cpu']}" if engine["us"] else ""
    typer.echo(f"The candidate part runs in {engine['way']}{where}.")
    if engine["us"]:
        print_table("Measured", ["way", "us"], [(way, f"{us:,.0f}") for way, us in engine["us"].items()])
    for what, names in (("8-bit integers", engine["rounded"]), ("floating-point", engine["left_out"])):
        if names:
            typer.echo(f"Large products in {what} are those that read {', '.join(names)}.")


def print_report(network: dict[str, Any]) -> None:
    """Print what `report_split` gave as tables."""
    from recserve.cli.output import print_table

    floor = network["floor"]
    runs = {"item": "1 item", "request": "1 request", "candidate": f"{floor['candidates']:,} candidates"}
    rows = [
        (rate, f"{size:,}", f"{network['activation_bytes'][rate]:,}", f"{network['compute_us'][rate]:.3g}", runs[rate])
        for rate, size in network["weight_bytes"].items()
    ]
    print_table("Bytes and time", ["rate", "weights", "written for a row", "least us", "for"], rows)
    typer.echo(
        f"Floor: {floor['us']:,} us for {floor['candidates']:,} candidates on one core: operations "
        f"{floor['compute_us']:,} us, weights and stored rows {floor['bytes_us']:,} us "
        f"({floor['gflops']:,} GFLOPS, {floor['gbytes_per_s']:,} GB/s measured)."
    )
    if network.get("engine") is not None:
        _print_engine(network["engine"])
    if network.get("storing") is not None:
        print_storing(network["storing"])
    nodes = [
        (n["op"], n["name"], "unknown" if n["flops"] is None else f"{n['flops']:,}", f"{n['weight_bytes']:,}")
        for n in network["candidate_nodes"]
    ]
    print_table("Dearest nodes at candidate rate", ["op", "value", "flops", "bytes of weights"], nodes)
    print_table("Passes", ["pass", "times"], network["passes"].items())


def print_unhandled(nodes: list[dict[str, Any]]) -> None:
    """Print the nodes that stay whole at candidate rate because no rule handles them, and what to do about each kind.

    Args:
        nodes: with operations (None: unknown), share of the candidate part's, why and advice; those to know of first.
    """
    from recserve.cli.output import print_table

    if not nodes:
        return
    rows = [
        (n["op"], n["name"], n["reads"], "unknown" if n["flops"] is None else f"{n['flops']:,}",
         "unknown" if n["share"] is None else f"{n['share']:.0%}", f"{n['behind']} ({n['behind_flops']:,})")
        for n in nodes[:_SHOWN]
    ]  # fmt: skip
    print_table(
        f"{len(nodes)} nodes stay whole at candidate rate: no rule handles them" if len(nodes) > 1
        else "1 node stays whole at candidate rate: no rule handles it",
        ["op", "value", "depends on", "flops", "share", "nodes behind it (flops)"],
        rows,
    )  # fmt: skip
    if len(nodes) > _SHOWN:
        typer.echo(f"and {len(nodes) - _SHOWN} more (--json lists all).")
    for advice in dict.fromkeys(n["advice"] for n in nodes):
        (first, *rest) = [n for n in nodes if n["advice"] == advice]
        others = f" So {'do' if len(rest) > 1 else 'does'} {len(rest)} more." if rest else ""
        typer.echo(f"{first['why']}{others} {advice}")


def print_storing(plan: dict[str, Any]) -> None:
    """Print which item values are stored or computed again, and by which figures."""
    from recserve.cli.output import print_table

    options = plan["options"]
    rows = []
    for decision in plan["decisions"]:
        other = decision["instead_us"]
        verb = "fetch" if decision["action"] == "store" else "compute"
        instead = "no other way" if other is None else f"{1e3 * other:+.3g}"
        rows.append(
            (decision["value"], decision["op"], decision["action"], f"{decision['size_bytes']:,}",
             f"{verb} {1e3 * decision['us']:.3g}", instead)
        )  # fmt: skip
    print_table(
        "Stored for each item, or computed again for each candidate (ns a candidate)",
        ["value", "op", "decision", "bytes", "takes", "the other way"],
        rows,
    )
    budget = options["max_payload_bytes_per_item"]
    limit = "without a byte budget" if budget is None else f"within {budget:,} bytes an item"
    typer.echo(
        f"Decided {limit} for {options['item_count']:,} items in {options['payload_precision']}, "
        f"{options['requests_per_s']:,g} requests/s of {options['candidates_per_request']:,} candidates, "
        f"{options['item_updates_per_s']:,g} item updates/s; the least possible is {plan['least_bytes']:,} bytes."
    )
    typer.echo(
        f"A candidate costs {1e3 * plan['gather_us']:.3g} ns to fetch and {1e3 * plan['recompute_us']:.3g} ns to "
        f"compute again; an item {plan['item_us']:.3g} us; all items {plan['rebuild_s']:.3g} s at a new version, "
        f"{'lazily' if plan['rebuild_s'] > options['max_rebuild_s'] else 'before it serves'}."
    )


def draw_split(split: SplitNetwork, title: str, file: Path) -> None:
    """Write the drawing.

    Raises:
        ConfigError: the file cannot be written.
    """
    from recserve.errors import ConfigError
    from recserve.network.anatomy import dissect
    from recserve.network.drawing import draw

    try:
        file.write_text(draw(dissect(split), title), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", where=str(file)) from error
