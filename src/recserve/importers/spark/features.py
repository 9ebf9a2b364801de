"""Spark's feature stages, each as what it makes of a frame's columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recserve.importers.pipelines import encoders, scalers, texts
from recserve.importers.pipelines.frame import Column, Frame, Tokens, as_string
from recserve.importers.pipelines.pieces import Summed
from recserve.importers.pipelines.vectors import Vector, concatenate
from recserve.importers.spark.saved import SavedStage, dense_vector
from recserve.scoring.graph import Value


@dataclass
class Pipeline:
    """A pipeline while it is read: the frame, and what Spark keeps as metadata of columns.

    Attributes:
        frame: of columns.
        labels: names of the categories of an index column.
    """

    frame: Frame
    labels: dict[str, list[str]] = field(default_factory=dict)


Stage = Callable[[Pipeline, SavedStage], None]
STAGES: dict[str, Stage] = {}
"""Every stage by its class without the package."""


def stage(*names: str) -> Callable[[Stage], Stage]:
    """Decorator that registers the reader of a stage under its class names."""

    def register(function: Stage) -> Stage:
        for name in names:
            STAGES[name] = function
        return function

    return register


def _input(pipeline: Pipeline, saved: SavedStage, size: int | None = None) -> Vector:
    return pipeline.frame.vector(str(saved.param("inputCol")), size)


def _give(pipeline: Pipeline, saved: SavedStage, column: Column) -> None:
    pipeline.frame.put(str(saved.param("outputCol")), column)


def _handle(saved: SavedStage) -> str:
    return str(saved.param("handleInvalid", "error"))


def _pairs(saved: SavedStage) -> list[tuple[str, str]]:
    sources, targets = saved.columns("inputCol", "inputCols"), saved.columns("outputCol", "outputCols")
    if len(sources) != len(targets):
        raise saved.wrong(f"there are {len(sources)} input columns and {len(targets)} output columns")
    return list(zip(sources, targets, strict=True))


@stage("StringIndexerModel")
def string_indexer(pipeline: Pipeline, saved: SavedStage) -> None:
    """Texts to numbers."""
    row, frame, handle = saved.row(), pipeline.frame, _handle(saved)
    tables = row["labelsArray"] if row.get("labelsArray") is not None else [saved.field(row, "labels")]
    for (source, target), labels in zip(_pairs(saved), tables, strict=True):
        frame.put(target, encoders.index_strings(frame.graph, frame.string(source), labels, handle, source))
        pipeline.labels[target] = [*labels, "__unknown"] if handle == "keep" else list(labels)


@stage("IndexToString")
def index_to_string(pipeline: Pipeline, saved: SavedStage) -> None:
    """Numbers back to texts, by the labels of the stage, or of the indexer that made the column."""
    graph, source = pipeline.frame.graph, str(saved.param("inputCol"))
    labels = saved.params.get("labels") or pipeline.labels.get(source)
    if not labels:
        raise saved.wrong("the labels are neither in the stage nor known from an indexer", "unsupported_element")
    found = graph.apply("pick", pipeline.frame.number(source), values=labels, dtype="string")
    _give(pipeline, saved, encoders.refuse_missing(graph, found, f"column {source!r} has no label for this index"))


@stage("OneHotEncoderModel", "OneHotEncoderEstimatorModel")
def one_hot_encoder(pipeline: Pipeline, saved: SavedStage) -> None:
    """Numbers to one-hot codes."""
    frame, handle, drops = pipeline.frame, _handle(saved), bool(saved.param("dropLast", True))
    sizes = saved.field(saved.row(), "categorySizes")
    for (source, target), size in zip(_pairs(saved), sizes, strict=True):
        frame.put(
            target,
            encoders.one_hot(frame.graph, frame.number(source), int(size), handle, drop_last=drops, column=source),
        )


@stage("VectorAssembler")
def vector_assembler(pipeline: Pipeline, saved: SavedStage) -> None:
    """Numbers and vectors, one after the other; a missing number fails the row, unless invalid ones are kept."""
    frame, parts = pipeline.frame, []
    for name in saved.param("inputCols"):
        column = frame.get(name)
        parts.append(column if isinstance(column, Vector) else Vector.of(frame.graph, [frame.number(name)]))
    if _handle(saved) != "keep":
        require_values(frame, parts, f"a column that {saved.uid} assembles is missing")
    _give(pipeline, saved, concatenate(frame.graph, parts))


def require_values(frame: Frame, parts: Sequence[Vector], message: str) -> None:
    """Fail each row where the element of a single-element vector is missing."""
    graph = frame.graph
    singles = [part.element(0) for part in parts if part.size == 1]
    singles = [value for value in singles if encoders.known_codes(graph, value) is None]
    if singles:
        total = graph.apply("linear", *singles, weights=[0.0] * len(singles))
        graph.guard(encoders.refuse_missing(graph, total, message))


@stage("VectorSizeHint", "ColumnPruner", "VectorAttributeRewriter")
def unchanged(pipeline: Pipeline, saved: SavedStage) -> None:
    """Stages that change no value; a hint may fix the size of a vector that the caller gives."""
    if saved.kind == "VectorSizeHint":
        name = str(saved.param("inputCol"))
        pipeline.frame.vector(name, int(saved.param("size")))


@stage("StandardScalerModel")
def standard_scaler(pipeline: Pipeline, saved: SavedStage) -> None:
    """Centred and divided by the standard deviation, as far as the stage is told to."""
    row = saved.row()
    std, mean = saved.vector(row, "std"), saved.vector(row, "mean")
    vector = _input(pipeline, saved, len(std))
    is_scaled, is_centred = bool(saved.param("withStd", True)), bool(saved.param("withMean", False))
    _give(pipeline, saved, scalers.standardize(vector, mean if is_centred else None, std if is_scaled else None))


@stage("MinMaxScalerModel")
def min_max_scaler(pipeline: Pipeline, saved: SavedStage) -> None:
    """From the range of training to another."""
    row = saved.row()
    low, high = saved.vector(row, "originalMin"), saved.vector(row, "originalMax")
    target = saved.number("min", 0.0), saved.number("max", 1.0)
    _give(pipeline, saved, scalers.rescale(_input(pipeline, saved, len(low)), low, high, target))


@stage("MaxAbsScalerModel")
def max_abs_scaler(pipeline: Pipeline, saved: SavedStage) -> None:
    """Divided by the largest absolute value."""
    largest = saved.vector(saved.row(), "maxAbs")
    vector = _input(pipeline, saved, len(largest))
    _give(pipeline, saved, vector.scale(1.0 / np.where(largest == 0.0, 1.0, largest)))


@stage("RobustScalerModel")
def robust_scaler(pipeline: Pipeline, saved: SavedStage) -> None:
    """Centred at the median and divided by a range of quantiles, as far as the stage is told to."""
    row = saved.row()
    spread, median = saved.vector(row, "range"), saved.vector(row, "median")
    is_scaled, is_centred = bool(saved.param("withScaling", True)), bool(saved.param("withCentering", False))
    vector = _input(pipeline, saved, len(spread))
    _give(pipeline, saved, scalers.standardize(vector, median if is_centred else None, spread if is_scaled else None))


@stage("Normalizer")
def normalizer(pipeline: Pipeline, saved: SavedStage) -> None:
    """Divided by the p-norm."""
    _give(pipeline, saved, scalers.normalize(_input(pipeline, saved), saved.number("p", 2.0)))


@stage("Binarizer")
def binarizer(pipeline: Pipeline, saved: SavedStage) -> None:
    """1 above a threshold."""
    frame, pairs = pipeline.frame, _pairs(saved)
    thresholds = saved.params.get("thresholds") or [saved.number("threshold", 0.0)] * len(pairs)
    for (source, target), threshold in zip(pairs, thresholds, strict=True):
        column = frame.get(source)
        if isinstance(column, Vector):
            frame.put(target, scalers.binarize(column, np.full(column.size, float(threshold))))
        else:
            greater = frame.graph.apply("greater", frame.number(source), float(threshold))
            frame.put(target, frame.graph.apply("boolean_to_number", greater))


@stage("Bucketizer")
def bucketizer(pipeline: Pipeline, saved: SavedStage) -> None:
    """The number of the interval."""
    frame, pairs = pipeline.frame, _pairs(saved)
    tables = saved.params["splitsArray"] if "inputCols" in saved.params else [saved.param("splits")]
    for (source, target), splits in zip(pairs, tables, strict=True):
        ends = [_number(split) for split in splits]
        handle = _handle(saved)
        frame.put(target, encoders.bucketize(frame.graph, frame.number(source), ends, handle, source))
        pipeline.labels[target] = [str(i) for i in range(len(ends) - 1 + (handle == "keep"))]


def _number(text: Any) -> float:
    """A number, or what Spark's JSON writes for infinities."""
    return {"-Inf": -math.inf, "Inf": math.inf, "NaN": math.nan}.get(text) or float(text)


