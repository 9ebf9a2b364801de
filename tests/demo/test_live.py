import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import orjson
import pytest

from recserve.demo.live import LiveRequest, RankClient, Server
from recserve.errors import ConfigError, RequestError

REQUEST = LiveRequest("r1", {"user_id": "u1"}, {"hour": 3}, ["i1", "i2"], 1)


def test_a_server_that_cannot_start_says_why(tmp_path):
    (tmp_path / "models" / "m" / "1").mkdir(parents=True)
    (tmp_path / "items.parquet").write_bytes(b"")
    server = Server(tmp_path / "models" / "m" / "1", tmp_path / "items.parquet", tmp_path / "r", tmp_path / "log")
    with pytest.raises(ConfigError, match=r"log: the server ended with 2 before it was ready; it said: .*manifest"):
        server.__enter__()
    assert "--log-records" in server.command


@pytest.fixture
def endpoint():
    """(url, status to answer with, bodies received)"""
    status, bodies = [200], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append((self.path, orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            answer = {"item_ids": ["i2"], "scores": [0.5], "outputs": {"ctr": [0.5]}, "timings_us": {"rank": 9.0}}
            body = orjson.dumps({**answer, "unknown_items": ["i1"], "missing_columns": []})
            self.send_response(status[0])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", status, bodies
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_request_is_sent_whole_and_the_answer_read(endpoint):
    url, _, bodies = endpoint
    with RankClient(url, "shop") as client:
        answer = client.rank(REQUEST)
    assert (answer.item_ids, answer.outputs, answer.unknown_items) == (["i2"], {"ctr": [0.5]}, ["i1"])
    expected = {"request_id": "r1", "user": {"user_id": "u1"}, "context": {"hour": 3}, "candidates": ["i1", "i2"]}
    assert bodies == [("/v1/models/shop:rank", {**expected, "top_k": 1, "timings": True})]


def test_a_refusal_of_the_server_is_an_error(endpoint):
    url, status, _ = endpoint
    status[0] = 503
    with RankClient(url, "shop") as client, pytest.raises(RequestError, match=r"the server answered 503: \{"):
        client.rank(REQUEST)
