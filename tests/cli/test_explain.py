from __future__ import annotations

import json
from pathlib import Path

import pytest

from recserve.cli.explain import describe, describe_plan, op_text, print_document
from recserve.errors import ConfigError
from recserve.features import ops
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


def test_long_options_of_an_op_are_cut() -> None:
    text = op_text(ops.VocabIds(3, tuple((letter, 1) for letter in "abcdefghijklmnopqrstuvwxyz")))
    assert text.startswith("VocabIds(source=%3, vocabulary=(('a', 1), ('b', 1), ")
    assert text.endswith("..., unknown=-1)")
    assert "'z'" not in text


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
