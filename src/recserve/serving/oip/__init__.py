"""The Open Inference Protocol (KServe V2, Triton) over REST.

datatypes.py      names of datatypes ↔ dtypes of signatures
bytes_tensor.py   BYTES tensors ↔ length-prefixed bytes, compiled in bytes_kernels.py
tensors.py        one tensor ↔ JSON `data` or bytes
shapes.py         what a model's shapes say of batches and of raw requests
header.py         where the JSON of a body ends and its binary data begin
infer_request.py  request bytes → `InferRequest`
infer_answer.py   outputs → answer bytes
inference.py      `InferRequest` → outputs, in the protocol's words
metadata.py       models and the server, described
repository.py     index, load and unload
paths.py          what a URL asks for
app.py            the ASGI application

Import the modules; this package imports none of them.
"""
