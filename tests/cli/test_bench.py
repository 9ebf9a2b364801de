from __future__ import annotations

from pathlib import Path

import pytest

from recserve.cli.bench import find_benchmarks, first_line
from recserve.errors import ConfigError


def test_a_benchmark_is_a_script_of_the_repository(tmp_path: Path) -> None:
    (tmp_path / "ranking.py").write_text(
        '"""This file measures ranking.\n\nMore."""\nif __name__ == "__main__":\n    pass\n'
    )
    (tmp_path / "workloads.py").write_text('"""Shapes."""\n')
    known = find_benchmarks(tmp_path)
    assert known == {"ranking": tmp_path / "ranking.py"}
    assert first_line(known["ranking"]) == "This file measures ranking."


def test_an_installed_package_has_no_benchmarks(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="They come with the repository, not with the package"):
        find_benchmarks(tmp_path)
