"""`recserve explain`: what runs at which rate, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recserve.cli.groups import DefaultGroup

if TYPE_CHECKING:
    from recserve.bundle import Bundle
    from recserve.features.graph import PlanGraph
    from recserve.network.split import SplitNetwork
    from recserve.network.storing import StoreOptions

Document = dict[str, Any]


Json = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]

explain = typer.Typer(
    name="explain",
    cls=DefaultGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Show what runs at which rate: features, plan, and parts of the network.",
)


@explain.command("all")
def everything(
    *,
    path: Annotated[Path, typer.Argument(help="A bundle, an fg.json, or an ONNX network.", show_default=False)],
    features: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The fg.json of a network: how it is split by rate.")
    ] = None,
    ops: Annotated[bool, typer.Option("--ops", help="List every op of the feature plan.")] = False,
    as_json: Json = False,
) -> None:
    """Show what runs at which rate: features, plan, and parts of the network. The name `all` may be left out.

    \b
    Example:
      recserve explain models/rank/7
      recserve explain features fg.json
      recserve explain network network.onnx --features fg.json
    """  # noqa: D301 - \b keeps the lines of the example
    _print(describe(path, features), has_ops=ops, as_json=as_json)


@explain.command("network")
def network(
    *,
    path: Annotated[Path, typer.Argument(help="A bundle or an ONNX network.", show_default=False)],
    features: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The fg.json of a network: how it is split by rate.")
    ] = None,
    side: Annotated[
        list[str] | None,
        typer.Option(metavar="INPUT=SIDE", help="Whose an input is: user, item, context or candidate. Repeat it."),
    ] = None,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the parts into this file.")] = None,
    candidates: Annotated[int, typer.Option(min=1, help="Candidates of a request.")] = 500,
    max_payload_bytes: Annotated[
        int | None, typer.Option(min=0, help="Split a graph so that an item stores no more; a bundle is as built.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show how a network is split by rate: its nodes, operations and bytes, what crosses, and which pass moved what.

    For each item value it says whether it is stored or computed again, and what the other way would cost.

    The floor is the time that the candidate part cannot beat on one core of this machine: its operations, or the bytes
    it must read, at ceilings that the command measures.

    \b
    Example:
      recserve explain network models/rank/7 --svg rank.svg
      recserve explain network network.onnx --features fg.json
      recserve explain network network.onnx --side user_emb=user --side item_emb=item
    """  # noqa: D301 - \b keeps the lines of the example
    from recserve.network.storing import StoreOptions

    storing = StoreOptions(candidates_per_request=candidates, max_payload_bytes_per_item=max_payload_bytes)
    document, split = _describe_split_network(path, features, side or [], storing)
    kept: Document = {key: value for key, value in document.items() if key in ("inputs", "outputs", "network")}
    if split is not None:
        from recserve.cli.network_report import draw_split, report_split

        kept["network"] |= report_split(split, candidates)
        if svg is not None:
            draw_split(split, path.name or str(path), svg)
    elif svg is not None:
        raise typer.BadParameter("a graph without rates cannot be drawn; add --features or --side", param_hint="--svg")
    _print(kept, has_ops=False, as_json=as_json)


