from __future__ import annotations

import contextvars

from recserve.serving.traffic.user import current_user, enter_user


def test_the_user_is_that_of_the_headers_or_the_metadata() -> None:
    def run() -> list[str | None]:
        got = []
        for headers in ([(b"host", b"x"), (b"x-user-id", b"u1")], [("x-user-id", "u2")], [(b"host", b"x")]):
            enter_user(headers)
            got.append(current_user())
        return got

    assert contextvars.copy_context().run(run) == ["u1", "u2", None]
    assert current_user() is None
