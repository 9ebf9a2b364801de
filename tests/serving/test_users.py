"""The kept users."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from recserve.errors import ConfigError, DataError
from recserve.serving.users import UsersFullError, UserStore

WRITER = "import sys; from recserve.serving.users import UserStore; UserStore(sys.argv[1]).upsert({'far': {'n': 1}})"


def test_users_are_kept_replaced_and_forgotten(tmp_path: Path) -> None:
    users = UserStore(tmp_path / "deep" / "users")
    assert users.get("a") is None
    users.upsert({"a": {"age": 3.5, "clicks": {"acme": 1}}, 7: {"age": None}})
    users.upsert({"a": {"age": 4}})
    assert users.get("a") == {"age": 4}
    assert users.get(7) == {"age": None}
    assert users.get("7") is None
    assert len(users) == 2
    assert users.delete("a")
    assert not users.delete("a")
    users.close()


def test_processes_and_threads_see_what_is_acknowledged(tmp_path: Path) -> None:
    users = UserStore(tmp_path)
    assert users.get("far") is None
    subprocess.run([sys.executable, "-c", WRITER, str(tmp_path)], check=True)
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(users.get("far")))
    thread.start()
    thread.join()
    assert found == [users.get("far")] == [{"n": 1}]
    users.close()


def test_a_full_store_takes_none_of_a_batch(tmp_path: Path) -> None:
    users = UserStore(tmp_path, max_bytes=1 << 17)
    users.upsert({"first": {"x": 1}})
    with pytest.raises(UsersFullError, match="2000 users could not be kept"):
        users.upsert({str(n): {"x": "y" * 100} for n in range(2000)})
    assert len(users) == 1
    assert users.get("first") == {"x": 1}
    users.close()


@pytest.mark.parametrize("user_id", ["", "x" * 513])
def test_wrong_ids_are_told(tmp_path: Path, user_id: str) -> None:
    users = UserStore(tmp_path)
    with pytest.raises(DataError, match=rf"a user id has {len(user_id)} characters. Give 1 to 512."):
        users.upsert({user_id: {}})
    users.close()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="the users cannot be kept"):
        UserStore(tmp_path / "file")