@explain.command("features")
def features_command(
    *,
    path: Annotated[Path, typer.Argument(help="An fg.json or a bundle.", show_default=False)],
    source: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE", help="Measure on these raw columns.", show_default="drawn ones"),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows to measure on.")] = 256,
    ops: Annotated[bool, typer.Option("--ops", help="List every op with its cost.")] = False,
    has_source: Annotated[bool, typer.Option("--source", help="Print the program of each rate's stage.")] = False,
    as_json: Json = False,
) -> None:
    """Show what each feature costs: its ops by rate, measured time, and the bytes that each item's payload keeps.

    What several features share is divided among them; so the shares add up to the totals.

    \b
    Example:
      recserve explain features fg.json --input samples.parquet
      recserve explain features models/rank/7 --source
    """  # noqa: D301 - \b keeps the lines of the example
    from recserve.cli.feature_costs import describe_costs, listings, print_costs
    from recserve.cli.output import print_json
    from recserve.features.feature_set import FeatureSet
    from recserve.features.files import read_batches
    from recserve.staging.draw import column_sides
    from recserve.staging.feature_costs import measure_costs

    graph = (_open_bundle(path).features if path.is_dir() else FeatureSet.load(path)).graph
    if has_source and not as_json:
        typer.echo("\n\n".join(f"{rate} rate: {text}" for rate, text in listings(graph).items()))
        return
    columns = None
    if source is not None:
        batch = next(read_batches(source, list(column_sides(graph)), rows))
        columns, rows = batch.columns, batch.rows
    costs = measure_costs(graph, columns, rows)
    if as_json:
        print_json(describe_costs(graph, costs) | ({"source": listings(graph)} if has_source else {}))
    else:
        print_costs(graph, costs, has_ops=ops)


def _print(document: Document, *, has_ops: bool, as_json: bool) -> None:
    from recserve.cli.output import print_json

    if as_json:
        print_json(document)
    else:
        print_document(document, has_ops=has_ops)


def describe(path: Path, features: Path | None) -> Document:
    """What is known of a bundle, a feature config or a network, as plain JSON.

    Raises:
        ConfigError: it is none of these, or is wrong.
    """
    from recserve.errors import ConfigError

    if path.is_dir():
        return _describe_bundle(path)
    if path.suffix == ".json":
        from recserve.features.feature_set import FeatureSet

        feature_set = FeatureSet.load(path)
        return {"features": feature_set.describe(), "plan": describe_plan(feature_set.graph)}
    if path.suffix == ".onnx":
        return _describe_network(path, features)
    raise ConfigError("is neither a bundle, nor .json, nor .onnx", where=str(path), hint="Give one of these.")


def _open_bundle(path: Path) -> Bundle:
    from recserve.bundle import Bundle
    from recserve.cli.bundles import resolve_bundle

    return Bundle.open(resolve_bundle(str(path)))


def _describe_bundle(path: Path) -> Document:
    bundle = _open_bundle(path)
    return {
        "bundle": bundle.manifest.model_dump(exclude={"files"}),
        "features": bundle.features.describe(),
        "plan": describe_plan(bundle.features.graph),
        "network": describe_split(bundle.split),
    }


def _describe_split_network(
    path: Path, features: Path | None, sides: list[str], storing: StoreOptions
) -> tuple[Document, SplitNetwork | None]:
    """The document, and the split network where there is one."""
    from recserve.network.model import Network

    if path.is_dir():
        from recserve.cli.network_report import report_engine

        bundle = _open_bundle(path)
        engine = report_engine(bundle.manifest.engine, bundle.split) if bundle.manifest.engine else None
        return {"network": describe_split(bundle.split) | {"engine": engine}}, bundle.split
    if not sides:
        document = describe(path, None) if features is None else _specs_document(Network.load(path))
        if features is None:
            return document, None
        split = _split_by_features(path, features, storing)
        return document | {"network": describe_split(split)}, split
    from recserve.cli.network_report import rates_of_sides
    from recserve.network.calibration import calibrate
    from recserve.network.split import split_network

    network = Network.load(path)
    split = split_network(network, rates_of_sides(sides, network), storing=storing, costs=calibrate())
    return _specs_document(network) | {"network": describe_split(split)}, split


def _split_by_features(path: Path, features: Path, storing: StoreOptions | None = None) -> SplitNetwork:
    from recserve.features.feature_set import FeatureSet
    from recserve.network.calibration import calibrate
    from recserve.network.model import Network
    from recserve.network.split import split_network
    from recserve.staging.cuts import input_rates, match_inputs

    network = Network.load(path)
    rates = input_rates(match_inputs(FeatureSet.load(features).graph, network))
    return split_network(network, rates, storing=storing, costs=calibrate())


def _specs_document(network: Any) -> Document:
    return {"inputs": _specs(network.inputs), "outputs": _specs(network.outputs)}


