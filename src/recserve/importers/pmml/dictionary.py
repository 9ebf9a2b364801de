"""The data dictionary: the fields of a document, their types, and which values are valid."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from recserve.errors import suggest
from recserve.importers.pmml import datatypes
from recserve.importers.pmml.document import Element

OPTYPES: Final = ("continuous", "categorical", "ordinal")


@dataclass(frozen=True)
class DataField:
    """A field of the data dictionary.

    Attributes:
        element: `DataField`.
        name: of the raw column.
        data_type: PMML's.
        optype: of the field.
        categories: texts of its valid values.
        marks: texts of the values that stand for a missing one.
        invalid: texts of the values that are listed as invalid.
        display: value → text to show.
        intervals: (low, high, low is closed, high is closed); a bound is None where it is open to infinity.
    """

    element: Element
    name: str
    data_type: str
    optype: str
    categories: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    invalid: tuple[str, ...] = ()
    display: dict[str, str] = field(default_factory=dict)
    intervals: tuple[tuple[float | None, float | None, bool, bool], ...] = ()


def read_dictionary(root: Element) -> dict[str, DataField]:
    """The fields of the `DataDictionary`, by name.

    Raises:
        ConfigError: a field has no name or type, or a name comes twice.
    """
    fields: dict[str, DataField] = {}
    for element in root.need_child("DataDictionary").all("DataField"):
        name = element.need("name")
        if name in fields:
            raise element.invalid(f"the field {name!r} is declared twice")
        fields[name] = _read_field(element, name)
    return fields


def _read_field(element: Element, name: str) -> DataField:
    listed: dict[str, list[str]] = {"valid": [], "missing": [], "invalid": []}
    display = {}
    for value in element.all("Value"):
        text = value.need("value")
        listed[value.choice("property", tuple(listed), "valid")].append(text)
        if (shown := value.get("displayValue")) is not None:
            display[text] = shown
    if element.flag("isCyclic", False):
        raise element.unsupported("isCyclic: values that repeat are not read")
    return DataField(
        element=element,
        name=name,
        data_type=read_type(element),
        optype=element.choice("optype", OPTYPES, "categorical"),
        categories=tuple(dict.fromkeys(listed["valid"])),
        marks=tuple(listed["missing"]),
        invalid=tuple(listed["invalid"]),
        display=display,
        intervals=tuple(read_interval(child) for child in element.all("Interval")),
    )


def read_interval(element: Element) -> tuple[float | None, float | None, bool, bool]:
    """An `Interval`: (low, high, low is closed, high is closed); None where a margin is absent."""
    closures = {"openClosed": (False, True), "openOpen": (False, False)}
    closures |= {"closedOpen": (True, False), "closedClosed": (True, True)}
    low_closed, high_closed = closures[element.choice("closure", tuple(closures))]
    low, high = element.number_or_none("leftMargin"), element.number_or_none("rightMargin")
    return low, high, low_closed, high_closed


def read_type(element: Element, default: str | None = None) -> str:
    """The `dataType` of an element, or the default where it is absent.

    Raises:
        ConfigError: PMML has no such type, or it is absent without a default.
    """
    data_type = element.get("dataType", default)
    if data_type is None:
        data_type = element.need("dataType")
    if data_type not in datatypes.DATA_TYPES:
        raise element.invalid(f"the data type is {data_type!r}", suggest(data_type, datatypes.DATA_TYPES))
    return data_type
