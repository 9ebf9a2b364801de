"""Figures of the READMEs from reports of the demo.

`python -m recserve.demo.figures shop.json ml100k.json --readme README.md README.zh-CN.md` replaces what stands
between `<!-- figures:begin -->` and `<!-- figures:end -->`, in Chinese where the name of a page ends with `.zh-CN.md`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from recserve.errors import DataError, RecserveError

BEGIN: Final = "<!-- figures:begin -->"
END: Final = "<!-- figures:end -->"
_CHINESE: Final = ".zh-CN.md"

_ENGLISH_WORDS: Final = {
    "made": "Made by `make figures`.",
    "shop": "Simulated shop",
    "ml-100k": "MovieLens 100K (real behaviour, like = rating ≥ 4)",
    "title": "{data}: the last {rows:,} samples by time, after training on the {train:,} before",
    "quality": "| | AUC | GAUC | log loss |",
    "top": "True click rate of the best {top} of {candidates} items, mean over {users} users: ",
    "live": "Live requests over HTTP, about {candidates:,} candidates, one at a time: P50 {p50:.1f} ms, "
    "P99 {p99:.1f} ms. Features read back from the server's log equal the served ones bit for bit "
    "({values:,} values). The whole run took {seconds:.0f} s.",
    "popularity": "popularity",
    "random": "random",
    "truth": "the simulator's truth",
    "truth, position known": "the same, positions known",
    "colon": " ",
    "comma": ", ",
}
_CHINESE_WORDS: Final = {
    "made": "由 `make figures` 生成。",
    "shop": "模拟商店",
    "ml-100k": "MovieLens 100K（真实行为，评分 ≥ 4 视为喜欢）",
    "title": "{data}：按时间取最后 {rows:,} 条样本评测，用此前的 {train:,} 条训练",
    "quality": "| | AUC | GAUC | 对数损失 |",
    "top": "在 {candidates} 个物品中取前 {top} 个的真实点击率，{users} 位用户的平均值：",
    "live": "经 HTTP 逐个发送的在线请求，每个约 {candidates:,} 个候选：P50 {p50:.1f} 毫秒，P99 {p99:.1f} 毫秒。"
    "从服务日志读回的特征与在线特征逐位相同（{values:,} 个值）。整个过程用时 {seconds:.0f} 秒。",
    "popularity": "热度",
    "random": "随机",
    "truth": "模拟器的真实概率",
    "truth, position known": "同上，且已知展示位置",
    "colon": " ",
    "comma": "，",
}


def render_figures(reports: Sequence[Mapping[str, Any]], language: str = "en") -> str:
    """The region's Markdown, from documents of `DemoReport.as_json`.

    Args:
        reports: one table each, in this order.
        language: "en" or "zh".

    Raises:
        DataError: a document is not a report, or one of `--quick`, whose figures mean nothing.
    """
    words = _CHINESE_WORDS if language == "zh" else _ENGLISH_WORDS
    return "\n\n".join([words["made"], *(_section(report, words) for report in reports)])


def _section(report: Mapping[str, Any], words: Mapping[str, str]) -> str:
    try:
        if report["quick"]:
            raise DataError("the report is of a quick run", hint="Run the demo without --quick.")
        training, latency, top = report["training"], report["latency"], report["top"]
        title = words["title"].format(
            data=words[report["data"]],
            rows=training["test_rows"],
            train=training["train_rows"],
        )
        lines = [f"**{title}**", "", words["quality"], "|---|---:|---:|---:|"]
        lines += [
            f"| {words.get(row['name'], row['name'])} | {row['auc']:.4f} | {row['gauc']:.4f} | {row['log_loss']:.4f} |"
            for row in report["quality"]
        ]
        if top is not None:
            rates = (f"{words.get(name, name)}{words['colon']}{rate:.3f}" for name, rate in top["rates"].items())
            lines += ["", words["top"].format(**top) + words["comma"].join(rates)]
        live = words["live"].format(
            candidates=latency["candidates"],
            p50=latency["p50_ms"],
            p99=latency["p99_ms"],
            values=report["loop"]["values"],
            seconds=report["seconds"],
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"is no report of the demo: {error} is missing", hint="Write it with --json.") from None
    return "\n".join([*lines, "", live])


def write_figures(files: Sequence[Path], pages: Sequence[Path]) -> None:
    """Put the figures of report files into pages.

    Raises:
        DataError: a file cannot be read or is no report, or a page has not exactly one region.
    """
    reports = [_read_report(file) for file in files]
    for page in pages:
        try:
            text = page.read_text(encoding="utf-8")
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", where=str(page)) from None
        if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
            raise DataError("has not exactly one region of figures", where=str(page), hint=f"Add {BEGIN} and {END}.")
        head, tail = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
        figures = render_figures(reports, "zh" if page.name.endswith(_CHINESE) else "en")
        page.write_text(f"{head}\n{figures}\n{tail}", encoding="utf-8")


def _read_report(file: Path) -> dict[str, Any]:
    try:
        document = orjson.loads(file.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise DataError(f"cannot be read: {error}", where=str(file)) from None
    if not isinstance(document, dict):
        raise DataError("is no report of the demo", where=str(file), hint="Write it with --json.")
    return document


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m recserve.demo.figures", description="Write figures into pages.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="reports of `recserve demo --json`")
    parser.add_argument("--readme", nargs="+", type=Path, required=True, metavar="PAGE", help="pages with a region")
    options = parser.parse_args(arguments)
    try:
        write_figures(options.files, options.readme)
    except RecserveError as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201 - a command
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
