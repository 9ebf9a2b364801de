"""`TextIndex`: how often a term is in a text, lowered to the scoring core's op."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from recserve.importers.pmml.arrays import read_table
from recserve.importers.pmml.document import Element
from recserve.scoring.graph import Value

if TYPE_CHECKING:
    from recserve.importers.pmml.scope import Scope, Typed

WEIGHTS: Final = ("termFrequency", "binary", "logarithmic", "augmentedNormalizedTermFrequency")


def lower_text_index(element: Element, scope: Scope, lower: Callable[[Element, Scope], Typed]) -> Typed:
    """The weight of a term (the inner expression) in a text (a field); missing where either is."""
    from recserve.importers.pmml.scope import Typed

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
    data_type = "double" if weights == "logarithmic" else "integer"
    encoded = json.dumps(options)
    if term.text is None:
        return Typed(scope.graph.apply("text_index", text.value, term.value, options=encoded), data_type)
    return Typed(scope.terms.weigh(element, text.value, term.text, encoded), data_type)


class Terms:
    """The constant terms of a document's TextIndex elements, so that one op weighs all of them in a text at once.

    A document is lowered twice where it has any: the first time collects the terms.
    """

    def __init__(self) -> None:
        self._places: dict[Element, dict[str, int]] = {}
        self._values: dict[tuple[Element, int], list[Value]] = {}
        self.is_complete = False

    def finish(self) -> None:
        """All terms are known."""
        self.is_complete = True

    def weigh(self, element: Element, text: Value, term: str, options: str) -> Value:
        """The weight of a term in a text; only a placeholder until all terms are known."""
        places = self._places.setdefault(element, {})
        place = places.setdefault(term, len(places))
        if not self.is_complete:
            return text.graph.missing("number")
        key = (element, text.number)
        if key not in self._values:
            self._values[key] = text.graph.apply_many("text_indexes", [text], terms=list(places), options=options)
        return self._values[key][place]


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
