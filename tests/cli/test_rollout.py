from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from recserve.cli import main


@pytest.fixture
def admin() -> Iterator[Any]:
    """A server that keeps what it is asked and says it again; `reply` is what it answers else."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            server.asked.append((self.command, self.path, json.loads(body) if body else None))
            status, document = server.reply
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 - the names that the server looks for

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server: Any = HTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.reply = [], (200, {"done": True})
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join(10)
    server.server_close()


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["rollout", *arguments])
    return int(ended.value.code or 0)


def test_each_wish_is_one_call(admin: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, asked in (
        ([], ("GET", "/rollouts", None)),
        (["a b"], ("GET", "/rollouts/a%20b", None)),
        (["m", "--promote"], ("POST", "/rollouts/m/promote", None)),
        (["m", "--roll-back"], ("POST", "/rollouts/m/roll_back", None)),
        (["m", "--clear"], ("DELETE", "/rollouts/m", None)),
    ):
        assert run(*arguments, "--server", admin.url) == 0
        assert admin.asked[-1] == asked
    assert json.loads(capsys.readouterr().out.split("}\n")[0] + "}") == {"done": True}


def test_a_rollout_is_written_in_basis_points(admin: Any) -> None:
    line = ["m", "--stable", "6", "--canary", "7", "--percent", "5.25", "--arm", "5=10", "--shadow", "8"]
    assert run(*line, "--rule", '{"promotes": true}', "--server", admin.url) == 0
    assert admin.asked[-1][2] == {
        "stable": 6,
        "canary": 7,
        "canary_bp": 525,
        "arms": {"5": 1000},
        "shadows": [8],
        "shadow_bp": 10_000,
        "rule": {"promotes": True},
    }


def test_a_refusal_is_told(admin: Any, capsys: pytest.CaptureFixture[str]) -> None:
    admin.reply = (409, {"error": {"message": "no canary", "where": "m", "hint": "Set one."}})
    assert run("m", "--promote", "--server", admin.url) == 2
    assert f"{admin.url}: m: no canary. Set one." in capsys.readouterr().err
    admin.reply = (500, [])
    assert run("m", "--server", admin.url) == 2
    assert "HTTP Error 500" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["m", "--promote", "--clear"], "recserve rollout: asks for two things at once. Give one of them."),
        (["m", "--canary", "7"], "recserve rollout: no stable version is given. Add --stable VERSION."),
        (["m", "--stable", "1", "--arm", "x"], "--arm x: is no arm. Write VERSION=PERCENT, such as 7=50."),
        (["m", "--stable", "1", "--rule", "{"], "--rule: is no JSON"),
        (["--server", "ftp://x"], "--server: 'ftp://x' is no address. Write http://HOST:PORT."),
        (["--server", "http://127.0.0.1:1"], "http://127.0.0.1:1: cannot be reached"),
    ],
)
def test_wrong_wishes_are_told(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err
