"""Tables in memory and on disk."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import BundleError, ConfigError
from recserve.rows.formats import PRECISIONS
from recserve.rows.kernels import load_rows, store_rows
from recserve.tables.table import SignIndex, Table

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)
SIGNS = np.array([-1, 7, -(2**63), 2**63 - 1], np.int64)


def direct() -> Table:
    return Table.direct("user emb/é", ROWS)


def hashed() -> Table:
    return Table.hashed("items", SIGNS, ROWS)


def test_a_direct_table_finds_ids_in_range_only() -> None:
    assert direct().find(np.array([0, 3, 4, -1, 2**62], np.int64)).tolist() == [0, 3, -1, -1, -1]


def test_a_hashed_table_finds_its_signs_only() -> None:
    table = hashed()
    assert table.find(np.array([7, -1, 0, 1, 2**63 - 1, -(2**63)], np.int64)).tolist() == [1, 0, -1, -1, 3, 2]
    assert table.index is not None
    assert table.index.signs().tolist() == SIGNS.tolist()
    assert len(table.index) == len(table) == 4
    assert table.dim == 3
    assert table.size_bytes == 48 + 16 * 8


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-40, 40), unique=True, max_size=200), st.data())
def test_the_index_agrees_with_a_dict(signs: list[int], data: st.DataObject) -> None:
    queries = data.draw(st.lists(st.sampled_from([*signs, 0, 5]) | st.integers(-(2**63), 2**63 - 1), max_size=40))
    table = Table.hashed("t", np.array(signs, np.int64), np.zeros((len(signs), 1), np.float32))
    by_sign = {sign: row for row, sign in enumerate(signs)}
    assert table.index is not None
    assert len(signs) <= 0.7 * len(table.index.entries)
    assert table.find(np.array(queries, np.int64)).tolist() == [by_sign.get(q, -1) for q in queries]
    table.check()


def test_a_sign_that_occurs_twice_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        Table.hashed("items", np.array([5, 6, 9, 6], np.int64), ROWS)
    assert str(caught.value) == "table 'items': sign 6 occurs twice, in rows 1 and 3. Each sign has one row"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS.astype(np.float64), "rows are float64[4, 3], expected float32[rows, dim]. Convert them with astype"),
        (ROWS[0], "rows are float32[3], expected float32[rows, dim]"),
        (ROWS[:, :0], "rows are float32[4, 0], expected float32[rows, dim]"),
        (np.array([[1], [np.nan]], np.float32), "row 1 is not finite. Was the training stable?"),
        (np.array([[-np.inf]], np.float32), "row 0 is not finite"),
    ],
)
def test_wrong_rows_are_refused(rows: np.ndarray, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Table.direct("a", rows)
    assert str(caught.value).startswith("table 'a': " + message)


@pytest.mark.parametrize("signs", [[1.0, 2.0, 3.0, 4.0], [1, 2, 3], [[1, 2, 3, 4]]])
def test_wrong_signs_are_refused(signs: list[float]) -> None:
    array = np.array(signs)
    with pytest.raises(ConfigError) as caught:
        Table.hashed("a", array, ROWS)
    expected = (
        f"table 'a': signs are {array.dtype}{list(array.shape)}, expected int64[4]. A hashed table needs one sign"
    )
    assert str(caught.value).startswith(expected)


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^a table has an empty name. Name each table$"):
        Table.direct("", ROWS)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("table", [direct(), hashed(), Table.hashed("none", np.zeros(0, np.int64), ROWS[:0])])
def test_a_saved_table_opens_mapped_and_read_only(table: Table, precision: str, tmp_path: Path) -> None:
    table = table.stored_as(precision)
    paths = table.save(tmp_path)
    opened = Table.open(tmp_path, table.name)
    opened.check()
    assert isinstance(opened.rows, np.memmap)
    assert not opened.rows.flags.writeable
    assert opened.precision == precision
    assert np.array_equal(opened.rows, table.rows)
    assert np.array_equal(np.load(paths[0]), table.rows)
    queries = np.array([0, 1, 7, -1, 2**63 - 1], np.int64)
    assert opened.find(queries).tolist() == table.find(queries).tolist()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        Table.open(tmp_path, "items")
    assert str(caught.value).startswith(f"{tmp_path / 'items.direct.npy'}: the file is missing. Copy the file again")
    hashed().save(tmp_path)
    (tmp_path / "items.index.npy").unlink()
    with pytest.raises(BundleError, match=r"items\.index\.npy: the file is missing"):
        Table.open(tmp_path, "items")


def test_a_table_of_both_kinds_is_refused(tmp_path: Path) -> None:
    hashed().save(tmp_path)
    Table.direct("items", ROWS).save(tmp_path)
    with pytest.raises(BundleError) as caught:
        Table.open(tmp_path, "items")
    assert "table 'items' is there twice, as items.direct.npy and as items.hashed.npy. Delete" in str(caught.value)


@pytest.mark.parametrize("size", [0, 5, 60, 130, 170])
def test_a_file_cut_short_is_refused(size: int, tmp_path: Path) -> None:
    path = hashed().save(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(BundleError, match=r"items\.hashed\.npy: not a whole \.npy file"):
        Table.open(tmp_path, "items")


def test_a_file_with_a_tail_is_refused(tmp_path: Path) -> None:
    path = hashed().save(tmp_path)[0]
    path.write_bytes(path.read_bytes() + b"xyz")
    with pytest.raises(BundleError, match=r"items\.hashed\.npy: 3 bytes more than its header says"):
        Table.open(tmp_path, "items")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS.astype(np.float64), "dtype float64, expected float32"),
        (np.asfortranarray(ROWS), "dtype float32 in column order, expected float32"),
        (ROWS.astype(np.int8), r"dtype int8, expected float32, float16, uint16 \(bf16\) or \{scale: float32, row: "),
        (ROWS[0], r"shape \[3\], expected \[rows, dim\]"),
        (ROWS.astype(">f4"), "dtype >f4, expected float32"),
    ],
)
def test_a_file_of_something_else_is_refused(rows: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "items.direct.npy", rows)
    with pytest.raises(BundleError, match=rf"items\.direct\.npy: {message}"):
        Table.open(tmp_path, "items")


def test_an_archive_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "items.direct.npy").open("wb") as file:
        np.savez(file, rows=ROWS)
    with pytest.raises(BundleError, match=r"items\.direct\.npy: an archive, not an \.npy file"):
        Table.open(tmp_path, "items")


@pytest.mark.parametrize("shape", [(8,), (8, 3), (6, 2), (4, 2), (0, 2)])
def test_an_index_of_another_shape_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    hashed().save(tmp_path)
    np.save(tmp_path / "items.index.npy", np.full(shape, -1, np.int64))
    with pytest.raises(BundleError) as caught:
        Table.open(tmp_path, "items")
    assert f"items.index.npy: shape {list(shape)} is not that of an index of 4 rows. Expected int64" in str(
        caught.value
    )


def test_check_finds_a_row_that_is_not_finite(tmp_path: Path) -> None:
    rows = ROWS.copy()
    rows[2, 1] = np.nan
    np.save(tmp_path / "a.direct.npy", rows)
    with pytest.raises(BundleError, match=r"^table 'a': row 2 is not finite. The file is damaged; copy it again$"):
        Table.open(tmp_path, "a").check()


def test_a_damaged_index_is_found_by_check_and_never_reads_outside_the_rows() -> None:
    entries = SignIndex.build(SIGNS).entries.copy()
    entries[entries[:, 1] == 3, 1] = 10**12
    table = Table("a", ROWS, SignIndex(entries))
    assert table.find(SIGNS).tolist() == [0, 1, 2, -1]
    with pytest.raises(BundleError, match=r"^table 'a': the index does not lead to each of the 4 rows once. The file"):
        table.check()


def test_an_index_without_an_empty_entry_ends_the_search() -> None:
    entries = np.array([[1, 0], [2, 1], [3, 2], [4, 3]], np.int64)
    table = Table("a", ROWS, SignIndex(entries))
    assert table.find(np.array([4, 99], np.int64)).tolist() == [3, -1]


def test_an_index_in_another_order_is_found_by_check() -> None:
    entries = np.full((1024, 2), -1, np.int64)
    entries[np.arange(4) * 256] = np.stack([SIGNS, np.arange(4)], axis=1)
    with pytest.raises(BundleError, match=r"^table 'a': the index does not find sign -?\d+\. The file is damaged"):
        Table("a", ROWS, SignIndex(entries)).check()


@pytest.mark.parametrize(("precision", "size"), [("fp32", 64), ("fp16", 32), ("bf16", 32), ("int8", 20)])
def test_a_table_shrinks_with_its_precision(precision: str, size: int, tmp_path: Path) -> None:
    rows = np.linspace(-3, 5, 160, dtype=np.float32).reshape(10, 16)
    table = Table.direct("a", rows).stored_as(precision)
    assert table.size_bytes == table.rows.nbytes == 10 * size
    assert table.save(tmp_path)[0].stat().st_size < 10 * size + 300
    assert np.array_equal(table.floats(), load_rows(store_rows(rows, precision), precision, 16))
    expected = {"rows": 10, "dim": 16, "precision": precision, "bytes": 10 * size, "fp32_bytes": 640}
    assert table.describe() == expected


def test_a_precision_that_saves_nothing_leaves_a_table_alone() -> None:
    narrow = Table.direct("a", ROWS[:, :2].copy())
    assert narrow.stored_as("int8") is narrow
    assert narrow.stored_as("fp32") is narrow
    assert narrow.stored_as("bf16").precision == "bf16"
    assert narrow.stored_as("bf16").stored_as("fp32").precision == "fp32"


@pytest.mark.parametrize(
    ("number", "precision", "message"),
    [
        (65520.0, "fp16", "row 2 holds 65520, which fp16 cannot. Keep this table in bf16 or fp32"),
        (-3.4e38, "bf16", "row 2 holds -3.4e+38, which bf16 cannot. Keep this table in fp32"),
        (1.0, "fp61", "unknown precision 'fp61'. Did you mean 'fp16'?"),
    ],
)
def test_a_table_is_not_stored_in_a_precision_that_cannot_hold_it(number: float, precision: str, message: str) -> None:
    rows = ROWS.copy()
    rows[2, 1] = number
    with pytest.raises(ConfigError) as caught:
        Table.direct("a", rows).stored_as(precision)
    assert str(caught.value) == "table 'a': " + message
    rows[2, 1] = 65519.0
    assert Table.direct("a", rows).stored_as("fp16").floats()[2, 1] == 65504


@pytest.mark.parametrize("precision", PRECISIONS)
def test_check_finds_stored_rows_that_are_not_finite(precision: str, tmp_path: Path) -> None:
    table = Table.direct("a", ROWS).stored_as(precision)
    path = table.save(tmp_path)[0]
    Table.open(tmp_path, "a").check()
    rows = np.load(path)
    if precision == "int8":
        rows["scale"][3] = np.nan
    else:
        rows[3, 0] = np.array(0x7F80, np.uint16) if precision == "bf16" else np.inf
    np.save(path, rows)
    with pytest.raises(BundleError, match=r"^table 'a': row 3 is not finite"):
        Table.open(tmp_path, "a").check()