@stage("ImputerModel")
def imputer(pipeline: Pipeline, saved: SavedStage) -> None:
    """A surrogate for missing values."""
    frame, row = pipeline.frame, saved.row()
    missing = saved.number("missingValue", math.nan)
    for source, target in _pairs(saved):
        surrogate = float(saved.field(row, source))
        frame.put(target, encoders.impute(frame.graph, frame.number(source), surrogate, missing))


@stage("Interaction")
def interaction(pipeline: Pipeline, saved: SavedStage) -> None:
    """Products of one element of each column; index columns count as one-hot codes."""
    frame, vectors = pipeline.frame, []
    for name in saved.param("inputCols"):
        if name in pipeline.labels:
            vectors.append(encoders.nominal(frame.graph, frame.number(name), len(pipeline.labels[name]), name))
            continue
        column = frame.get(name)
        source = column if isinstance(column, Vector) else Vector.of(frame.graph, [frame.number(name)])
        require_values(frame, [source], f"column {name!r} of an interaction is missing")
        vectors.append(source)
    _give(pipeline, saved, encoders.interact(frame.graph, vectors))


@stage("PolynomialExpansion")
def polynomial_expansion(pipeline: Pipeline, saved: SavedStage) -> None:
    """All monomials up to a degree."""
    vector = _input(pipeline, saved)
    rows = scalers.monomials(vector.size, int(saved.param("degree", 2)))
    _give(pipeline, saved, scalers.products(vector, rows))


