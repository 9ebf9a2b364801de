from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recserve.cli import main
from recserve.cli.explain import describe, describe_plan, print_document
from recserve.errors import ConfigError
from recserve.features.feature_set import FeatureSet
from recserve.rates import Rate

CONFIG = {
    "features": [
        {"feature_type": "raw_feature", "feature_name": "price", "expression": "item:price"},
        {
            "feature_type": "lookup_feature",
            "feature_name": "taste",
            "map": "user:brand_clicks",
            "key": "item:brand",
        },
    ]
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "fg.json"
    file.write_text(json.dumps(CONFIG))
    return file


def test_every_op_stands_once_under_its_rate() -> None:
    graph = FeatureSet.from_fg_json(CONFIG).graph
    plan = describe_plan(graph)
    numbers = sorted(int(line[1:].split(" ")[0]) for lines in plan.values() for line in lines)
    assert numbers == list(range(len(graph.ops)))
    assert {Rate.ITEM.value, Rate.REQUEST.value, Rate.CANDIDATE.value} <= set(plan)
    assert any("BuildMap" in line for line in plan["request"])
    assert any("Lookup" in line and line.endswith("# taste") for line in plan["candidate"])


def test_a_config_is_shown_as_tables(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_document(describe(config, None), has_ops=True)
    out = capsys.readouterr().out
    assert "taste" in out
    assert "candidate rate:\n  %" in out


def test_what_is_nothing_of_ours_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is neither a bundle"):
        describe(tmp_path / "x.txt", None)
    with pytest.raises(ConfigError, match=r"there is no manifest\.json"):
        describe(tmp_path, None)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """(exit code, standard output) of `recserve explain`."""
    with pytest.raises(SystemExit) as ended:
        main(["explain", *map(str, arguments)])
    return int(ended.value.code or 0), capsys.readouterr().out


def test_the_parts_of_the_command_are_named_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys, "--help")
    assert code == 0
    assert "Example:\n" in text
    assert all(part in text for part in ("recserve explain", "  features ", "  network "))


def test_costs_of_features_are_shown_as_tables(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys, "features", config, "--ops")
    assert code == 0
    assert "Totals by rate" in text
    assert "BuildMap" in text
    assert "bytes per item" in text


def test_costs_of_features_come_as_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = config.with_name("raw.ndjson")
    source.write_text('{"price": 1, "brand": "x", "brand_clicks": {"x": 2}}\n' * 5)
    code, text = run(capsys, "features", config, "--json", "--input", source, "--rows", 3, "--source")
    found = json.loads(text)
    assert (code, found["rows"]) == (0, 3)
    assert found["features"]["taste"]["columns"] == ["user:brand_clicks", "item:brand"]
    assert found["features"]["price"]["item_bytes"] == 4
    assert {name for op in found["ops"] for name in op["features"]} == {"price", "taste"}
    assert found["totals"]["request"]["ops"] == sum(op["rate"] == "request" for op in found["ops"])
    assert "build_map" in found["source"]["request"]


def test_the_programs_of_all_stages_are_printed(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys, "features", config, "--source")
    assert code == 0
    assert [line.split(" ")[0] for line in text.splitlines() if " rate: " in line] == ["item", "request", "candidate"]
    assert "lookup_dense" in text.split("candidate rate: ")[1]


def test_only_the_network_is_shown(sum_model: Any, capsys: pytest.CaptureFixture[str]) -> None:
    feature = {"feature_type": "raw_feature", "feature_name": "price", "expression": "item:price"}
    bundle = sum_model([feature], {"score": ["price"]})
    code, text = run(capsys, "network", bundle, "--json")
    assert code == 0
    assert list(json.loads(text)) == ["network"]
    engine = json.loads(text)["network"]["engine"]
    assert engine == {"way": "onnxruntime fp32", "cpu": "", "us": {}, "rounded": [], "left_out": []}
    text = run(capsys, "network", bundle)[1]
    assert "Network parts" in text
    assert "The candidate part runs in onnxruntime fp32." in text
    assert "Totals by rate" in run(capsys, "features", bundle)[1]
