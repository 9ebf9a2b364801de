"""The protobuf messages of every wire that recserve speaks, and tensors ↔ messages. Knows no transport.

    protos/               the .proto files, written from public field names and numbers
    descriptors.binpb     what protoc made of them; `make protos` makes it anew
    pool.py               a private pool of these descriptors: message classes and the methods of services
    tensorflow_serving.py message classes of TensorFlow Serving
    open_inference.py     message classes of the Open Inference Protocol
    ranking.py            message classes of recserve's own ranking service, and the details of errors
    element_count.py      how many elements a shape has, checked before anything is allocated
    tensor_proto.py       TensorProto ↔ NumPy
    infer_tensor.py       tensors of the Open Inference Protocol ↔ NumPy
    values.py             ids and columns of the ranking service ↔ NumPy and lists
    examples.py           tf.Example ↔ features

The pool is private, so that `tensorflow`, `tensorflow-serving-api` and `tritonclient`, whose files define messages of
the same full names in the process-wide pool, can be imported into the same process, before or after.
"""
