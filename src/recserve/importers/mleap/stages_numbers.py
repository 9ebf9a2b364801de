"""MLeap's ops on single numbers, tables of texts, and locality-sensitive hashes."""

from __future__ import annotations

import math

import numpy as np

from recserve.importers.mleap.nodes import BundleNode
from recserve.importers.mleap.stages import give, input_name, input_vector, numbered, stage
from recserve.importers.pipelines import encoders, texts
from recserve.importers.pipelines.frame import Frame
from recserve.importers.pipelines.vectors import Vector

_UNARY = {
    "log": "log",
    "exp": "exp",
    "sqrt": "sqrt",
    "sin": "sin",
    "cos": "cos",
    "tan": "tan",
    "abs": "abs",
    "logit": "logit",
    "floor": "floor",
    "ceil": "ceil",
    "round": "round_half_up",
}
_BINARY = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "div": "divide",
    "rem": "remainder",
    "pow": "power",
    "min": "min",
    "max": "max",
}


@stage("math_unary")
def math_unary(frame: Frame, node: BundleNode) -> None:
    """A function of a number."""
    operation = node.model.attributes.text("operation")
    if operation not in _UNARY:
        raise node.model.unsupported(f"operation {operation!r} is none of {', '.join(_UNARY)}")
    give(frame, node, frame.graph.apply(_UNARY[operation], frame.number(input_name(node))))


@stage("math_binary")
def math_binary(frame: Frame, node: BundleNode) -> None:
    """A function of two numbers, either of which may be a constant."""
    attributes, graph = node.model.attributes, frame.graph
    operation = attributes.text("operation")
    sides = []
    for port, default in (("input_a", "da"), ("input_b", "db")):
        # A port wins over a default, as in MLeap.
        constant = graph.constant(attributes.number(default)) if attributes.has(default) else None
        sides.append(frame.number(node.inputs[port]) if port in node.inputs else constant)
    first, second = sides
    if first is None or second is None:
        raise node.model.unsupported(f"operation {operation!r} lacks one of its two numbers")
    if operation == "log_n":
        result = graph.apply("divide", graph.apply("log", first), graph.apply("log", second))
    elif operation in _BINARY:
        result = graph.apply(_BINARY[operation], first, second)
    else:
        raise node.model.unsupported(f"operation {operation!r} is none of log_n, {', '.join(_BINARY)}")
    give(frame, node, result)


@stage("coalesce")
def coalesce(frame: Frame, node: BundleNode) -> None:
    """The first number that is not missing."""
    give(frame, node, frame.graph.apply("coalesce", *[frame.number(name) for name in numbered(node, "input")]))


@stage("string_map")
def string_map(frame: Frame, node: BundleNode) -> None:
    """Texts to numbers of a table."""
    attributes, graph, name = node.model.attributes, frame.graph, input_name(node)
    keys = [(label,) for label in attributes.texts("labels")]
    values, text = attributes.numbers("values"), frame.string(name)
    if attributes.text("handle_invalid", "error") == "keep":
        default = attributes.number("default_value", 0.0)
        give(frame, node, graph.apply("lookup", text, keys=keys, values=values, default=default, missing=default))
        return
    found = graph.apply("lookup", text, keys=keys, values=values)
    give(frame, node, encoders.refuse_missing(graph, found, f"column {name!r} has a value that the table lacks"))


@stage("regex_indexer")
def regex_indexer(frame: Frame, node: BundleNode) -> None:
    """The number that belongs to the first pattern that a text matches."""
    attributes, graph, name = node.model.attributes, frame.graph, input_name(node)
    text = frame.string(name)
    patterns = [texts.java_pattern(pattern) for pattern in attributes.texts("regexes")]
    matches = [graph.apply("find_pattern", text, pattern) for pattern in patterns]
    indices = [float(i) for i in attributes.integers("indices")]
    found = graph.apply("pick", graph.apply("first_true", *matches), values=indices, dtype="number")
    if attributes.has("default_value"):
        found = graph.apply("replace_missing", found, float(attributes.integer("default_value")))
    give(frame, node, encoders.refuse_missing(graph, found, f"column {name!r} matches no pattern"))


@stage("bucketed_random_projection_lsh")
def random_projection(frame: Frame, node: BundleNode) -> None:
    """⌊x·direction / length⌋ for each direction."""
    attributes, graph = node.model.attributes, frame.graph
    directions = np.stack(attributes.tensors("random_unit_vectors", 1))
    vector = input_vector(frame, node, directions.shape[1])
    length = attributes.number("bucket_length")
    hashes = [graph.apply("divide", value, length) for value in vector.dots(directions, [0.0] * len(directions))]
    give(frame, node, Vector.of(graph, [graph.apply("floor", value) for value in hashes]))


@stage("min_hash_lsh")
def min_hash(frame: Frame, node: BundleNode) -> None:
    """The least hash of the elements that are not zero, per hash function."""
    attributes, graph = node.model.attributes, frame.graph
    pairs = zip(attributes.integers("random_coefficients_a"), attributes.integers("random_coefficients_b"), strict=True)
    vector = input_vector(frame, node, attributes.integer("input_size", 0) or None)
    is_set = [graph.apply("not_equal", element, 0.0) for element in vector.elements()]
    message = f"column {input_name(node)!r} needs one element at least that is not zero"
    some = graph.apply("or", *is_set)
    hashes = []
    for a, b in pairs:
        codes = [math.fmod(_int32((1 + i) * a + b), 2038074743) for i in range(vector.size)]
        shown = [graph.apply("select", flag, code, math.inf) for flag, code in zip(is_set, codes, strict=True)]
        hashes.append(graph.apply("fail", graph.apply("min", *shown), graph.apply("not", some), message=message))
    give(frame, node, Vector.of(graph, hashes))


def _int32(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value
