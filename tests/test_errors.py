from __future__ import annotations

from recserve.errors import CellError


def test_a_cell_is_named_by_its_place() -> None:
    error = CellError("'x' is not a number", feature="f", column="c", row=3, step=1, hint="Mend it")
    assert str(error) == "feature 'f', column 'c', row 3, step 1: 'x' is not a number. Mend it"
    assert str(CellError("no")) == "no"


def test_a_cell_of_a_part_of_a_batch_is_told_by_the_row_of_the_whole() -> None:
    assert str(CellError("no", feature="row 3", row=3).shift(10)) == "feature 'row 3', row 13: no"
    assert str(CellError("no", row=3).shift(2, "request").at("x.parquet")) == "x.parquet: request 5: no"
    assert str(CellError("no", feature="f").shift(2)) == "feature 'f': no"
