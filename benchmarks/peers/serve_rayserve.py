"""Ray Serve: proxy, controller and one replica on one core. Usage: serve_rayserve.py MODELS PORT.

`/<model>/json` takes {"inputs": {name: rows}}, `/<model>/raw/<rows>` the tensors one after the other.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import orjson
import ray
from graphs import MODELS, Graph
from ray import serve
from starlette.requests import Request
from starlette.responses import Response


@serve.deployment(num_replicas=1, ray_actor_options={"num_cpus": 1}, max_ongoing_requests=100)
class Rank:
    """The models of the benchmark."""

    def __init__(self, models: str) -> None:
        """Load them."""
        self.graphs = {name: Graph(models, name) for name in MODELS}

    async def __call__(self, request: Request) -> Response:
        """The scores."""
        _, name, way, *more = request.url.path.split("/")
        body = await request.body()
        if way == "json":
            scores = self.graphs[name].run_lists(orjson.loads(body)["inputs"])
            return Response(orjson.dumps({"outputs": scores}, option=orjson.OPT_SERIALIZE_NUMPY))
        return Response(self.graphs[name].run_bytes(body, int(more[0])).tobytes())


if __name__ == "__main__":
    paths = {"env_vars": {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}}
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, runtime_env=paths, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
    serve.run(Rank.bind(sys.argv[1]), route_prefix="/")
    signal.pause()
