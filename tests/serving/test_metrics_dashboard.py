"""The Grafana dashboard shows metrics that exist, by labels that they have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from recserve.serving.access_log import AccessLogOptions
from recserve.serving.batching.parameters import BatchingParameters
from recserve.serving.oversight import Operations

DASHBOARD = Path(__file__).parents[2] / "grafana" / "recserve.json"


def expressions() -> list[str]:
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    found = [target["expr"] for panel in document["panels"] for target in panel["targets"]]
    return found + [row["query"] for row in document["templating"]["list"] if row["type"] == "query"]


@pytest.fixture(scope="module")
def scraped(serve: Any, make_ranker: Any, tmp_path_factory: Any) -> dict[str, set[str]]:
    """Names of the metrics of a server that was called, with the labels of each."""
    operations = Operations(access_log=AccessLogOptions(slow_ms=0))
    options = {"operations": operations, "batching": BatchingParameters(num_batch_threads=1)}
    with serve({"models/rank/7": make_ranker()}, **options) as server, server.client() as client:
        client.post("/v1/models/rank:rank", json={"candidates": ["a"]})
        text = client.get("/metrics").text
    names: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for base in (family.name, f"{family.name}_total"):
            ends = ("", "_bucket", "_sum", "_count") if family.type == "histogram" else ("",)
            for end in ends:
                names.setdefault(base + end, set())
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels)
    return names


@pytest.mark.parametrize("expression", expressions())
def test_a_panel_asks_for_metrics_that_exist_by_labels_that_they_have(
    expression: str, scraped: dict[str, set[str]]
) -> None:
    used = re.findall(r"\b(?:recserve|process)_\w+", expression)
    assert used
    for name in used:
        assert name in scraped, name
        labels = scraped[name]
        if labels:  # a series was there
            for group in re.findall(r"by \(([^)]*)\)", expression):
                assert {label.strip() for label in group.split(",")} <= labels, (name, group)


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
