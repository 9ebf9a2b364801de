"""Message classes of recserve's own ranking service, and of the details that an error carries."""

from __future__ import annotations

from typing import Any, Final

from recserve.wire.pool import message_class

SERVICE: Final = "recserve.v1.Ranking"

RankRequest: Final[Any] = message_class("recserve.v1.RankRequest")
RankResponse: Final[Any] = message_class("recserve.v1.RankResponse")
RankByEachRequest: Final[Any] = message_class("recserve.v1.RankByEachRequest")
RankByEachResponse: Final[Any] = message_class("recserve.v1.RankByEachResponse")
Values: Final[Any] = message_class("recserve.v1.Values")
Column: Final[Any] = message_class("recserve.v1.Column")
Cell: Final[Any] = message_class("recserve.v1.Cell")

RpcStatus: Final[Any] = message_class("google.rpc.Status")
ErrorInfo: Final[Any] = message_class("google.rpc.ErrorInfo")
RetryInfo: Final[Any] = message_class("google.rpc.RetryInfo")