@stage("DCT")
def dct(pipeline: Pipeline, saved: SavedStage) -> None:
    """The scaled discrete cosine transform."""
    vector = _input(pipeline, saved)
    matrix = scalers.cosine_matrix(vector.size, bool(saved.param("inverse", False)))
    _give(pipeline, saved, scalers.project(vector, matrix))


@stage("PCAModel")
def pca(pipeline: Pipeline, saved: SavedStage) -> None:
    """Projections on the principal components [size, components]."""
    components = saved.matrix(saved.row(), "pc")
    _give(pipeline, saved, scalers.project(_input(pipeline, saved, len(components)), components.T))


@stage("ElementwiseProduct")
def elementwise_product(pipeline: Pipeline, saved: SavedStage) -> None:
    """Each element times a constant."""
    factors = dense_vector(saved.param("scalingVec"))
    _give(pipeline, saved, _input(pipeline, saved, len(factors)).scale(factors))


@stage("ChiSqSelectorModel", "UnivariateFeatureSelectorModel", "VarianceThresholdSelectorModel")
def selector(pipeline: Pipeline, saved: SavedStage) -> None:
    """Some elements, in their order."""
    name = str(saved.param("featuresCol"))
    chosen = sorted(int(i) for i in saved.field(saved.row(), "selectedFeatures"))
    _give(pipeline, saved, pipeline.frame.vector(name).slice(chosen))


@stage("VectorSlicer")
def vector_slicer(pipeline: Pipeline, saved: SavedStage) -> None:
    """Some elements by number."""
    if saved.params.get("names"):
        raise saved.wrong("elements are chosen by name; names of elements are not saved", "unsupported_element")
    _give(pipeline, saved, _input(pipeline, saved).slice([int(i) for i in saved.param("indices")]))


@stage("VectorIndexerModel")
def vector_indexer(pipeline: Pipeline, saved: SavedStage) -> None:
    """Categorical elements to numbers."""
    row = saved.row()
    maps = {int(key): dict(_items(value)) for key, value in _items(saved.field(row, "categoryMaps"))}
    vector = _input(pipeline, saved, int(saved.field(row, "numFeatures")))
    _give(pipeline, saved, encoders.index_vector(vector, maps, _handle(saved), str(saved.param("inputCol"))))


def _items(table: Any) -> list[tuple[Any, Any]]:
    """The pairs of a map, as pyarrow gives it."""
    return list(table.items()) if isinstance(table, Mapping) else [(key, value) for key, value in table]


