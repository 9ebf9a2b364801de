"""The gRPC front end: TensorFlow Serving, Open Inference, recserve's own ranking, health and reflection on one port.

    turn.py              the time that a call has, and whether its caller still waits
    failures.py          errors → gRPC codes, texts and details
    endpoints.py         a method and what answers it; how a call gets to a rank thread and back
    tfs_specs.py         which model a request means; TensorFlow Serving's words
    tfs_prediction.py    PredictionService
    tfs_models.py        ModelService
    oip_inference.py     ModelInfer and ModelStreamInfer
    oip_models.py        the rest of GRPCInferenceService
    ranking.py           recserve.v1.Ranking
    health.py            grpc.health.v1 and reflection
    server.py            the port and its event loop

What answers a call is a plain function from a request message and a `Turn` to a response message; only `endpoints.py`,
`health.py` and `server.py` know gRPC's server.
"""
