"""Rankers behind a network: a registry of versions, a service that knows no transport, and an HTTP front end.

    contract.py      what serving needs from a ranker and from a record sink
    registry.py      name and version → ranker; leases, so that a version is closed only when nobody uses it
    candidates.py    candidate forms (ids, objects, columns) → ids or columns
    messages.py      request bytes → `RankCall`; `RankAnswer` → response bytes
    service.py       `RankCall` → `RankAnswer`, and the record of it
    rank_threads.py  where ranking runs, so that the event loop stays free
    refusals.py      errors that only a server has
    status.py        error class → HTTP status: the only file that knows statuses
    body.py          the bytes of a request, within limits
    http.py          the ASGI application: the rank route, plain
    http_protocol.py limits on the head of a request
    pages.py         the other routes, on Starlette
    run.py           the process: socket, loading, signals, drain

Import the modules; this package imports none of them, so that `recserve.serving.contract` costs nothing.
"""
