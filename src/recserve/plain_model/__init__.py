"""Plain models: any ONNX graph in a version's directory, served as it is. TensorFlow, if it is installed, runs others.

    <base>/<name>/<version>/
    ├── model.onnx      the graph; large weights may stand in files beside it
    ├── saved_model/    or a SavedModel with ops that ONNX lacks; it may also stand in the version's directory itself
    └── model.json      optional: signatures, names, labels, engine

    declared.py   model.json: what the author declares
    engines.py    what runs the graph
    strings.py    string tensors: `bytes` of the protocols, `str` of the engine
    model.py      `PlainModel`: signatures, conversion, the run

`open_plain_model` opens one.
"""

from recserve.plain_model.engines import MODEL_FILE, has_plain_model
from recserve.plain_model.model import PlainModel, open_plain_model

__all__ = ["MODEL_FILE", "PlainModel", "has_plain_model", "open_plain_model"]
