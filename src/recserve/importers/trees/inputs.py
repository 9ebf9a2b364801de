"""The raw columns that boosted trees read: numbers, and categories by their level."""

from __future__ import annotations

from collections.abc import Sequence

from recserve.scoring.graph import Graph, Value


class Inputs:
    """Declares inputs of a graph.

    Args:
        graph: to add to.
        library: whose model this is, for messages.

    Attributes:
        dtypes: column → dtype, in the order in which they were declared.
    """

    def __init__(self, graph: Graph, library: str) -> None:
        self.graph = graph
        self.library = library
        self.dtypes: dict[str, str] = {}

    def number(self, name: str) -> Value:
        """A column of numbers; a text that is none fails the row."""
        self.dtypes.setdefault(name, "float64")
        value = self.graph.input(name, "number")
        parsed = self.graph.apply("fail", value, value.unparsed, message=f"column {name!r}: the text is no number")
        self.graph.guard(parsed)
        return parsed

    def level(self, name: str, levels: Sequence[str | float], unseen_fails: bool = True) -> Value:
        """A column of categories as codes 0, 1 …; an unseen one fails the row, or is missing."""
        if all(isinstance(level, str) for level in levels):
            self.dtypes.setdefault(name, "string")
            raw = self.graph.input(name, "string")
        else:
            raw = self.number(name)
        codes = list(range(len(levels)))
        code = self.graph.apply("lookup", raw, keys=[[level] for level in levels], values=codes)
        if not unseen_fails:
            return code
        unseen = self.graph.apply("and", self.graph.apply("is_known", raw), self.graph.apply("is_missing", code))
        message = f"column {name!r}: the category was not in {self.library}'s training data"
        checked = self.graph.apply("fail", code, unseen, message=message)
        self.graph.guard(checked)
        return checked