@stage("Tokenizer", "RegexTokenizer")
def tokenizer(pipeline: Pipeline, saved: SavedStage) -> None:
    """Words in lower case, split at white space, or by a pattern."""
    frame = pipeline.frame
    for source, target in _pairs(saved):
        text = encoders.refuse_missing(frame.graph, frame.string(source), f"text {source!r} is missing")
        if saved.kind == "Tokenizer":
            frame.put(target, texts.split_words(Tokens(text), r"\s", lower=True))
            continue
        words = texts.split_words(
            Tokens(text),
            str(saved.param("pattern", r"\s+")),
            lower=bool(saved.param("toLowercase", True)),
            gaps=bool(saved.param("gaps", True)),
            shortest=int(saved.param("minTokenLength", 1)),
        )
        frame.put(target, words)


@stage("NGram")
def ngram(pipeline: Pipeline, saved: SavedStage) -> None:
    """Runs of n words."""
    tokens = pipeline.frame.tokens(str(saved.param("inputCol")))
    _give(pipeline, saved, tokens.then("ngrams", int(saved.param("n", 2))))


@stage("StopWordsRemover")
def stop_words_remover(pipeline: Pipeline, saved: SavedStage) -> None:
    """Without some words."""
    step = "stop", list(saved.param("stopWords")), bool(saved.param("caseSensitive", False))
    for source, target in _pairs(saved):
        pipeline.frame.put(target, pipeline.frame.tokens(source).then(*step))


@stage("HashingTF")
def hashing_tf(pipeline: Pipeline, saved: SavedStage) -> None:
    """Counts of terms by their hash; Spark 2 hashed the last bytes in its own way."""
    frame = pipeline.frame
    tokens, width = frame.tokens(str(saved.param("inputCol"))), int(saved.param("numFeatures", 1 << 18))
    tail = "words" if saved.version < (3, 0) else "standard"
    binary = bool(saved.param("binary", False))
    _give(pipeline, saved, texts.hash_terms(frame.graph, tokens, width, binary=binary, tail=tail))


@stage("CountVectorizerModel")
def count_vectorizer(pipeline: Pipeline, saved: SavedStage) -> None:
    """Counts of the words of a vocabulary."""
    frame = pipeline.frame
    words, least = saved.field(saved.row(), "vocabulary"), saved.number("minTF", 1.0)
    tokens, binary = frame.tokens(str(saved.param("inputCol"))), bool(saved.param("binary", False))
    _give(pipeline, saved, texts.count_terms(frame.graph, tokens, words, binary=binary, least=least))


@stage("IDFModel")
def idf(pipeline: Pipeline, saved: SavedStage) -> None:
    """Counts times inverse document frequencies."""
    weights = saved.vector(saved.row(), "idf")
    _give(pipeline, saved, texts.with_inverse_frequencies(_input(pipeline, saved, len(weights)), weights))


@stage("Word2VecModel")
def word2vec(pipeline: Pipeline, saved: SavedStage) -> None:
    """The mean of the vectors of words."""
    frame, rows = pipeline.frame, saved.rows()
    words = [str(saved.field(row, "word")) for row in rows]
    vectors = np.array([saved.vector(row, "vector") for row in rows])
    tokens = frame.tokens(str(saved.param("inputCol")))
    _give(pipeline, saved, texts.average_words(frame.graph, tokens, words, vectors))


@stage("FeatureHasher")
def feature_hasher(pipeline: Pipeline, saved: SavedStage) -> None:
    """Numbers at the place of their column's hash, categories at that of `column=value`.

    Spark looks at the types of columns, which are not saved: what the caller gives as a number, or as a text that is
    one, is a number.
    """
    frame, graph = pipeline.frame, pipeline.frame.graph
    width, categorical = int(saved.param("numFeatures", 1 << 18)), set(saved.params.get("categoricalCols") or [])
    vectors = []
    for name in saved.param("inputCols"):
        if name in categorical:
            vectors.append(texts.hash_category(graph, frame.string(name), name, width))
        elif frame.has(name):
            column = frame.get(name)
            is_number = isinstance(column, Value) and column.dtype == "number"
            vectors.append(
                texts.hash_number(graph, frame.number(name), name, width)
                if is_number
                else texts.hash_category(graph, frame.string(name), name, width)
            )
        else:
            number, text = graph.input(name, "number"), frame.input(name, "string")
            is_text = graph.apply("select", number.unparsed, as_string(graph, text), graph.missing("string"))
            vectors.append(texts.hash_number(graph, number, name, width))
            vectors.append(texts.hash_category(graph, is_text, name, width))
            frame.report.notes.append(f"Column {name!r} of a FeatureHasher is a number where its text is one.")
    _give(pipeline, saved, Vector(graph, [Summed(tuple(vectors))]))
