"""A PMML document as plain elements: local names, attributes, children, line numbers; namespaces and vendor marks gone.

Parsing takes no entity, no DTD and no network, and refuses what is no PMML 3.0 to 4.4. Everything that goes wrong from
here on names the file and the line of an element.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from recserve.errors import ConfigError, suggest

MAX_BYTES = 1 << 30  # of a document
MAX_DEPTH = 2000  # elements inside one another; trees are nested as deep as they grow
_NAMESPACE = re.compile(r"https?://(?:www\.)?dmg\.org/PMML-(\d)[_.](\d)(?:[_.]\d+)?/?")
_VERSION = re.compile(r"\s*(\d+)\.(\d+)(?:\.\d+)*\s*")


class Element:
    """One element of a document.

    Attributes:
        tag: local name.
        attributes: by local name, texts.
        children: elements in order, without `Extension`.
        text: character data directly inside, joined.
        line: where it starts.
        file: path of the document, for messages.
        parent: None for the root.
    """

    __slots__ = ("attributes", "children", "file", "line", "parent", "tag", "text")

    def __init__(self, tag: str, attributes: dict[str, str], line: int, file: str, parent: Element | None) -> None:
        self.tag = tag
        self.attributes = attributes
        self.children: list[Element] = []
        self.text = ""
        self.line = line
        self.file = file
        self.parent = parent

    def __iter__(self) -> Iterator[Element]:
        return iter(self.children)

    def __repr__(self) -> str:
        return f"<{self.tag}> in line {self.line}"

    # ---- errors

    @property
    def place(self) -> str:
        """`file:line <tag>`, the `where` of errors."""
        return f"{self.file}:{self.line} <{self.tag}>"

    def invalid(self, problem: str, hint: str | None = None) -> ConfigError:
        """The error that this element breaks the standard."""
        return ConfigError(problem, code="invalid_document", where=self.place, hint=hint)

    def unsupported(self, problem: str, hint: str | None = None) -> ConfigError:
        """The error that recserve lacks what this element asks for."""
        return ConfigError(problem, code="unsupported_element", where=self.place, hint=hint)

    # ---- children

    def all(self, *tags: str) -> list[Element]:
        """Children with one of the tags, in order."""
        return [child for child in self.children if child.tag in tags]

    def first(self, *tags: str) -> Element | None:
        """The first child with one of the tags."""
        return next((child for child in self.children if child.tag in tags), None)

    def need_child(self, *tags: str) -> Element:
        """The first child with one of the tags.

        Raises:
            ConfigError: there is none.
        """
        child = self.first(*tags)
        if child is None:
            raise self.invalid(f"needs a child {' or '.join(f'<{tag}>' for tag in tags)}")
        return child

    def walk(self) -> Iterator[Element]:
        """This element and everything below, in document order."""
        stack = [self]
        while stack:
            element = stack.pop()
            yield element
            stack.extend(reversed(element.children))

    # ---- attributes

    def get(self, name: str, default: str | None = None) -> str | None:
        """An attribute's text."""
        return self.attributes.get(name, default)

    def need(self, name: str) -> str:
        """An attribute's text.

        Raises:
            ConfigError: it is absent.
        """
        value = self.attributes.get(name)
        if value is None:
            raise self.invalid(f"needs the attribute {name!r}")
        return value

    def need_number(self, name: str) -> float:
        """An attribute as a number. Raises ConfigError where it is absent or none."""
        return self.parse_number(self.need(name), f"the attribute {name!r}")

    def number(self, name: str, default: float) -> float:
        """An attribute as a number, or the default where it is absent."""
        text = self.attributes.get(name)
        return default if text is None else self.parse_number(text, f"the attribute {name!r}")

    def number_or_none(self, name: str) -> float | None:
        """An attribute as a number, or None where it is absent."""
        text = self.attributes.get(name)
        return None if text is None else self.parse_number(text, f"the attribute {name!r}")

    def integer(self, name: str, default: int) -> int:
        """An attribute as a whole number, or the default where it is absent."""
        value = self.number(name, default)
        if not math.isfinite(value) or value != int(value):
            raise self.invalid(f"the attribute {name!r} is {self.attributes[name]!r}, which is no whole number")
        return int(value)

    def flag(self, name: str, default: bool) -> bool:
        """An attribute as a boolean (true, false, 1, 0), or the default where it is absent."""
        text = self.attributes.get(name)
        if text is None:
            return default
        if text.strip().lower() in ("true", "1"):
            return True
        if text.strip().lower() in ("false", "0"):
            return False
        raise self.invalid(f"the attribute {name!r} is {text!r}", "It is true or false")

    def choice(self, name: str, known: Sequence[str], default: str | None = None) -> str:
        """An attribute that is one of the known words, or the default where it is absent.

        Raises:
            ConfigError: "invalid_document" where it is another word, or absent without a default.
        """
        value = self.attributes.get(name, default)
        if value is None:
            return self.need(name)
        if value not in known:
            hint = suggest(value, known) or f"Known: {', '.join(known)}"
            raise self.invalid(f"the attribute {name!r} is {value!r}", hint)
        return value

    def parse_number(self, text: str, what: str) -> float:
        """`text` as a number: decimal, INF, -INF, NaN as XML writes them."""
        word = text.strip()
        try:
            return float(word)
        except ValueError:
            raise self.invalid(f"{what} is {text!r}, which is no number") from None

    def finite(self, name: str, default: float | None = None) -> float:
        """An attribute as a finite number; the default where it is absent, an error without one."""
        value = self.need_number(name) if default is None else self.number(name, default)
        if not math.isfinite(value):
            raise self.invalid(f"the attribute {name!r} is {self.attributes.get(name)!r}, which is not finite")
        return value


