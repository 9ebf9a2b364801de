"""What the head of an HTTP request says of its caller, whichever way the request is answered.

The gate reads it of each request that goes through ASGI. Requests that a direct route answers mostly have the same head
as others before them, byte for byte: a connection finds it in `KnownHeads` without reading it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from recserve.serving import observation
from recserve.serving.observation import Observation
from recserve.serving.overload.turn import WISHES, Turn, enter_turn, read_turn
from recserve.serving.traffic.user import USER_HEADER, enter_user

if TYPE_CHECKING:
    from recserve.serving.gate import DirectTarget

Pairs = list[tuple[bytes, bytes]]

TURN: Final = "recserve.turn"
"""Key of a request's `Turn` in its ASGI scope: it is cancelled when the client leaves."""

MAX_KNOWN_BYTES: Final = 2048
"""A longer head is read each time."""

_MAX_KNOWN: Final = 512
_END: Final = b"\r\n\r\n"


class Head:
    """The head of a request.

    Args:
        headers: pairs with the names in small letters.
        kind: of its calls, see `Turn`.

    Attributes:
        named: value by name; of equal names the last.
        request_id, traceparent, authorization: as the caller has them; empty where they are not there.
    """

    __slots__ = (
        "_has_wishes",
        "_kind",
        "_length",
        "_names_user",
        "_pairs",
        "authorization",
        "named",
        "request_id",
        "traceparent",
    )

    def __init__(self, headers: Pairs, kind: str) -> None:
        self._pairs, self._kind = headers, kind
        self.named = named = dict(headers)
        self.request_id = named.get(b"x-request-id", b"").decode("latin-1")
        self.traceparent = named.get(b"traceparent", b"").decode("latin-1")
        self.authorization = named.get(b"authorization", b"").decode("latin-1")
        self._names_user = USER_HEADER in named
        self._has_wishes = not WISHES.isdisjoint(named)
        length = named.get(b"content-length", b"")
        self._length = int(length) if length.isdigit() else None

    def begin_turn(self) -> Turn:
        """The turn that the caller asks for, from now on."""
        if self._has_wishes:
            return read_turn(self._pairs, self._kind)
        return Turn(size_bytes=self._length, kind=self._kind)

    def enter(self, turn: Turn, seen: Observation | None) -> None:
        """Let this task or thread work on the request from now on."""
        observation.observe(seen)
        enter_turn(turn)
        enter_user(self._pairs if self._names_user else ())


class DirectHead(Head):
    """The head of a request that a direct route answers.

    Args:
        headers: as of `Head`, no name twice.
        target: what it asks for.
        size: bytes of the body.
        keep_alive: whether the client may send another request.

    Attributes:
        target, size, keep_alive: as given.
    """

    __slots__ = ("keep_alive", "size", "target")

    def __init__(self, headers: Pairs, target: DirectTarget, size: int, *, keep_alive: bool) -> None:
        super().__init__(headers, target.path)
        self.target, self.size, self.keep_alive = target, size, keep_alive

    @property
    def recurs(self) -> bool:
        """Whether other requests may have the same head: not those that carry an id of their own."""
        return self.keep_alive and not self.request_id and not self.traceparent


class KnownHeads:
    """Heads by their bytes, each read once by a parser; all connections of a port share them.

    Only a parser that stood before a request and has read nothing but that head and its body teaches one. So the same
    bytes mean the same request wherever a request may begin.
    """

    def __init__(self) -> None:
        self._heads: dict[bytes, DirectHead] = {}

    def find(self, chunk: bytes) -> tuple[DirectHead, int] | None:
        """The head of the one whole request that a chunk is, and where its body begins; None where it is none known."""
        begin = chunk.find(_END, 0, MAX_KNOWN_BYTES) + len(_END)
        head = self._heads.get(chunk[:begin])
        return None if head is None or len(chunk) != begin + head.size else (head, begin)

    def learn(self, chunk: bytes, head: DirectHead) -> None:
        """Keep a head.

        Args:
            chunk: from the beginning of a request to the end of its body or further.
            head: of that request; if the chunk is longer or shorter than the request, nothing is learnt.
        """
        begin = chunk.find(_END, 0, MAX_KNOWN_BYTES) + len(_END)
        if begin < len(_END) or len(chunk) != begin + head.size or not head.recurs:
            return
        if len(self._heads) >= _MAX_KNOWN:  # they are the callers' to choose
            self._heads.clear()
        self._heads[chunk[:begin]] = head
