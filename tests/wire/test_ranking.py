"""Message classes of the ranking service."""

from __future__ import annotations

from recserve.wire.ranking import ErrorInfo, RankRequest, RetryInfo, RpcStatus


def test_top_k_knows_whether_it_is_set() -> None:
    assert not RankRequest().HasField("top_k")
    assert RankRequest(top_k=0).HasField("top_k")


def test_details_of_an_error_travel_as_any() -> None:
    status = RpcStatus(code=3, message="no")
    status.details.add().Pack(ErrorInfo(reason="invalid_request", domain="recserve"))
    again = RpcStatus.FromString(status.SerializeToString())
    info = ErrorInfo()
    assert again.details[0].type_url == "type.googleapis.com/google.rpc.ErrorInfo"
    assert again.details[0].Unpack(info)
    assert not again.details[0].Unpack(RetryInfo())
    assert info.reason == "invalid_request"
