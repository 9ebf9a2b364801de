"""`TextIndex`: how often a term is in a text, lowered to the scoring core's op."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from recserve.importers.pmml.arrays import read_table
from recserve.importers.pmml.document import Element
from recserve.importers.pmml.scope import Scope, Typed

WEIGHTS: Final = ("termFrequency", "binary", "logarithmic", "augmentedNormalizedTermFrequency")


def lower_text_index(element: Element, scope: Scope, lower: Callable[[Element, Scope], Typed]) -> Typed:
    """The weight of a term (the inner expression) in a text (a field); missing where either is."""
    weights = element.choice("localTermWeights", WEIGHTS, "termFrequency")
    if weights == "augmentedNormalizedTermFrequency":
        raise element.unsupported("localTermWeights augmentedNormalizedTermFrequency is not read")
    if not element.flag("tokenize", True):
        raise element.unsupported("tokenize is false: only whole words are counted")
    text = scope.convert(scope.field(element.need("textField"), element), "string")
    terms = [child for child in element if child.tag != "TextIndexNormalization"]
    if len(terms) != 1:
        raise element.invalid(f"has {len(terms)} expressions for its term, not one")
    term = scope.convert(lower(terms[0], scope), "string")
    case_sensitive = element.flag("isCaseSensitive", False)
    distance = element.integer("maxLevenshteinDistance", 0)
    options: dict[str, Any] = {
        "weights": weights,
        "case_sensitive": case_sensitive,
        "distance": distance,
        "count_best": element.choice("countHits", ("allHits", "bestHits"), "allHits") == "bestHits",
        "separator": element.get("wordSeparatorCharacterRE", r"\s+"),
        "word": element.get("wordRE", element.get("x-wordRE")),
        "tables": [_normalization(child, case_sensitive, distance) for child in element.all("TextIndexNormalization")],
    }
    value = scope.graph.apply("text_index", text.value, term.value, options=json.dumps(options))
    return Typed(value, "double" if weights == "logarithmic" else "integer")


def _normalization(element: Element, case_sensitive: bool, distance: int) -> dict[str, Any]:
    """One table of replacements, in order: [(text or pattern, replacement, whether it is a pattern)]."""
    if element.integer("maxLevenshteinDistance", distance):
        raise element.unsupported("maxLevenshteinDistance in a TextIndexNormalization is not read")
    names = (("inField", "string"), ("outField", "stem"), ("regexField", "regex"))
    source, target, regex = [str(element.get(name, default)).rpartition(":")[2] for name, default in names]
    rows = []
    for row in read_table(element):
        if source not in row or target not in row:
            raise element.invalid(f"a row has no column {source if source not in row else target!r}")
        rows.append((row[source], row[target], row.get(regex, "").strip().lower() == "true"))
    return {
        "rows": rows,
        "case_sensitive": element.flag("isCaseSensitive", case_sensitive),
        "recursive": element.flag("recursive", False),
    }
