from __future__ import annotations

from recserve.serving.direct import Reply, encode_head

JSON = (b"content-type", b"application/json")


def test_a_head_tells_status_length_and_further_lines() -> None:
    head = encode_head(Reply(200, b"{}", [JSON]), b"x-request-id: a\r\n", closes=False)
    assert head == (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nx-request-id: a\r\n\r\n"
    )


def test_a_head_says_once_that_the_connection_closes() -> None:
    for headers in ([JSON], [JSON, (b"connection", b"close")]):
        head = encode_head(Reply(503, b"", headers), b"", closes=True)
        assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert head.count(b"connection: close\r\n") == 1
