from __future__ import annotations

from typing import Any

import pytest

from recserve.errors import ConfigError, RequestError
from recserve.serving.dialects import DIALECTS, Port, parse_port, unserved_default


def test_every_builder_can_be_loaded() -> None:
    assert all(callable(row.load_builder()) for row in DIALECTS.values())


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("tfs", Port("tfs", 8501)),
        ("tfs:0", Port("tfs", 0)),
        ("h2o:9000=iris", Port("h2o", 9000, "iris")),
        ("vertex=ctr", Port("vertex", 9123, "ctr")),
        ("kserve-v1", Port("kserve-v1", 8080)),
    ],
)
def test_a_port_is_read_from_text(text: str, port: Port) -> None:
    assert parse_port(text, {"AIP_HTTP_PORT": "9123"}) == port


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tsf:1", "--dialect tsf:1: there is no dialect 'tsf'. Did you mean 'tfs'?"),
        ("tfs:x", "--dialect tfs:x: port 'x' is no number. Write NAME:PORT, such as tfs:8501."),
        ("tfs:", "--dialect tfs:: port '' is no number. Write NAME:PORT, such as tfs:8501."),
    ],
)
def test_a_wrong_port_is_told(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_port(text, {})
    assert str(caught.value) == message


def test_the_only_model_is_the_default_one(serving_of: Any, make_ranker: Any) -> None:
    assert serving_of(make_ranker()).default_model() == "rank"
    assert serving_of(make_ranker(), make_ranker("b"), model="b").default_model() == "b"
    with pytest.raises(RequestError) as caught:
        serving_of(make_ranker(), make_ranker("b")).default_model()
    assert str(caught.value) == (
        "it is not known which model answers. Models served: 'b', 'rank'. "
        "Start the server with --dialect NAME:PORT=MODEL."
    )


def test_a_port_of_a_model_that_is_not_served_is_told() -> None:
    error = unserved_default([Port("tfs", 1), Port("vertex", 2, "ctx")], ["ctr", "cvr"])
    assert str(error) == "--dialect vertex:2=ctx: there is no model 'ctx'. Did you mean 'ctr'?"
    error = unserved_default([Port("h2o", 2, "zebra")], ["ctr", "cvr"])
    assert str(error) == "--dialect h2o:2=zebra: there is no model 'zebra'. Models served: 'ctr', 'cvr'."
    assert unserved_default([Port("vertex", 2, "ctr")], ["ctr"]) is None
    assert unserved_default([Port("vertex", 2, "ctx"), Port("sagemaker-mme", 3)], ["ctr"]) is None
