"""The peer that needs nothing heavy: FastAPI and ONNX Runtime, as one writes it by hand. Run by `serving.py`.

Usage: serving_peer.py MODELS PORT. `/<model>/json` takes {"inputs": {name: rows}}, `/<model>/raw/<rows>` the tensors
one after the other and answers the scores' bytes.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnxruntime
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response


def build_app(models: str) -> FastAPI:
    """The application."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions = {
        name: onnxruntime.InferenceSession(f"{models}/{name}/1/model.onnx", options, ["CPUExecutionProvider"])
        for name in "abc"
    }
    dtypes = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
    app = FastAPI()

    @app.post("/{name}/json")
    async def as_json(name: str, request: Request) -> Response:
        document = orjson.loads(await request.body())["inputs"]
        session = sessions[name]
        feeds = {slot.name: np.asarray(document[slot.name], dtypes[slot.type]) for slot in session.get_inputs()}
        (scores,) = session.run(None, feeds)
        return Response(orjson.dumps({"outputs": scores}, option=orjson.OPT_SERIALIZE_NUMPY), 200)

    @app.post("/{name}/raw/{rows}")
    async def as_raw(name: str, rows: int, request: Request) -> Response:
        body = await request.body()
        session = sessions[name]
        feeds: dict[str, Any] = {}
        at = 0
        for slot in session.get_inputs():
            shape = (rows, *slot.shape[1:])
            dtype = np.dtype(dtypes[slot.type])
            count = int(np.prod(shape))
            feeds[slot.name] = np.frombuffer(body, dtype, count, at).reshape(shape)
            at += count * dtype.itemsize
        (scores,) = session.run(None, feeds)
        return Response(scores.tobytes(), media_type="application/octet-stream")

    return app


if __name__ == "__main__":
    as_fast_as_it_gets = {"loop": "uvloop", "http": "httptools", "access_log": False, "log_level": "error"}
    config = uvicorn.Config(build_app(sys.argv[1]), port=int(sys.argv[2]), **as_fast_as_it_gets)
    uvicorn.Server(config).run()
