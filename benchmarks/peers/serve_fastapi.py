"""FastAPI and ONNX Runtime, as one writes it by hand. Run by `serving.py`.

Usage: serve_fastapi.py MODELS PORT. `/<model>/json` takes {"inputs": {name: rows}}, `/<model>/raw/<rows>` the tensors
one after the other and answers the scores' bytes.
"""

from __future__ import annotations

import sys

import orjson
import uvicorn
from fastapi import FastAPI, Request, Response
from graphs import MODELS, Graph


def build_app(models: str) -> FastAPI:
    """The application."""
    graphs = {name: Graph(models, name) for name in MODELS}
    app = FastAPI()

    @app.post("/{name}/json")
    async def as_json(name: str, request: Request) -> Response:
        scores = graphs[name].run_lists(orjson.loads(await request.body())["inputs"])
        return Response(orjson.dumps({"outputs": scores}, option=orjson.OPT_SERIALIZE_NUMPY), 200)

    @app.post("/{name}/raw/{rows}")
    async def as_raw(name: str, rows: int, request: Request) -> Response:
        scores = graphs[name].run_bytes(await request.body(), rows)
        return Response(scores.tobytes(), media_type="application/octet-stream")

    return app


if __name__ == "__main__":
    as_fast_as_it_gets = {"loop": "uvloop", "http": "httptools", "access_log": False, "log_level": "error"}
    config = uvicorn.Config(build_app(sys.argv[1]), port=int(sys.argv[2]), **as_fast_as_it_gets)
    uvicorn.Server(config).run()
