from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.importers.mojo.archive import open_archive
from recserve.importers.mojo.ini import read_info
from recserve.importers.mojo.rows import enum_codes, read_row
from recserve.scoring.graph import Graph

Make = Callable[..., Path]
LEVELS = ["a", "b", "other"]


def encode(path: Path, columns: dict[str, list[Any]]) -> np.ndarray:
    graph = Graph()
    row = read_row(graph, read_info(open_archive(path)))
    for number, value in enumerate(row.values):
        graph.output(str(number), value)
    assert list(row.inputs) == sorted(row.inputs, key=list(row.inputs).index)
    scores = graph.build().run(columns)
    return np.stack([scores.outputs[str(number)] for number in range(len(row.values))], axis=1)


def encoded(make_mojo: Make, encoding: str, columns: list[str], domains: dict[int, list[str]], **extra: Any) -> Path:
    info = {
        "_genmodel_encoding": encoding,
        "_n_orig_names": 3,
        "_n_orig_domain_values": 3,
        "_m_orig_domain_values_0": 3,
        "_m_orig_domain_values_1": 0,
        "_m_orig_domain_values_2": 0,
        **extra,
    }
    files = {"_orig_names": b"city\nx\ny\n", "_orig_domain_values_0": "\n".join(LEVELS).encode() + b"\n"}
    return make_mojo(info, columns, domains, files)


CELLS = {"city": ["b", None, "zz"], "x": [1.5, 2.0, None]}
NAN = np.nan


@pytest.mark.parametrize(
    ("encoding", "columns", "domains", "expected"),
    [
        (
            "OneHotExplicit",
            ["x", "city.a", "city.b", "city.other", "city.NA", "y"],
            {},
            [[1.5, 0, 1, 0, 0], [2.0, NAN, NAN, NAN, NAN], [NAN, 0, 0, 0, 1]],
        ),
        ("Binary", ["x", "city:0", "city:1", "y"], {}, [[1.5, 0, 1], [2.0, NAN, NAN], [NAN, 0, 0]]),
        ("EnumLimited", ["city.top_1_levels", "x", "y"], {0: ["b", "other"]}, [[0, 1.5], [NAN, 2.0], [NAN, NAN]]),
        ("Eigen", ["city.Eigen", "x", "y"], {}, [[np.float32(0.2), 1.5], [NAN, 2.0], [NAN, NAN]]),
        ("LabelEncoder", ["city", "x", "y"], {}, [[1, 1.5], [NAN, 2.0], [NAN, NAN]]),
    ],
)
def test_each_encoding_gives_the_columns_that_genmodel_makes(
    encoding: str, columns: list[str], domains: dict[int, list[str]], expected: list[list[float]], make_mojo: Make
) -> None:
    path = encoded(make_mojo, encoding, columns, domains, _orig_projection_array=[0.1, 0.2, 0.3])
    np.testing.assert_array_equal(encode(path, CELLS), np.array(expected, float))


def test_levels_that_were_not_kept_are_other_ones(make_mojo: Make) -> None:
    path = encoded(make_mojo, "EnumLimited", ["city", "x", "y"], {0: ["b", "other"]})
    assert encode(path, {"city": ["a", "b"], "x": [0, 0]})[:, 0].tolist() == [1.0, 0.0]


def test_a_label_that_is_a_number_is_that_number(make_mojo: Make) -> None:
    info = {
        "_genmodel_encoding": "LabelEncoder",
        "_n_orig_names": 1,
        "_n_orig_domain_values": 1,
        "_m_orig_domain_values_0": 2,
    }
    path = make_mojo(info, ["s", "y"], files={"_orig_names": b"s\n", "_orig_domain_values_0": b"30\nx\n"})
    assert encode(path, {"s": ["30", "x"]})[:, 0].tolist() == [30.0, 1.0]


def test_a_level_answers_to_its_name_without_the_column() -> None:
    assert enum_codes("c", ("c.a", "b", "c.b")) == {"c.a": 0.0, "b": 1.0, "c.b": 2.0, "a": 0.0}


def test_an_unknown_encoding_is_unsupported(make_mojo: Make) -> None:
    with pytest.raises(ConfigError, match="categorical encoding 'Odd' is unknown"):
        encode(encoded(make_mojo, "Odd", ["x", "y"], {}), {})


def test_an_encoding_without_its_columns_is_damaged(make_mojo: Make) -> None:
    with pytest.raises(ConfigError, match="Binary needs _orig_names"):
        encode(make_mojo({"_genmodel_encoding": "Binary"}, ["x", "y"]), {})
    with pytest.raises(ConfigError, match="the encoding of 'city' needs columns 1 to 4 of 2"):
        encode(encoded(make_mojo, "OneHotExplicit", ["x", "a", "y"], {}), {})
    with pytest.raises(ConfigError, match="has 1 numbers for 3 levels"):
        encode(encoded(make_mojo, "Eigen", ["c", "x", "y"], {}, _orig_projection_array=[0.5]), {})
    with pytest.raises(ConfigError, match="its encoded column 0 has none"):
        encode(encoded(make_mojo, "EnumLimited", ["c", "x", "y"], {}), {})
