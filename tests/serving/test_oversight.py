"""What watches over the requests of a process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recserve.errors import ConfigError
from recserve.serving.oversight import Operations, Oversight, is_request_id
from recserve.serving.refusals import ForbiddenError, UnauthenticatedError
from recserve.serving.security.targets import Target


def write_access(folder: Path, token: str, tokens: list[str]) -> Path:
    (folder / "token").write_text(token)
    file = folder / "access.json"
    document = {"tokens": {"a": {"file": str(folder / "token")}}, "rules": [{"tokens": tokens}]}
    file.write_text(json.dumps(document))
    return file


def test_tokens_and_rules_change_while_it_serves(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write_access(tmp_path, "first-0123456789abcdef", ["a"])
    oversight = Oversight(Operations(access_file=str(file)), protocols=["tfs"])
    seen = oversight.begin("tfs", "GET /x")
    oversight.admit(seen, Target("read"), "Bearer first-0123456789abcdef")
    (tmp_path / "token").write_text("second-0123456789abcdef")
    oversight.refresh()
    with pytest.raises(UnauthenticatedError):
        oversight.admit(seen, Target("read"), "Bearer first-0123456789abcdef")
    oversight.admit(seen, Target("read"), "Bearer second-0123456789abcdef")
    write_access(tmp_path, "second-0123456789abcdef", [])
    oversight.refresh()
    with pytest.raises(ForbiddenError):
        oversight.admit(seen, Target("read"), "Bearer second-0123456789abcdef")
    assert caplog.text.count("the new one is in force") == 2
    oversight.close()


def test_a_wrong_file_leaves_the_old_rules_in_force(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write_access(tmp_path, "first-0123456789abcdef", ["a"])
    oversight = Oversight(Operations(access_file=str(file)))
    file.write_text("{")
    oversight.refresh()
    oversight.admit(oversight.begin("tfs", ""), Target("read"), "Bearer first-0123456789abcdef")
    assert "What was read before stays in force" in caplog.text
    oversight.close()


def test_a_wrong_file_at_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Oversight(Operations(access_file=str(tmp_path / "none")))


@pytest.mark.parametrize(
    ("text", "is_taken"),
    [("q-1", True), ("", False), ("x" * 256, True), ("x" * 257, False), ("a\nb", False), ("a\x00", False)],
)
def test_ids_of_callers_are_taken_where_they_are_plain(text: str, is_taken: bool) -> None:
    assert is_request_id(text) is is_taken
    seen = Oversight().begin("tfs", "", text)
    assert (seen.request_id == text) is is_taken


def test_workers_share_their_metrics(tmp_path: Path) -> None:
    oversight = Oversight(Operations(metrics_directory=str(tmp_path)))
    seen = oversight.begin("tfs", "GET /x")
    seen.code = "200"
    oversight.finish(seen)
    assert 'recserve_requests_total{protocol="tfs"' in oversight.metrics_text()
    oversight.close()
    assert list(tmp_path.glob("worker-*.json"))
