"""Which fields an element sees, and what they are in the scoring graph.

A scope is a model's: its mining fields, its local derived fields, what earlier segments put out; then its parent's.
Fields are made when something asks for them, so that what nothing reaches costs nothing and fails no row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from recserve.errors import suggest
from recserve.importers.model import Report
from recserve.importers.pmml import datatypes
from recserve.importers.pmml.dictionary import DataField
from recserve.importers.pmml.document import Document, Element
from recserve.importers.pmml.text_index import Terms
from recserve.importers.pmml.texts import TextFunctions
from recserve.scoring.graph import Graph, Value
from recserve.scoring.ops_dates import epoch_day


@dataclass(frozen=True)
class Typed:
    """A value of the graph with PMML's type.

    Attributes:
        value: in the scoring graph; `datatypes.dtype_of(data_type)` is its dtype.
        data_type: PMML's.
        text: of a constant, as the document writes it, so that its context can give it a type; else None.
        is_nothing: a constant that is missing, of whatever type its context has.
    """

    value: Value
    data_type: str
    text: str | None = None
    is_nothing: bool = False


@dataclass(frozen=True)
class Field(Typed):
    """A field that an element may name.

    Attributes:
        name: free text.
        optype: "continuous", "categorical" or "ordinal".
        categories: its valid values where they are listed, as the document writes them.
    """

    name: str = ""
    optype: str = "categorical"
    categories: tuple[str, ...] = ()


@dataclass
class Target:
    """What the model of a scope predicts.

    Attributes:
        name: of the field; "" where it has none.
        data_type: of the field, else "double" for a regression and "string" for the others.
        optype: of the field.
        categories: its valid values in the DataDictionary, which may be none.
        display: category → text to show.
        element: the `Target` of `Targets`, or None.
    """

    name: str
    data_type: str
    optype: str
    categories: tuple[str, ...]
    display: dict[str, str]
    element: Element | None = None


Maker = Callable[[], Field]


class Scope:
    """The fields that one model's elements see.

    Attributes:
        graph: that values are made in.
        document: the whole one.
        report: what was read.
        math: "double", or "float" where the model asks to round each step to float32 (x-mathContext).
        parent: of the model around this one, or None.
        target: of this scope's model.
        terms: of TextIndex elements.
        calls: defined functions whose bodies are being read.
        dictionary: data fields by name.
        functions: `DefineFunction` elements by name.
    """

    def __init__(  # noqa: PLR0917 (a scope has these parts)
        self,
        graph: Graph,
        document: Document,
        report: Report,
        dictionary: Mapping[str, DataField],
        functions: Mapping[str, Element],
        parent: Scope | None = None,
    ) -> None:
        self.graph = graph
        self.document = document
        self.report = report
        self.dictionary = dictionary
        self.functions = functions
        self.parent = parent
        self.math: str = parent.math if parent else "double"
        self.target: Target | None = None
        self._makers: dict[str, Maker] = {}
        self._fields: dict[str, Field] = {}
        self._open: set[str] = set()
        self.calls: tuple[Element, ...] = parent.calls if parent else ()
        self.terms: Terms = parent.terms if parent else Terms()
        self.texts: TextFunctions = parent.texts if parent else TextFunctions(graph)

    def child(self) -> Scope:
        """A scope inside this one."""
        return Scope(self.graph, self.document, self.report, self.dictionary, self.functions, self)

    # ---- fields

    def declare(self, name: str, maker: Maker | Field) -> None:
        """Name a field; a maker is called when the field is first asked for. A later declaration replaces it."""
        self._fields.pop(name, None)
        if isinstance(maker, Field):
            self._makers.pop(name, None)
            self._fields[name] = maker
        else:
            self._makers[name] = maker

    def owns(self, name: str) -> bool:
        """Whether this very scope declares the name."""
        return name in self._makers or name in self._fields

    def sees(self, name: str) -> bool:
        """Whether this scope or one around it declares the name."""
        return self.owns(name) or (self.parent is not None and self.parent.sees(name))

    def names(self) -> list[str]:
        """Every name that is seen from here."""
        inner = [*self._makers, *self._fields]
        return list(dict.fromkeys(inner + (self.parent.names() if self.parent else [])))

    def field(self, name: str, at: Element) -> Field:
        """The field of that name.

        Raises:
            ConfigError: no such field is visible here, or it is derived from itself.
        """
        if name in self._fields:
            return self._fields[name]
        if name in self._makers:
            if name in self._open:
                raise at.invalid(f"the field {name!r} is derived from itself")
            self._open.add(name)
            try:
                made = replace(self._makers[name](), name=name)
            finally:
                self._open.discard(name)
            self._fields[name] = made
            return made
        if self.parent is not None:
            return self.parent.field(name, at)
        raise at.invalid(f"no field {name!r} is visible here", suggest(name, self.names()))

    @property
    def label_type(self) -> str:
        """Data type of the target."""
        return self.target.data_type if self.target else "string"

    @property
    def categories(self) -> tuple[str, ...]:
        """Valid values of the target, as the DataDictionary writes them."""
        return self.target.categories if self.target else ()

    # ---- literals

    def parse(self, text: str, data_type: str, at: Element) -> float | bool | str:
        """A text of the document as a value of the type.

        Raises:
            ConfigError: it is none.
        """
        try:
            return datatypes.parse(text, data_type)
        except ValueError:
            raise at.invalid(f"{text!r} is no {data_type}") from None

    def bound(self, text: str, field: Typed, at: Element) -> float | bool | str:
        """A literal that a field is compared with. A whole number or a boolean may be compared with a fraction."""
        if field.data_type == "boolean" and text.strip().lower() in ("true", "false"):
            return self.parse(text, "boolean", at)
        return self.parse(text, "double" if field.data_type in ("integer", "boolean") else field.data_type, at)

    def literal(self, text: str, data_type: str, at: Element) -> Typed:
        """A constant."""
        return Typed(self.graph.constant(self.parse(text, data_type, at)), data_type, text)

    def nothing(self, data_type: str) -> Typed:
        """A missing value."""
        return Typed(self.graph.missing(datatypes.dtype_of(data_type)), data_type, None, True)

    def equals(self, field: Typed, text: str, at: Element) -> Value:
        """Boolean: whether a field is the literal, which is read as the field's type; missing where the field is."""
        return self.is_one_of(field, [text], at)

    def is_one_of(self, field: Typed, texts: list[str], at: Element) -> Value:
        """Boolean: whether a field is one of the literals; missing where the field is."""
        values = [self.bound(text, field, at) for text in texts]
        if field.data_type == "boolean":
            as_number = self.graph.apply("boolean_to_number", field.value)
            return self.graph.apply("isin", as_number, values=[float(value) for value in values])
        return self.graph.apply("isin", field.value, values=values)

    def lookup(self, field: Typed, texts: list[str], results: list[float], default: float | None, at: Element) -> Value:
        """Number: the result of the literal that a field equals, `default` for none; missing where the field is."""
        keys = [(self.parse(text, field.data_type, at),) for text in texts]
        return self.graph.apply("lookup", field.value, keys=keys, values=results, default=default, dtype="number")

    # ---- types

    def number(self, name: str, at: Element) -> Value:
        """A field as a number: a boolean as 0 or 1, a string parsed, whose row fails where it is none."""
        return self.convert(self.field(name, at), "double").value

    def convert(self, typed: Typed, to: str) -> Typed:
        """A value as another type, by PMML's casts; a row whose value has no such form fails."""
        if typed.data_type == to:
            return typed
        if typed.is_nothing:
            return self.nothing(to)
        if typed.text is not None:
            try:
                return Typed(self.graph.constant(datatypes.parse(typed.text, to)), to, typed.text)
            except ValueError:
                pass  # a text that is no literal of the type fails below, in the rows that need it
        source, target = datatypes.dtype_of(typed.data_type), datatypes.dtype_of(to)
        if target == "string":
            return Typed(self._to_string(typed), to)
        if target == "boolean":
            return Typed(self._to_boolean(typed.value, source), to)
        if source == "string":
            return Typed(self.texts.parse(typed.value, to), to)
        value = self.graph.apply("boolean_to_number", typed.value) if source == "boolean" else typed.value
        return Typed(self._to_number(value, typed.data_type, to), to)

    def _to_string(self, typed: Typed) -> Value:
        if typed.data_type == "boolean":
            return self.graph.apply("boolean_to_string", typed.value)
        if datatypes.is_date(typed.data_type):
            return self.texts.format_date(typed.value, typed.data_type)
        style = "shortest" if typed.data_type == "integer" else "java"
        return self.graph.apply("number_to_string", typed.value, style=style)

    def _to_boolean(self, value: Value, source: str) -> Value:
        if source == "string":
            return self.texts.parse(value, "boolean")
        wrong = self.graph.apply("not", self.graph.apply("isin", value, values=[0.0, 1.0]))
        checked = self.graph.apply("fail", value, wrong, message="a number other than 0 and 1 is no boolean")
        return self.graph.apply("number_to_boolean", checked)

    def _to_number(self, value: Value, source: str, to: str) -> Value:
        if to == "float" and source != "float":
            return self.graph.apply("to_float32", value)
        if to == "integer" and source in ("float", "double"):
            wrong = self.graph.apply("not", self.graph.apply("is_integer", value))
            return self.graph.apply("fail", value, wrong, message="a number with a fraction is no integer")
        if source in datatypes.NUMBERS or to in datatypes.NUMBERS or source == to:
            return value
        return self._to_date(value, source, to)

    def _to_date(self, value: Value, source: str, to: str) -> Value:
        """Between dates and date-times, and between epochs of the `...Since` types."""
        day = 86_400.0
        parts = {name: (name.partition("Since[")[0], name.partition("Since[")[2].rstrip("]")) for name in (source, to)}
        kind, year = parts[source]
        wanted, epoch = parts[to]
        unit = day if kind in ("dateTime", "dateTimeSeconds") else 1.0
        since = epoch_day(int(year or "1970"))
        if kind in ("time", "timeSeconds") or wanted in ("time", "timeSeconds"):
            if wanted in ("time", "timeSeconds") and kind in ("dateTime", "dateTimeSeconds"):
                return self.graph.apply("modulo", value, self.graph.constant(day))
            return value
        days = self.graph.apply("divide", value, self.graph.constant(unit))
        days = self.graph.apply("add", days, self.graph.constant(float(since - epoch_day(int(epoch or "1970")))))
        if wanted in ("date", "dateDays"):
            return self.graph.apply("floor", days)
        return self.graph.apply("multiply", days, self.graph.constant(day))

    def unify(self, typed: list[Typed]) -> list[Typed]:
        """The values as one type: the common one, else double for numbers, else string."""
        types = [one.data_type for one in typed if not one.is_nothing]
        to = common_type(types) if types else "string"
        return [self.convert(one, to) for one in typed]


def common_type(types: list[str]) -> str:
    """The least restrictive of the types: string, then double, float, integer."""
    if len(set(types)) == 1:
        return types[0]
    for one in ("string", "double", "float", "integer"):
        if one in types:
            return one
    return "string"
