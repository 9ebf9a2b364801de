from __future__ import annotations

from recserve.serving.workers.seat import Seat


def test_a_seat_is_that_of_a_first_worker() -> None:
    assert Seat() == Seat(number=0, listeners={}, ports={}, listens_late=False, is_complete=False)
