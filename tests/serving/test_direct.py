from __future__ import annotations

from recserve.serving.direct import Reply, encode_head

JSON = (b"content-type", b"application/json")


def test_a_head_tells_status_length_and_further_lines() -> None:
    head = encode_head(Reply(200, b"{}", [JSON]), "a", b"traceparent: b\r\n", closes=False)
    assert head == (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n"
        b"x-request-id: a\r\ntraceparent: b\r\n\r\n"
    )


def test_an_id_that_is_no_latin_text_is_shown_all_the_same() -> None:
    assert b"x-request-id: caf\xe9-?\r\n" in encode_head(Reply(200, b"", []), "caf\xe9-\u4e2d", closes=False)


def test_a_head_says_once_that_the_connection_closes() -> None:
    for headers in ([JSON], [JSON, (b"connection", b"close")]):
        head = encode_head(Reply(503, b"", headers), "a", closes=True)
        assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert head.count(b"connection: close\r\n") == 1
