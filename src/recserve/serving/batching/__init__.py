"""Small predict calls of several requests, run as one.

- `parameters`: how calls are batched, as TensorFlow Serving's batching file says it.
- `queue`: calls that wait for a batch, and the threads that run batches.
- `model`: a model whose calls are batched.
"""
