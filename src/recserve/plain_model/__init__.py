"""Plain models: any ONNX graph in a version's directory, served as it is.

    <base>/<name>/<version>/
    ├── model.onnx      the graph; large weights may stand in files beside it
    └── model.json      optional: signatures, names, labels

    declared.py   model.json: what the author declares
    strings.py    string tensors: `bytes` of the protocols, `str` of the engine
    model.py      `PlainModel`: signatures, conversion, the run

`open_plain_model` opens one.
"""

from recserve.plain_model.model import MODEL_FILE, PlainModel, open_plain_model

__all__ = ["MODEL_FILE", "PlainModel", "open_plain_model"]
