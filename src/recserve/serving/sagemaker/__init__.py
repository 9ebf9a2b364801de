"""SageMaker containers: /ping and /invocations, as three containers speak them.

    environment.py        what the platform says in environment variables, and `recserve serve` without arguments
    headers.py            custom attributes, content types, what an answer accepts
    instances.py          JSON, JSON lines and CSV → the JSON of TensorFlow Serving
    numpy_bodies.py       .npy and .npz bodies, in and out
    tensorflow_calls.py   a body answered by the TensorFlow Serving dialect
    tfs.py                the TensorFlow Serving container
    triton.py             the Triton container
    multi_model.py        multi-model endpoints: load, list, invoke, unload
    invocations.py        one /invocations for SageMaker and MLflow

Import the modules; this package imports none of them.
"""
