"""MLeap's feature ops, each as what it makes of a frame's columns.

The rules are those of MLeap's runtime; where its result would be an exception, the row fails.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np

from recserve.importers.mleap.nodes import BundleNode
from recserve.importers.pipelines import encoders, scalers
from recserve.importers.pipelines.frame import Column, Frame
from recserve.importers.pipelines.vectors import Vector, concatenate

Stage = Callable[[Frame, BundleNode], None]

STAGES: dict[str, Stage] = {}
"""Every feature op by its name in bundles."""


def stage(*names: str) -> Callable[[Stage], Stage]:
    """Decorator that registers the reader of an op under its names."""

    def register(function: Stage) -> Stage:
        for name in names:
            STAGES[name] = function
        return function

    return register


def input_name(node: BundleNode, port: str = "input") -> str:
    """The column at an input port."""
    if port not in node.inputs:
        raise node.model.unsupported(f"node {node.name!r} has no input port {port!r}; it has {sorted(node.inputs)}")
    return node.inputs[port]


def numbered(node: BundleNode, side: str) -> list[str]:
    """The columns at ports `input0`, `input1` … (or `output…`) in order; `input` alone in old bundles."""
    ports = node.inputs if side == "input" else node.outputs
    found = {}
    for port, name in ports.items():
        match = re.fullmatch(rf"{side}(\d*)", port)
        if match is not None:
            found[int(match.group(1) or 0)] = name
    return [found[i] for i in sorted(found)]


def give(frame: Frame, node: BundleNode, column: Column, port: str = "output") -> None:
    """Put what a stage makes under the name at an output port, where the node has the port."""
    if port in node.outputs:
        frame.put(node.outputs[port], column)


def input_vector(frame: Frame, node: BundleNode, size: int | None = None) -> Vector:
    """The vector at the port `input`."""
    return frame.vector(input_name(node), size)


@stage("string_indexer")
def string_indexer(frame: Frame, node: BundleNode) -> None:
    """Texts to numbers; the first generation has one column, the second several."""
    attributes = node.model.attributes
    handle = attributes.text("handle_invalid", "error")
    count = attributes.integer("labels_length", -1)
    names = ["labels"] if count < 0 else [f"labels_array_{i}" for i in range(count)]
    for name, source, target in zip(names, numbered(node, "input"), numbered(node, "output"), strict=True):
        text = frame.string(source)
        frame.put(target, encoders.index_strings(frame.graph, text, attributes.texts(name), handle, source))


@stage("reverse_string_indexer")
def reverse_string_indexer(frame: Frame, node: BundleNode) -> None:
    """Numbers back to texts."""
    graph, labels = frame.graph, node.model.attributes.texts("labels")
    found = graph.apply("pick", frame.number(input_name(node)), values=labels, dtype="string")
    give(frame, node, encoders.refuse_missing(graph, found, f"node {node.name!r} has no label for this index"))


@stage("one_hot_encoder")
def one_hot_encoder(frame: Frame, node: BundleNode) -> None:
    """Numbers to one-hot codes; the first generation has one column, the second several."""
    attributes = node.model.attributes
    drops = attributes.flag("drop_last")
    if attributes.has("size"):
        sizes = [attributes.integer("size")]
        handle = attributes.text("handle_invalid", "keep" if drops else "error")
    else:
        sizes, handle = attributes.integers("category_sizes"), attributes.text("handle_invalid")
    for size, source, target in zip(sizes, numbered(node, "input"), numbered(node, "output"), strict=True):
        frame.put(
            target, encoders.one_hot(frame.graph, frame.number(source), size, handle, drop_last=drops, column=source)
        )


@stage("vector_assembler")
def vector_assembler(frame: Frame, node: BundleNode) -> None:
    """Numbers and vectors, one after the other; a number that is missing fails the row."""
    names = numbered(node, "input")
    sizes = node.model.attributes.shapes("input_shapes") if node.model.attributes.has("input_shapes") else []
    sizes += [None] * (len(names) - len(sizes))
    parts = []
    for name, size in zip(names, sizes, strict=False):
        is_vector = size is not None and size > 1 and not frame.has(name)
        column = frame.vector(name, size) if is_vector else frame.get(name)
        parts.append(column if isinstance(column, Vector) else Vector.of(frame.graph, [frame.number(name)]))
    require_values(frame, parts, f"a column that {node.name!r} assembles is missing")
    give(frame, node, concatenate(frame.graph, parts))


def require_values(frame: Frame, parts: list[Vector], message: str) -> None:
    """Fail each row where an element of single-element vectors is missing."""
    graph = frame.graph
    singles = [part.element(0) for part in parts if part.size == 1]
    singles = [value for value in singles if encoders.known_codes(graph, value) is None]
    if singles:
        total = graph.apply("linear", *singles, weights=[0.0] * len(singles))
        graph.guard(encoders.refuse_missing(graph, total, message))


@stage("standard_scaler")
def standard_scaler(frame: Frame, node: BundleNode) -> None:
    """Centred and divided by the standard deviation."""
    mean, std = (node.model.attributes.optional_vector(name) for name in ("mean", "std"))
    known = std if mean is None else mean
    if known is None:
        raise node.model.attributes.wrong("std", "and 'mean' are both absent")
    give(frame, node, scalers.standardize(input_vector(frame, node, len(known)), mean, std))


@stage("min_max_scaler")
def min_max_scaler(frame: Frame, node: BundleNode) -> None:
    """From the range of training to another."""
    attributes = node.model.attributes
    low, high = attributes.vector("min"), attributes.vector("max")
    target = attributes.number("minValue", 0.0), attributes.number("maxValue", 1.0)
    give(frame, node, scalers.rescale(input_vector(frame, node, len(low)), low, high, target))


@stage("max_abs_scaler")
def max_abs_scaler(frame: Frame, node: BundleNode) -> None:
    """Divided by the largest absolute value, within [-1, 1]."""
    largest = node.model.attributes.vector("maxAbs")
    give(frame, node, scalers.divide_clamped(input_vector(frame, node, len(largest)), largest))


@stage("normalizer")
def normalizer(frame: Frame, node: BundleNode) -> None:
    """Divided by the p-norm."""
    size = node.model.attributes.integer("input_size", 0) or None
    give(frame, node, scalers.normalize(input_vector(frame, node, size), node.model.attributes.number("p_norm")))


@stage("binarizer", "sklearn_binarizer")
def binarizer(frame: Frame, node: BundleNode) -> None:
    """1 above the threshold."""
    threshold, name = node.model.attributes.number("threshold"), input_name(node)
    sizes = node.model.attributes.shapes("input_shapes") if node.model.attributes.has("input_shapes") else [None]
    size = sizes[0] if sizes and sizes[0] is not None and sizes[0] > 1 else None
    column = frame.vector(name, size) if size else frame.get(name)
    if isinstance(column, Vector):
        give(frame, node, scalers.binarize(column, np.full(column.size, threshold)))
        return
    greater = frame.graph.apply("greater", frame.number(name), threshold)
    give(frame, node, frame.graph.apply("boolean_to_number", greater))


@stage("bucketizer")
def bucketizer(frame: Frame, node: BundleNode) -> None:
    """The number of the interval; the ends are open to all numbers where they are infinite."""
    splits = node.model.attributes.numbers("splits")
    # Old bundles write the infinite ends as the largest numbers.
    splits = [math.copysign(math.inf, s) if abs(s) >= 1.7976931348623157e308 else s for s in splits]
    handle, name = node.model.attributes.text("handle_invalid", "error"), input_name(node)
    give(frame, node, encoders.bucketize(frame.graph, frame.number(name), splits, handle, name))


@stage("imputer")
def imputer(frame: Frame, node: BundleNode) -> None:
    """A surrogate for missing values."""
    attributes = node.model.attributes
    surrogate, missing = attributes.number("surrogate_value"), attributes.number("missing_value", math.nan)
    give(frame, node, encoders.impute(frame.graph, frame.number(input_name(node)), surrogate, missing))


@stage("interaction")
def interaction(frame: Frame, node: BundleNode) -> None:
    """Products of one element of each input, nominal elements as one-hot codes."""
    attributes = node.model.attributes
    specs = [attributes.integers(f"num_features{i}") for i in range(attributes.integer("num_inputs"))]
    vectors = []
    for name, spec in zip(numbered(node, "input"), specs, strict=True):
        column = frame.vector(name, len(spec)) if len(spec) > 1 else frame.get(name)
        source = column if isinstance(column, Vector) else Vector.of(frame.graph, [frame.number(name)])
        require_values(frame, [source], f"column {name!r} of an interaction is missing")
        if all(size == 1 for size in spec):
            vectors.append(source)
            continue
        parts = [
            source.slice([i]) if size == 1 else encoders.nominal(frame.graph, source.element(i), size, name)
            for i, size in enumerate(spec)
        ]
        vectors.append(concatenate(frame.graph, parts))
    give(frame, node, encoders.interact(frame.graph, vectors))


@stage("polynomial_expansion")
def polynomial_expansion(frame: Frame, node: BundleNode) -> None:
    """All monomials up to a degree."""
    size = node.model.attributes.integer("input_size", 0) or None
    vector = input_vector(frame, node, size)
    give(frame, node, scalers.products(vector, scalers.monomials(vector.size, node.model.attributes.integer("degree"))))


@stage("sklearn_polynomial_expansion")
def sklearn_polynomial_expansion(frame: Frame, node: BundleNode) -> None:
    """Monomials spelt out as scikit-learn names them: `[x0,x1,x0^2,x0 x1]`."""
    terms = [
        [(int(index), int(power or 1)) for index, power in re.findall(r"x(\d+)(?:\^(\d+))?", one)]
        for one in node.model.attributes.text("combinations").split(",")
    ]
    size = 1 + max((index for term in terms for index, _ in term), default=0)
    name = input_name(node)
    vector = frame.vector(name, None if frame.has(name) else size)
    rows = [[sum(power for index, power in term if index == i) for i in range(size)] for term in terms]
    give(frame, node, scalers.products(vector, rows))


@stage("dct")
def dct(frame: Frame, node: BundleNode) -> None:
    """The scaled discrete cosine transform."""
    size = node.model.attributes.integer("input_size", 0) or None
    vector = input_vector(frame, node, size)
    matrix = scalers.cosine_matrix(vector.size, node.model.attributes.flag("inverse"))
    give(frame, node, scalers.project(vector, matrix))


@stage("pca")
def pca(frame: Frame, node: BundleNode) -> None:
    """Projections on the principal components, which lie in columns [size, components]; in rows from Python."""
    components = node.model.attributes.matrix("principal_components")
    rows = components if node.model.attributes.row_major else components.T
    give(frame, node, scalers.project(input_vector(frame, node, rows.shape[1]), rows))


@stage("elementwise_product")
def elementwise_product(frame: Frame, node: BundleNode) -> None:
    """Each element times a constant."""
    factors = node.model.attributes.vector("scaling_vec")
    give(frame, node, input_vector(frame, node, len(factors)).scale(factors))


@stage("chi_sq_selector")
def chi_sq_selector(frame: Frame, node: BundleNode) -> None:
    """Some elements."""
    size = node.model.attributes.integer("input_size", 0) or None
    give(frame, node, input_vector(frame, node, size).slice(node.model.attributes.integers("filter_indices")))


@stage("vector_slicer")
def vector_slicer(frame: Frame, node: BundleNode) -> None:
    """Some elements, those by number and then those by name."""
    attributes = node.model.attributes
    size = attributes.integer("input_size", 0) or None
    named = attributes.integers("named_indices") if attributes.has("named_indices") else []
    give(frame, node, input_vector(frame, node, size).slice(attributes.integers("indices") + named))


@stage("vector_indexer")
def vector_indexer(frame: Frame, node: BundleNode) -> None:
    """Categorical elements to numbers."""
    attributes = node.model.attributes
    maps = {
        key: dict(zip(attributes.numbers(f"key_{key}_keys"), attributes.integers(f"key_{key}_values"), strict=True))
        for key in attributes.integers("keys")
    }
    vector = input_vector(frame, node, attributes.integer("num_features"))
    handle = attributes.text("handle_invalid", "error")
    give(frame, node, encoders.index_vector(vector, maps, handle, input_name(node)))
