from __future__ import annotations

from pathlib import Path

import pytest

from recserve.errors import ConfigError
from recserve.features.option_docs import COMMON, document_type, markdown_table, page_names, undocumented, update_page
from recserve.features.spec_types import TYPES

PAGES = Path(__file__).resolve().parents[2] / "docs" / "reference" / "features"


def test_every_option_has_a_meaning_and_every_meaning_an_option() -> None:
    assert undocumented() == []


@pytest.mark.parametrize("page", page_names())
def test_the_tables_of_the_reference_are_those_of_the_models(page: str) -> None:
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    assert text == update_page(text, page), "run: recserve features options --write docs/reference/features"


def test_every_type_has_a_page_and_every_page_a_type() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == set(page_names())


@pytest.mark.parametrize("feature_type", TYPES)
def test_all_options_of_a_type_are_listed_inputs_first(feature_type: str) -> None:
    model = TYPES[feature_type]
    names = [option.name for option in document_type(feature_type)]
    assert sorted([*names, *COMMON]) == sorted(model.model_fields)
    assert names[: len(model.input_options)] == list(model.input_options)


def test_types_ranges_and_defaults_come_from_the_models() -> None:
    options = {option.name: option for option in document_type("lookup_feature")}
    assert (options["hash_bucket_size"].type, options["hash_bucket_size"].default) == ("integer ≥ 1", "")
    assert options["boundaries"].type == "list of number"
    assert (options["need_key"].type, options["need_key"].default) == ("bool", "false")
    assert options["default_value"].default == "0"
    assert options["zch"].type == "object"
    table = markdown_table([options["combiner"]])
    assert table.splitlines()[2].startswith("| `combiner` | `sum`, `mean`, ")
    assert "| `sum` |" in table


def test_pages_that_have_no_place_for_a_table_are_told() -> None:
    with pytest.raises(ConfigError, match=r"page 'ids' is of no feature type\. Did you mean 'id'\?"):
        update_page("", "ids")
    with pytest.raises(ConfigError, match="page 'id' has no <!-- options:begin -->"):
        update_page("# id", "id")
