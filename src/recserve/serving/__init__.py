"""Models behind a network: a registry of versions, services that know no transport, and a front end for each protocol.

What all protocols share:

    contract.py      what serving needs from a model and from a record sink
    registry.py      name, version and label → model; states; leases, so that a version is closed when nobody uses it
    repository.py    directories of models: opened, published, found again
    inference.py     tensors in, tensors out, checked against a signature
    examples.py      examples of classify and regress calls → tensors, and results
    service.py       `RankCall` → `RankAnswer`, and the record of it
    rank_threads.py  where the work runs, so that the event loop stays free
    refusals.py      errors that only a server has, with their facts
    observation.py   what is known of a request while it runs: model, version, stage times
    gate.py          before every HTTP port: tokens, observation, /livez, /readyz, /metrics, /openapi.json
    oversight.py     what watches over the requests of a process: `security/`, metrics, logs, traces
    metrics.py, metrics_*.py, statistics.py  counts and times of calls, of one process and of all workers
    access_log.py, tracing.py  JSON logs, slow requests; OpenTelemetry
    openapi.py, openapi_schemas.py  what each port answers
    body.py, compression.py    the bytes of a request, within limits
    http_protocol.py limits on the head of a request
    dialects.py      the protocols by name: their ports and builders
    lifecycle/       versions that come and go: watched directories, swaps, retries, labels, warm-up
    traffic/         versions that share a model's calls: canary, A/B, shadow
    run.py           the process: ports, loading, signals, drain

recserve's own dialect:

    http.py          the ASGI application: the routes of calls, plain
    pages.py         the other routes, on Starlette
    candidates.py    candidate forms (ids, objects, columns) → ids or columns
    users.py, user_pages.py  kept users, for requests by id
    arrow_rank.py    rank requests and answers as Arrow
    explanations.py  why candidates got their scores
    messages.py      request bytes → `RankCall`; `RankAnswer` → response bytes
    status.py        error class → HTTP status

Other dialects: `tfs/` (TensorFlow Serving REST), `kserve_v1.py`, `vertex.py`, `h2o.py`, and the packages and modules of
the other rows of `dialects.DIALECTS`.

Import the modules; this package imports none of them, so that `recserve.serving.contract` costs nothing.
"""
