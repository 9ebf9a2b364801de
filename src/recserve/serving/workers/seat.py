"""What a worker is given."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from recserve.serving.workers.orders import Order


@dataclass(frozen=True)
class Seat:
    """The place of a serving process among others that serve the same.

    Attributes:
        number: of the place, from 0; a process that replaces another one takes its number.
        listeners: dialect of an HTTP port → its listening socket.
        ports: dialect of any other transport → the port that the workers share.
        listens_late: whether it takes requests only once its models are loaded, since others answer until then.
        is_complete: whether all workers have been ready once; the server is not ready before.
        orders: what the others have done before it was there, and it has to do before it takes requests.
        beat_s: seconds between two signs of life; 0 for none.
    """

    number: int = 0
    listeners: Mapping[str, socket.socket] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    listens_late: bool = False
    is_complete: bool = False
    orders: tuple[Order, ...] = ()
    beat_s: float = 0.0
