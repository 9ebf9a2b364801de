"""Words for precisions, and which ones are worth a trial."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.staging.cuts import Cuts, FixedColumn
from recserve.staging.precision import Precision, Trial, narrow_table, words_to_try
from recserve.staging.quality import Quality
from recserve.tables.table import Table


def cuts_of(*widths: int) -> Cuts:
    return Cuts((), {}, tuple(FixedColumn(f"c{n}", (width,)) for n, width in enumerate(widths)), (), (), ())


def table_of(dim: int, name: str = "a") -> Table:
    return Table.direct(name, np.ones((10, dim), np.float32))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"network": "bf61"}, r"^engine: unknown precision 'bf61'. Did you mean 'bf16'\?$"),
        ({"payload": "int9"}, r"^payload: unknown precision 'int9'. Did you mean 'int8'\?$"),
        ({"tables": "half"}, r"^tables: unknown precision 'half'. Known: fp32, fp16, bf16, int8, auto$"),
        ({"tables": {"items": "auto"}}, r"^table 'items': unknown precision 'auto'. Known: fp32, fp16, bf16, int8$"),
    ],
)
def test_unknown_words_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Precision(**fields)


def test_what_is_not_exact_is_listed_by_part() -> None:
    assert Precision().is_exact
    assert Precision(tables={"a": "fp32"}).is_exact
    assert Precision("bf16", "int8", "fp16").as_dict() == {"network": "bf16", "payload": "int8", "tables": "fp16"}
    mixed = Precision(tables={"a": "int8", "*": "bf16", "b": "fp32"})
    assert mixed.as_dict() == {"tables.a": "int8", "tables": "bf16"}
    assert [mixed.table_word(name) for name in "abc"] == ["int8", "fp32", "bf16"]
    assert Precision(tables={"a": "int8"}).table_word("b") == "fp32"


def test_tables_are_read_from_text() -> None:
    assert Precision.parse_tables("auto") == "auto"
    assert Precision.parse_tables("a=int8, *=bf16,b=c=fp16") == {"a": "int8", "*": "bf16", "b=c": "fp16"}
    for text in ("a=int8,b", "=int8", "a=int8,"):
        with pytest.raises(ConfigError, match=r"is not TABLE=PRECISION. Such as item_emb=int8,\*=bf16"):
            Precision.parse_tables(text)


def test_a_table_that_is_not_there_is_named() -> None:
    tables = {"item_emb": table_of(4), "user_emb": table_of(4)}
    Precision(tables={"item_emb": "int8", "*": "bf16"}).check_tables(tables)
    with pytest.raises(ConfigError) as caught:
        Precision(tables={"item_emd": "int8"}).check_tables(tables)
    message = "precision: there is no table 'item_emd' to store in int8. Did you mean 'item_emb'?"
    assert (caught.value.code, str(caught.value)) == ("unknown_table", message)
    with pytest.raises(ConfigError, match=r"to store in int8. Tables: none$"):
        Precision(tables={"x": "int8"}).check_tables({})


@pytest.mark.parametrize(
    ("widths", "words"),
    [((64,), ["int8", "bf16", "fp16"]), ((1, 1), []), ((2, 1), ["bf16", "fp16"]), ((4,), ["bf16", "fp16"]), ((), [])],
)
def test_only_precisions_that_save_bytes_of_an_item_are_tried(widths: tuple[int, ...], words: list[str]) -> None:
    assert words_to_try("payload", {}, cuts_of(*widths)) == words


def test_only_precisions_that_save_bytes_of_tables_are_tried() -> None:
    none = cuts_of()
    assert words_to_try("tables", {"a": table_of(16)}, none) == ["int8", "bf16", "fp16"]
    assert words_to_try("tables", {"a": table_of(4)}, none) == ["bf16", "fp16"]
    assert words_to_try("tables", {"a": table_of(16).stored_as("bf16")}, none) == []
    assert words_to_try("tables", {}, none) == []


def test_a_network_is_tried_from_cheap_to_exact() -> None:
    assert words_to_try("network", {}, cuts_of()) == ["int8", "bf16"]


def test_a_table_that_is_narrow_already_stays_as_it_is() -> None:
    given = table_of(16).stored_as("bf16")
    assert narrow_table(given, "int8") is given
    assert narrow_table(given, "fp32") is given
    assert narrow_table(table_of(16), "int8").precision == "int8"


def test_a_trial_is_recorded_with_what_was_measured() -> None:
    quality = Quality(8, 0.5, 0.25)
    found = Trial(Precision(tables="int8"), quality, "scores differ").as_dict()
    assert found == {"precision": {"tables": "int8"}, "problem": "scores differ", "quality": quality.as_dict()}
    assert Trial(Precision(), None, "x").as_dict() == {"precision": {}, "problem": "x"}
