"""The dense graph: load a flat ONNX network, find the rate of every value, rewrite it, split it, run it."""