def _describe_network(path: Path, features: Path | None) -> Document:
    from recserve.features.feature_set import FeatureSet
    from recserve.network.model import Network

    document = _specs_document(Network.load(path))
    if features is not None:
        graph = FeatureSet.load(features).graph
        document |= {"plan": describe_plan(graph), "network": describe_split(_split_by_features(path, features))}
    return document


def describe_plan(graph: PlanGraph) -> dict[str, list[str]]:
    """{rate: its ops as text, in order}."""
    from recserve.features.trace import op_text
    from recserve.rates import Rate

    return {
        rate.value: [f"{op_text(graph.ops[number], number)}  # {graph.values[number].feature}" for number in numbers]
        for rate in Rate
        if (numbers := graph.of_rate(rate))
    }


def describe_split(split: SplitNetwork) -> Document:
    """Parts, crossings and costs of a split network."""
    report = split.report
    parts = {"item": split.item, "request": split.request, "candidate": split.candidate}
    work = report.flops.get(split.candidate.rate, 0)
    return {
        "parts": {
            name: {"inputs": _specs(part.inputs), "outputs": _specs(part.outputs)}
            for name, part in parts.items()
            if part is not None
        },
        "crossings": {name: rate.value for name, rate in split.crossings.items()},
        "nodes": {rate.value: count for rate, count in report.nodes.items()},
        "flops": {rate.value: count for rate, count in report.flops.items()},
        "flat_flops": report.flat_flops,
        "item_bytes": report.item_bytes,
        "storing": None if report.storing is None else report.storing.as_dict(),
        "unhandled": [
            node.as_dict() | {"why": node.why(), "advice": node.advice(), "share": node.share(work)}
            for node in report.unhandled
        ],
        "changes": [f"{change.rewrite} at {change.at}: {change.what}" for change in report.changes],
    }


def print_document(document: Document, *, has_ops: bool) -> None:
    """Print what `describe` gave as tables; ops only if asked for."""
    from recserve.cli.output import print_table

    if bundle := document.get("bundle"):
        print_table("Bundle", ["what", "value"], [(k, _short(v)) for k, v in bundle.items()])
    for side in ("inputs", "outputs"):
        if side in document:
            print_table(f"Network {side}", ["name", "type"], document[side].items())
    if features := document.get("features"):
        rows = [
            (name, f["rate"], ", ".join(f["inputs"]), f["output_dim"], f["num_embeddings"] or "")
            for name, f in features.items()
        ]
        print_table("Features", ["feature", "rate", "columns", "dim", "table rows"], rows)
    if plan := document.get("plan"):
        print_table("Feature plan", ["rate", "ops"], [(rate, len(ops)) for rate, ops in plan.items()])
        for rate, ops in plan.items() if has_ops else ():
            typer.echo(f"\n{rate} rate:\n" + "\n".join(f"  {op}" for op in ops))
    if network := document.get("network"):
        _print_split(network)


def _print_split(network: Document) -> None:
    from recserve.cli.network_report import print_unhandled
    from recserve.cli.output import print_table

    rows = [(rate, network["nodes"][rate], f"{network['flops'].get(rate, 0):,}") for rate in network["nodes"]]
    print_table(
        f"Network parts; flat: {network['flat_flops']:,} flops per candidate",
        ["rate", "nodes", "flops each"],
        rows,
    )
    print_table("Crossings", ["value", "from"], network["crossings"].items())
    typer.echo(f"{network['item_bytes']:,} bytes per item cross.")
    print_unhandled(network["unhandled"])
    if "candidate_nodes" in network:
        from recserve.cli.network_report import print_report

        print_report(network)
    for change in network["changes"]:
        typer.echo(f"  {change}")


def _specs(specs: Any) -> dict[str, str]:
    return {n: f"{s.dtype}[{', '.join('?' if d is None else str(d) for d in s.dims)}]" for n, s in specs.items()}


def _short(value: object) -> str:
    text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
    return text if len(text) <= 100 else text[:97] + "..."
