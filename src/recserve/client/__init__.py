"""A client of recserve, and of other servers with the same wires. NumPy in and out; no TensorFlow.

    client = recserve.client.Client("http://localhost:8501")      # or "grpc://localhost:8500"
    client.predict("half_plus_two", {"x": np.array([1.0], np.float32)}).outputs["y"]

`Client` blocks, `AsyncClient` is for asyncio; both have the same methods on both transports.

    client.py          Client and AsyncClient
    results.py         what calls return
    failures.py        what calls raise
    retries.py         when and how often a call is sent again
    calls.py           a call before it is sent, and what a wire and a transport are
    rest_wire.py       calls over HTTP: TensorFlow Serving's JSON, ranking, and the routes
    rest_tensors.py    tensors ↔ TensorFlow Serving's JSON
    rest_inference.py  Open Inference with the binary extension
    grpc_wire.py       calls over gRPC
    http_transport.py  HTTP, blocking
    http_streams.py    HTTP on asyncio
    grpc_transport.py  gRPC, both
"""

from recserve.client.calls import Target
from recserve.client.client import AsyncClient, Client
from recserve.client.failures import CallFailedError
from recserve.client.results import Prediction, Ranking, VersionStatus, VersionTuple
from recserve.client.retries import Retries

__all__ = [
    "AsyncClient",
    "CallFailedError",
    "Client",
    "Prediction",
    "Ranking",
    "Retries",
    "Target",
    "VersionStatus",
    "VersionTuple",
]
