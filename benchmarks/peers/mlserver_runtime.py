"""The runtime that MLServer loads: a graph in ONNX Runtime behind the Open Inference Protocol."""

from __future__ import annotations

from graphs import Graph
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxRuntime(MLModel):
    """A model of the benchmark."""

    async def load(self) -> bool:
        """Open the graph; the folder of the models is its URI."""
        self.graph = Graph(str(self.settings.parameters.uri), self.name)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The scores."""
        feeds = {
            tensor.name: NumpyCodec.decode_input(tensor).astype(self.graph.dtypes[tensor.name], copy=False)
            for tensor in payload.inputs
        }
        scores = self.graph.run(feeds)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", scores)])