class Document:
    """A parsed document.

    Attributes:
        root: the `PMML` element.
        file: path, for messages.
        version: (major, minor), such as (4, 4).
    """

    def __init__(self, root: Element, file: str, version: tuple[int, int]) -> None:
        self.root = root
        self.file = file
        self.version = version


def open_document(path: Path) -> Document:
    """Parse a file.

    Raises:
        ConfigError: "damaged_model" where it is no well-formed XML or declares a DTD, "too_large", "unknown_format"
            where it is other XML, "unsupported_version".
    """
    file = str(path)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ConfigError(f"has {size:,} bytes; at most {MAX_BYTES:,} are read", code="too_large", where=file)
    root = _parse(path)
    version = _version(root)
    element = _convert(root, file)
    return Document(element, file, version)


def _parse(path: Path) -> Any:
    """The root as lxml reads it, with nothing resolved or fetched."""
    from lxml import etree

    # `huge_tree` lifts libxml2's limit on depth, which deep trees pass; `_convert` holds our own, and entities, the
    # reason for that limit, are refused below.
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=True,
        remove_comments=True, remove_pis=True,
    )  # fmt: skip
    try:
        tree = etree.parse(str(path), parser)
    except etree.XMLSyntaxError as error:
        line = error.lineno or 1
        raise ConfigError(
            f"is no well-formed XML: {error.msg}", code="damaged_model", where=f"{path}:{line}"
        ) from error
    if tree.docinfo.doctype:
        raise ConfigError(
            "declares a document type", code="damaged_model", where=f"{path}:1", hint="PMML needs no DTD; remove it"
        )
    return tree.getroot()


def _version(root: Any) -> tuple[int, int]:
    """The version by the attribute, else by the namespace."""
    namespace, _, tag = root.tag.rpartition("}")
    place = f"{(root.base and Path(root.base).name) or 'document'}:{root.sourceline}"
    if tag != "PMML":
        raise ConfigError(f"the root is <{tag}>, not <PMML>", code="unknown_format", where=place)
    text = root.get("version")
    found = _VERSION.fullmatch(text) if text else _NAMESPACE.fullmatch(namespace.lstrip("{"))
    if not found:
        problem = f"has the version {text!r}" if text else "has neither a version nor PMML's namespace"
        raise ConfigError(problem, code="unsupported_version", where=place, hint="PMML 3.0 to 4.4 are read")
    version = (int(found[1]), int(found[2]))
    if not (3, 0) <= version <= (4, 4):
        raise ConfigError(
            f"is PMML {version[0]}.{version[1]}",
            code="unsupported_version",
            where=place,
            hint="PMML 3.0 to 4.4 are read",
        )
    return version


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _convert(root: Any, file: str) -> Element:
    """Our elements of lxml's, without recursion: documents are as deep as their trees."""
    top = Element(_local(root.tag), {_local(k): v for k, v in root.attrib.items()}, root.sourceline, file, None)
    stack: list[tuple[Any, Element, int]] = [(root, top, 1)]
    while stack:
        source, element, depth = stack.pop()
        texts = [source.text or ""]
        for child in source:
            if not isinstance(child.tag, str):  # an entity reference that was not resolved
                raise element.invalid("uses an entity", "Entities are not resolved; write the text itself")
            texts.append(child.tail or "")
            tag = _local(child.tag)
            if tag == "Extension":
                continue
            attributes = {_local(name): value for name, value in child.attrib.items()}
            inner = Element(tag, attributes, child.sourceline, file, element)
            if depth >= MAX_DEPTH:
                raise inner.invalid(f"is nested deeper than {MAX_DEPTH} elements")
            element.children.append(inner)
            stack.append((child, inner, depth + 1))
        element.text = "".join(texts)
    return top
