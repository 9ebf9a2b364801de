"""PyTriton: Triton with the models in a Python process. Usage: serve_pytriton.py MODELS PORT GRPC_PORT.

Speaks the Open Inference Protocol, the binary extension with it.
"""

from __future__ import annotations

import sys
from typing import Any

from graphs import MODELS, Graph
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

if __name__ == "__main__":
    ports = {"http_port": int(sys.argv[2]), "grpc_port": int(sys.argv[3]), "allow_metrics": False}
    with Triton(config=TritonConfig(**ports)) as triton:
        for name in MODELS:
            graph = Graph(sys.argv[1], name)

            def infer(graph: Graph = graph, **inputs: Any) -> list[Any]:
                """The scores."""
                scores = graph.run({key: inputs[key].reshape(-1, *graph.shapes[key]) for key in graph.dtypes})
                return [scores.reshape(len(scores), -1)]

            triton.bind(
                model_name=name,
                infer_func=batch(infer),
                inputs=[
                    Tensor(name=key, dtype=dtype.type, shape=graph.shapes[key] or (1,))
                    for key, dtype in graph.dtypes.items()
                ],
                outputs=[Tensor(name="y", dtype=graph.dtypes[next(iter(graph.dtypes))].type, shape=(-1,))],
                config=ModelConfig(max_batch_size=4096),
            )
        triton.serve()
