from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.importers.mojo.archive import open_archive
from recserve.importers.mojo.ini import Info, read_info, unescape


def info_of(path: Path) -> Info:
    return read_info(open_archive(path))


def test_values_columns_and_levels_are_read(make_mojo: Callable[..., Path]) -> None:
    info = info_of(make_mojo({"a": "NaN", "b": [1, 2], "c": "null"}, ["x", "y y"], {0: ["p\\nq", " r"]}))
    assert info.columns == ("x", "y y")
    assert info.domains == (("p\nq", " r"), None)
    assert np.isnan(info.number("a"))
    assert info.integers("b") == [1, 2]
    assert not info.has("c")
    assert info.number("c", 4.0) == 4.0
    assert info.features == ("x",)
    assert info.response_domain is None


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda info: info.text("none"), "lacks the key 'none'"),
        (lambda info: info.number("word"), "word: is 'abc', not a number"),
        (lambda info: info.integer("half"), "half: is '1.5', not a whole number"),
        (lambda info: info.flag("word"), "word: is 'abc', neither true nor false"),
        (lambda info: info.numbers("half"), "half: is '1.5', no list in square brackets"),
        (lambda info: info.integers("list"), "list: has a number that is not whole"),
        (lambda info: info.count("many", 10), r"many: is 11; it must lie in 0 … 10"),
        (lambda info: info.big_endian("blob", 2), "blob: has 9 bytes where 16 are due"),
    ],
)
def test_a_wrong_value_is_named(read: Callable[[Info], object], message: str, make_mojo: Callable[..., Path]) -> None:
    values = {"word": "abc", "half": 1.5, "list": [1.5], "many": 11}
    info = info_of(make_mojo(values, ["x", "y"], files={"blob": b"123456789"}))
    with pytest.raises(ConfigError, match=message):
        read(info)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[info]\nno assignment", "line 2: 'no assignment' is no `key = value`"),
        ("[info]\nn_columns = 2\n[columns]\na", r"n_columns is 2, the section \[columns\] has 1"),
        ("[info]\nn_columns = 1\n[columns]\na\n[domains]\nx", "'x' is no `column: size file`"),
        ("[info]\nn_columns = 1\n[columns]\na\n[domains]\n0: d000.txt", "is no `size file` of a domain"),
        ("[info]\nn_columns = 1\n[columns]\na\n[domains]\n0: 3 d000.txt", "has 2 levels where model.ini says 3"),
    ],
)
def test_a_contradictory_file_is_refused(text: str, message: str, tmp_path: Path, pack: Callable[..., Path]) -> None:
    path = pack(tmp_path / "m.zip", {"model.ini": text.encode(), "domains/d000.txt": b"a\nb\n"})
    with pytest.raises(ConfigError, match=message):
        info_of(path)


def test_escapes_are_undone_once() -> None:
    assert unescape(r"a\\n\n\r\q") == "a\\n\n\rq"
