"""Out again: scoring programs as PMML 4.4 or ONNX, for teams that serve elsewhere.

    graph.py   what both need: which checks of raw cells have a counterpart, trees as nodes
    pmml.py    `to_pmml`
    onnx.py    `to_onnx`

An op without an exact counterpart is refused by name ("not_exportable"): nothing is approximated in silence.
"""
