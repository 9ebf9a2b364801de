"""The whole path on one machine: logs → samples → features → DIN → bundle → server → a ranked request → its log.

`run_demo` does it and reports. What it writes stays in a folder:

    records/, events.ndjson    what the shop logged; MovieLens has ratings instead
    samples.parquet            the join
    features.json, items.parquet
    export/, models/<name>/1   the network as trained, and the bundle
    request.json               the live request
    live/records, live/events.ndjson, live/server.log

Axes: C candidates of a request, K items of an answer.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Final

import numpy as np
from rich.console import Console

from recserve.bundle import Bundle
from recserve.demo.live import LiveAnswer, LiveRequest, RankClient, Server
from recserve.demo.loop import close_loop
from recserve.demo.model import Judged, item_scores, publish, train_and_judge
from recserve.demo.options import FULL, QUICK, DemoOptions
from recserve.demo.report import DemoReport, Latency, ShownItem, TopQuality
from recserve.demo.sources import ITEMS_FILE, Source, prepare
from recserve.demo.steps import Step, Steps
from recserve.demo.tables import print_answer, print_loop, print_quality, print_steps
from recserve.errors import ConfigError, InvariantError

TOP: Final = 10
_WARM_REQUESTS: Final = 5


def run_demo(options: DemoOptions, console: Console | None = None) -> DemoReport:
    """Run the demo, print its tables, and keep serving where `options` say so.

    Args:
        options: what to run.
        console: where to print; standard output by default.

    Raises:
        ConfigError: `out` cannot be written, or the server did not start.
        DataError: `data` is not MovieLens 100K.
        InvariantError: the log read back has other features than were served.
    """
    console = console or _console()
    size = QUICK if options.quick else FULL
    folder = _folder(options.out)
    console.print(f"recserve demo, seed {options.seed}; files in {folder}", highlight=False, markup=False)
    steps = Steps(console)
    source = prepare(options, size, folder, steps)
    judged = train_and_judge(source, size, options.seed, folder, steps)
    bundle = publish(source, judged, folder, steps)
    server = Server(
        bundle.path, folder / ITEMS_FILE, folder / "live" / "records", folder / "live" / "server.log", options.port
    )
    server.log.parent.mkdir()
    with ExitStack() as stack:
        with steps.step("serve") as step:
            step.show("starting recserve serve")
            stack.enter_context(server)
            step.result = f"{server.url} holds {len(source.items):,} items"
        report = _ask(options, source, judged, bundle, folder, server=server, steps=steps)
        _print(report, console)
        if options.json_file is not None:
            report.write(options.json_file)
        if options.keeps_serving:
            _invite(server, source.name, folder, console)
            server.wait()
    return report


def _ask(
    options: DemoOptions,
    source: Source,
    judged: Judged,
    bundle: Bundle,
    folder: Path,
    *,
    server: Server,
    steps: Steps,
) -> DemoReport:
    """Ask the server for every visitor, read its log back, and put the figures together."""
    requests = [
        LiveRequest(f"demo-{n}", visitor.user, visitor.context, visitor.candidates, TOP)
        for n, visitor in enumerate(source.visitors)
    ]
    (folder / "request.json").write_bytes(requests[0].body())
    with steps.step("rank") as step:
        answers, latency = _rank_all(server.url, source.name, requests, step)
        top = _top_quality(source, judged, requests, answers)
    with steps.step("loop") as step:
        step.show("reading the server's log back")
        sent = len(requests) + _WARM_REQUESTS
        loop = close_loop(source, judged, requests[0], answers[0], sent=sent, folder=folder)
        if loop.differing:
            raise InvariantError(f"training and serving differ in the features {', '.join(loop.differing)}")
        step.result = f"{loop.records:,} records read back; features are the same bit for bit"
    return DemoReport(
        data=source.name,
        goal=source.goal,
        seed=options.seed,
        quick=options.quick,
        folder=folder,
        training=judged.summary,
        quality=judged.quality,
        bundle=dict(bundle.manifest.proof),
        live=_shown(source, judged, requests[0], answers[0]),
        stages_us=answers[0].timings_us,
        latency=latency,
        top=top,
        loop=loop,
        steps=list(steps.times),
    )


def _rank_all(url: str, model: str, requests: list[LiveRequest], step: Step) -> tuple[list[LiveAnswer], Latency]:
    """Send the requests one after the other, after a few that count for nothing."""
    answers, milliseconds = [], []
    with RankClient(url, model) as client:
        for n in range(_WARM_REQUESTS):
            first = requests[0]
            client.rank(LiveRequest(f"warm-{n}", first.user, first.context, first.candidates, TOP))
        for n, request in enumerate(requests):
            start = perf_counter()
            answers.append(client.rank(request))
            milliseconds.append((perf_counter() - start) * 1e3)
            step.show(f"{n + 1:,} requests", n + 1, len(requests))
    p50, p99 = np.percentile(milliseconds, (50, 99))
    candidates = int(np.median([len(request.candidates) for request in requests]))
    step.result = f"{len(requests):,} live requests of about {candidates:,} candidates, P50 {p50:.1f} ms"
    return answers, Latency(len(requests), candidates, float(p50), float(p99))


def _top_quality(
    source: Source, judged: Judged, requests: list[LiveRequest], answers: list[LiveAnswer]
) -> TopQuality | None:
    """The true rate of the best TOP items by each ranking; of "random" the expectation."""
    if source.truth is None:
        return None
    rates: dict[str, list[float]] = {"truth": [], "DIN": [], "popularity": [], "random": []}
    for request, answer in zip(requests, answers, strict=True):
        item_ids = list(request.candidates)
        truth = source.truth(request.user, item_ids)
        popular = np.argsort(-item_scores(judged.popularity, item_ids), kind="stable")[:TOP]
        rates["truth"].append(float(np.sort(truth)[-TOP:].mean()))
        rates["DIN"].append(float(source.truth(request.user, answer.item_ids).mean()))
        rates["popularity"].append(float(truth[popular].mean()))
        rates["random"].append(float(truth.mean()))
    means = {name: float(np.mean(values)) for name, values in rates.items()}
    return TopQuality(len(requests), len(requests[0].candidates), TOP, means)


def _shown(source: Source, judged: Judged, request: LiveRequest, answer: LiveAnswer) -> list[ShownItem]:
    truth = None if source.truth is None else source.truth(request.user, answer.item_ids).tolist()
    popularity = item_scores(judged.popularity, answer.item_ids).tolist()
    return [
        ShownItem(
            item_id=item_id,
            words=source.describe(item_id),
            score=answer.scores[n],
            outputs={goal: values[n] for goal, values in answer.outputs.items()},
            truth=None if truth is None else truth[n],
            popularity=popularity[n],
        )
        for n, item_id in enumerate(answer.item_ids)
    ]


def _print(report: DemoReport, console: Console) -> None:
    print_answer(report, console)
    print_quality(report, console)
    print_loop(report.loop, console)
    print_steps(report, console)


def _invite(server: Server, model: str, folder: Path, console: Console) -> None:
    """Say how to ask the server, and how to end it."""
    lines = (
        "",
        "The server runs on. Ask it from another terminal; Ctrl-C ends it.",
        f"  curl -s {server.url}/v1/models/{model}:rank -d @{folder / 'request.json'}",
        f"  curl -s {server.url}/v1/models/{model}",
        f"It is: {server.command}",
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _console() -> Console:
    console = Console()
    # A pipe has no width; tables are not cut to the 80 columns that rich assumes.
    return console if console.is_terminal else Console(width=120)


def _folder(out: Path | None) -> Path:
    if out is None:
        return Path(tempfile.mkdtemp(prefix="recserve-demo-"))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot be made: {error.strerror}", where=str(out)) from None
    return out.resolve()
