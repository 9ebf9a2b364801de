"""`recserve train`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from recserve.features.feature_set import FeatureSet
    from recserve.samples.sampleset import Samples
    from recserve.training.export import Exported


def train(
    *,
    features: Annotated[Path, typer.Argument(help="Feature config, fg.json.", show_default=False)],
    samples: Annotated[Path, typer.Argument(help="Samples (Parquet) of `recserve samples`.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for network.onnx and tables/.", show_default=False)],
    model: Annotated[str, typer.Option(help="lr, fm, wide_deep, deepfm, din, two_tower or mmoe.")] = "din",
    goal: Annotated[
        list[str] | None, typer.Option(help="Which label_<goal> to learn; repeatable; all by default.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="At most so many passes over the samples.")] = 5,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows of a step.")] = 512,
    learning_rate: Annotated[float, typer.Option(help="Of Adam.")] = 1e-3,
    valid_share: Annotated[float, typer.Option(help="Share of the samples, the latest, to measure on.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Of weights and order.")] = 0,
    bundle: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also build this bundle, <base>/<name>/<version>.")
    ] = None,
    score: Annotated[str | None, typer.Option(help="For the bundle: what to rank by, such as 'ctr * cvr'.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON; no progress bar.")] = False,
) -> None:
    """Train a ranking model on samples and export it (needs the extra recserve[train]).

    \b
    Example:
      recserve train fg.json samples.parquet --model din --out export/ --bundle models/rank/1
    """  # noqa: D301 - \b keeps the lines of the example
    from recserve import training
    from recserve.cli.build import save_tables
    from recserve.cli.output import print_json, print_table
    from recserve.features.feature_set import FeatureSet

    feature_set = FeatureSet.load(features)
    loaded = load_samples(samples, goal)
    earlier, later = map(loaded.take, training.split_by_time(loaded.times, valid_share))
    with nullcontext() if as_json else training.ProgressBar() as bar:
        trained = training.train(
            feature_set,
            earlier.columns,
            earlier.labels,
            model=model,
            groups=earlier.groups,
            valid=(later.columns, later.labels, later.groups),
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
            progress=bar,
        )
    exported = trained.export(out)
    save_tables(exported.tables, out / "tables")
    if bundle is not None:
        build_bundle(exported, feature_set, bundle, score, later)
    if as_json:
        document = {"out": str(out), "bundle": bundle and str(bundle), "best_epoch": trained.best_epoch}
        print_json({**document, "rows": len(earlier), "valid_rows": len(later), "metrics": trained.metrics})
    else:
        rows = [(goal, *values.values()) for goal, values in trained.metrics.items()]
        print_table(f"{model} on {len(later)} later samples", ["goal", *next(iter(trained.metrics.values()))], rows)


def build_bundle(exported: Exported, features: FeatureSet, out: Path, score: str | None, later: Samples) -> None:
    """Build a bundle whose proof also draws from the later samples."""
    from recserve.bundle import Bundle

    Bundle.build(
        features=features,
        tables=exported.tables,
        network=exported.network_path,
        out=out,
        score=score,
        samples=later.columns.slice(0, 1000),
    )


def load_samples(path: Path, goals: Sequence[str] | None = None) -> Samples:
    """Samples from the Parquet file of `recserve samples`, with some of its goals, or all for None.

    Raises:
        DataError: not such a file.
        ConfigError: it has no such goal.
    """
    from recserve.cli.output import read_parquet
    from recserve.errors import ConfigError, DataError, suggest
    from recserve.samples.sampleset import BOOKKEEPING, LABEL_PREFIX, Samples

    table = read_parquet(path)
    known = [n.removeprefix(LABEL_PREFIX) for n in table.column_names if n.startswith(LABEL_PREFIX)]
    missing = [name for name in BOOKKEEPING if name not in table.column_names]
    if missing or not known:
        lacks = missing[0] if missing else f"{LABEL_PREFIX}<goal>"
        raise DataError(f"has no column {lacks!r}", where=str(path), hint="Make it with `recserve samples`.")
    for goal in goals or ():
        if goal not in known:
            hint = suggest(goal, known) or f"Goals: {', '.join(known)}."
            raise ConfigError(f"no goal {goal!r}", where=str(path), hint=hint)
    kept = list(goals or known)
    table = table.drop_columns([LABEL_PREFIX + goal for goal in known if goal not in kept])
    return Samples(table, tuple(kept))
