"""The OpenAPI documents tell the routes that there are."""

from __future__ import annotations

import re
from typing import Any

import pytest

from recserve.serving.dialects import DIALECTS
from recserve.serving.gate import gate
from recserve.serving.messages import MULTI_FIELDS, REQUEST_FIELDS
from recserve.serving.openapi import ROUTES, describe_port
from recserve.serving.openapi_schemas import SCHEMAS

NEEDS_MORE = ("admin", "sagemaker-mme")  # their routes need rollouts, or models that clients load


def test_every_http_dialect_is_described() -> None:
    assert set(ROUTES) == {name for name, row in DIALECTS.items() if row.transport == "http"}


@pytest.mark.parametrize("dialect", ROUTES)
def test_a_document_refers_only_to_what_it_has(dialect: str) -> None:
    document = describe_port(dialect)
    used = re.findall(r"#/components/schemas/(\w+)", str(document))
    assert set(used) <= SCHEMAS.keys()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids))
    for path, methods in document["paths"].items():
        names = re.findall(r"{(\w+)}", path)
        for operation in methods.values():
            assert [parameter["name"] for parameter in operation.get("parameters", [])] == names


@pytest.mark.parametrize("dialect", [name for name in ROUTES if name not in NEEDS_MORE])
def test_every_route_of_a_document_is_answered(dialect: str, serving_of: Any, make_ranker: Any, call_app: Any) -> None:
    serving = serving_of(make_ranker())
    app = gate(DIALECTS[dialect].load_builder()(serving), serving, dialect)
    unknown = call_app(app, "GET", "/no/such/route")
    for route in ROUTES[dialect]:
        path = route.path.format(model="rank", version="7", label="stable", user="u")
        reply = call_app(app, route.method.upper(), path, b"{}")
        assert reply.status != 405, path
        assert (reply.status, reply.body.replace(path.encode(), b"")) != (
            unknown.status,
            unknown.body.replace(b"/no/such/route", b""),
        ), path


def test_the_fields_of_a_rank_request_are_all_there() -> None:
    assert set(SCHEMAS["RankRequest"]["properties"]) == set(REQUEST_FIELDS)
    assert set(SCHEMAS["MultiRankRequest"]["properties"]) == set(MULTI_FIELDS)
