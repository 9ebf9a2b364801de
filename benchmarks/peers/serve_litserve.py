"""LitServe, one worker a model. Usage: serve_litserve.py MODELS PORT.

`/<model>/json` takes {"inputs": {name: rows}}; `/<model>/multipart` a form, LitServe's way to take bytes.
"""

import sys
from typing import Any

import litserve
from fastapi import Request, Response
from graphs import MODELS, Graph


class JsonApi(litserve.LitAPI):
    """Scores of a JSON body."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        """Load the model."""
        self.graph = Graph(sys.argv[1], self.api_path.split("/")[1])

    def decode_request(self, request: dict[str, Any]) -> Any:
        """The columns."""
        return request["inputs"]

    def predict(self, columns: Any) -> Any:
        """The scores."""
        return self.graph.run_lists(columns)

    def encode_response(self, scores: Any) -> dict[str, Any]:
        """As JSON."""
        return {"outputs": scores.tolist()}


class FormApi(JsonApi):
    """Scores of a form with one file."""

    def decode_request(self, request: Request) -> Any:
        """The bytes of the file."""
        return request["data"].file.read()

    def predict(self, content: bytes) -> Any:
        """The scores."""
        return self.graph.run_bytes(content)

    def encode_response(self, scores: Any) -> Response:
        """As bytes."""
        return Response(scores.tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    kinds = {"json": JsonApi, "multipart": FormApi}
    apis = [kind(max_batch_size=1, api_path=f"/{name}/{way}") for name in MODELS for way, kind in kinds.items()]
    server = litserve.LitServer(
        apis, accelerator="cpu", workers_per_device=1, timeout=120, max_payload_size=200 * 2**20
    )
    server.run(port=int(sys.argv[2]), num_api_servers=1, generate_client_file=False, log_level="error")
