"""Texts and dates of the scoring graph, as PMML's casts, predicates and functions need them."""

from __future__ import annotations

from recserve.importers.pmml import datatypes
from recserve.scoring.graph import Graph, Value


class TextFunctions:
    """Casts from and to texts in one graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def compare(self, left: Value, right: Value) -> Value:
        """Number: below 0, 0 or above 0 as one text comes before the other, by code points."""
        return self._graph.apply("compare_text", left, right)

    def parse_or_missing(self, text: Value, data_type: str) -> Value:
        """A string as a number, a boolean or a date; missing where it is none."""
        if data_type == "boolean":
            return self._graph.apply("string_to_boolean", text)
        if datatypes.is_date(data_type):
            return self._graph.apply("parse_date", text, data_type=data_type)
        value = self._graph.apply("string_to_number", text)
        if data_type == "integer":
            fraction = self._graph.apply("not", self._graph.apply("is_integer", value))
            value = self._graph.apply("mark_missing", value, fraction)
        return self._graph.apply("to_float32", value) if data_type == "float" else value

    def parse(self, text: Value, data_type: str) -> Value:
        """A string as a number, a boolean or a date; the row fails where it is none."""
        value = self.parse_or_missing(text, data_type)
        known = self._graph.apply("is_known", text)
        lost = self._graph.apply("and", known, self._graph.apply("is_missing", value))
        return self._graph.apply("fail", value, lost, message=f"a text is no {data_type}")

    def format_date(self, value: Value, data_type: str) -> Value:
        """A date as ISO 8601 text."""
        return self._graph.apply("format_date", value, data_type=data_type)
