"""The command line as a user meets it: help, exit codes, messages. Whole runs are in test_end_to_end.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from recserve.cli import main
from recserve.cli.app import app


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of a command."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), out, err


COMMANDS = [command.callback.__name__ for command in app.registered_commands if command.callback]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_with_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    assert f"recserve {command}" in out
    assert "Example:\n" in out


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys)
    assert code == 2
    assert all(command in out + err for command in COMMANDS)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--version")
    assert (code, out.count(".")) == (0, 2)


@pytest.mark.parametrize(
    "arguments", [["srve"], ["serve"], ["serve", "x", "--prt", "1"], ["serve", "x", "--port", "y"]]
)
def test_wrong_usage_ends_with_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert "Usage: recserve" in err


def test_a_config_error_is_one_line_and_ends_with_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = run(capsys, "serve", tmp_path / "none")
    assert (code, out) == (2, "")
    assert err == (
        f"Error: {tmp_path}/none: there is no such directory. Give <base>/<name>/<version>, such as models/rank/7.\n"
    )


def test_a_directory_that_is_no_bundle_ends_the_server_with_2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from recserve.cli import main; main()", "serve", str(tmp_path), "--port", "0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Error: {tmp_path}: there is no manifest.json")
    assert "Traceback" not in done.stderr


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from recserve.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numba', 'numpy', 'pyarrow', 'onnx', 'onnxruntime', 'torch', 'duckdb', 'uvicorn', 'starlette'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
