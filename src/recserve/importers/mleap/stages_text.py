"""MLeap's ops on texts and lists of words."""

from __future__ import annotations

import numpy as np

from recserve.importers.mleap.nodes import BundleNode
from recserve.importers.mleap.stages import give, input_name, input_vector, numbered, stage
from recserve.importers.pipelines import encoders, texts
from recserve.importers.pipelines.frame import Frame, Tokens
from recserve.importers.pipelines.pieces import Summed
from recserve.importers.pipelines.vectors import Vector


@stage("tokenizer")
def tokenizer(frame: Frame, node: BundleNode) -> None:
    """Words in lower case, split at white space."""
    give(frame, node, texts.split_words(_text(frame, node), r"\s", lower=True))


@stage("regex_tokenizer")
def regex_tokenizer(frame: Frame, node: BundleNode) -> None:
    """Words between, or of, matches of a pattern."""
    attributes = node.model.attributes
    words = texts.split_words(
        _text(frame, node),
        attributes.text("regex"),
        lower=attributes.flag("lowercase_text", default=True),
        gaps=attributes.flag("match_gaps", default=True),
        shortest=attributes.integer("token_min_length", 1),
    )
    give(frame, node, words)


def _text(frame: Frame, node: BundleNode) -> Tokens:
    name = input_name(node)
    return Tokens(encoders.refuse_missing(frame.graph, frame.string(name), f"text {name!r} is missing"))


def _tokens(frame: Frame, node: BundleNode) -> Tokens:
    return frame.tokens(input_name(node))


@stage("ngram")
def ngram(frame: Frame, node: BundleNode) -> None:
    """Runs of n words."""
    give(frame, node, _tokens(frame, node).then("ngrams", node.model.attributes.integer("n")))


@stage("stopwords_remover")
def stopwords_remover(frame: Frame, node: BundleNode) -> None:
    """Without some words."""
    attributes = node.model.attributes
    step = "stop", attributes.texts("stop_words"), attributes.flag("case_sensitive", default=False)
    give(frame, node, _tokens(frame, node).then(*step))


@stage("word_filter")
def word_filter(frame: Frame, node: BundleNode) -> None:
    """Words of letters that are longer than some length."""
    give(frame, node, _tokens(frame, node).then("letters_longer", node.model.attributes.integer("length")))


@stage("hashing_term_frequency")
def hashing_term_frequency(frame: Frame, node: BundleNode) -> None:
    """Counts of terms by their hash."""
    attributes = node.model.attributes
    tail = "words" if attributes.integer("hashUnsafeBytesVersion", 1) == 1 else "standard"
    width, binary = attributes.integer("num_features"), attributes.flag("binary", default=False)
    give(frame, node, texts.hash_terms(frame.graph, _tokens(frame, node), width, binary=binary, tail=tail))


@stage("count_vectorizer")
def count_vectorizer(frame: Frame, node: BundleNode) -> None:
    """Counts of the words of a vocabulary."""
    attributes, name = node.model.attributes, input_name(node)
    words, least = attributes.texts("vocabulary"), attributes.number("min_tf", 0.0)
    tokens = frame.tokens(name)
    give(frame, node, texts.count_terms(frame.graph, tokens, words, binary=attributes.flag("binary"), least=least))


@stage("idf")
def idf(frame: Frame, node: BundleNode) -> None:
    """Counts times inverse document frequencies."""
    weights = node.model.attributes.vector("idf")
    give(frame, node, texts.with_inverse_frequencies(input_vector(frame, node, len(weights)), weights))


@stage("word_to_vector")
def word_to_vector(frame: Frame, node: BundleNode) -> None:
    """The mean, or the normalised sum, of the vectors of words."""
    attributes = node.model.attributes
    words, data = attributes.texts("words"), attributes.vector("word_vectors")
    indices = attributes.integers("indices") if attributes.has("indices") else list(range(len(words)))
    if not words or len(data) % len(words) or sorted(indices) != list(range(len(words))):
        raise attributes.wrong("word_vectors", f"has {len(data)} numbers for {len(words)} words")
    vectors = data.reshape(len(words), -1)[np.array(indices)]
    kernel = attributes.text("kernel", "default")
    combine = {"default": texts.average_words, "sqrt": texts.unit_words}.get(kernel)
    if combine is None:
        raise node.model.unsupported(f"kernel {kernel!r} of word_to_vector is neither 'default' nor 'sqrt'")
    give(frame, node, combine(frame.graph, _tokens(frame, node), words, vectors))


@stage("feature_hasher")
def feature_hasher(frame: Frame, node: BundleNode) -> None:
    """Numbers at the place of their column's hash, categories at that of `column=value`."""
    attributes, graph = node.model.attributes, frame.graph
    width = attributes.integer("num_features")
    categorical = set(attributes.texts("categorical_cols")) if attributes.has("categorical_cols") else set()
    types = attributes.content.get("basic_types", {}).get("basic_type", [])
    vectors = []
    for name, label, kind in zip(numbered(node, "input"), attributes.texts("input_names"), types, strict=True):
        if label not in categorical and kind in {"short", "double", "float", "int", "long"}:
            vectors.append(texts.hash_number(graph, frame.number(name), label, width))
        else:
            vectors.append(texts.hash_category(graph, frame.string(name), label, width))
    give(frame, node, Vector(graph, [Summed(tuple(vectors))]))
